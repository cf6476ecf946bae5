//! Pages of approvals, alerts and lists: each filter is what a search through all rows says, whatever the size of a page.

use ark_model::control::{Alert, AlertSeverity};
use ark_model::ids::{DecisionId, Digest, Millis, TraceId};

use super::{make_name, open};
use crate::*;

const STATUSES: [ApprovalStatus; 4] = [
    ApprovalStatus::Open,
    ApprovalStatus::Approved,
    ApprovalStatus::Rejected,
    ApprovalStatus::Expired,
];
const AGENTS: [&str; 2] = ["ann", "ben"];

/// Calls `read` with where a page begins until a page is empty, and returns all rows.
fn read_pages<T, C>(mut read: impl FnMut(Option<C>) -> Vec<T>, cursor: impl Fn(&T) -> C) -> Vec<T> {
    let mut rows = Vec::new();
    loop {
        let page = read(rows.last().map(&cursor));
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

#[test]
fn pages_of_approvals_are_those_that_match() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..24 {
        let id = DecisionId::fresh();
        let approval = Approval {
            id,
            agent: make_name(AGENTS[number % 2]),
            submitter: "api".to_owned(),
            trace_id: TraceId::fresh(),
            action_type: "buy".to_owned(),
            action_hash: Digest::from_bytes([1; 32]),
            subject_hash: None,
            earlier: Vec::new(),
            reasons: Vec::new(),
            status: ApprovalStatus::Open,
            created_at_ms: Millis(1),
            expires_at_ms: Millis(2),
            settled_at_ms: None,
            settled_by: None,
            comment: None,
            decision_id: None,
        };
        let mut approvals = vec![ApprovalChange::Open(Box::new(approval))];
        let status = STATUSES[number / 2 % 4];
        if status != ApprovalStatus::Open {
            approvals.push(ApprovalChange::Resolve {
                id,
                status,
                by: "olga".to_owned(),
                comment: String::new(),
                decision_id: None,
                at: Millis(2),
            });
        }
        store
            .commit(Unit {
                approvals,
                ..Unit::default()
            })
            .unwrap();
    }
    let all = store
        .approvals_page(&ApprovalFilter::default(), u32::MAX)
        .unwrap();
    assert_eq!(all.len(), 24);
    assert!(all.is_sorted_by_key(|it| it.id.to_string()));
    for status in STATUSES.map(Some).into_iter().chain([None]) {
        for agent in AGENTS
            .map(|it| Some(make_name(it)))
            .into_iter()
            .chain([None])
        {
            let matches = |it: &&Approval| {
                status.is_none_or(|status| it.status == status)
                    && agent.as_ref().is_none_or(|agent| it.agent == *agent)
            };
            let expected: Vec<Approval> = all.iter().filter(matches).cloned().collect();
            assert!(expected.len() >= 3, "{status:?} {agent:?}");
            for limit in [1, 2, 500] {
                let read = |after| {
                    let filter = ApprovalFilter {
                        status,
                        agent: agent.clone(),
                        after,
                    };
                    store.approvals_page(&filter, limit).unwrap()
                };
                let found = read_pages(read, |it| it.id);
                assert_eq!(found, expected, "{status:?} {agent:?} {limit}");
            }
        }
    }
    let open: Vec<Approval> = store.open_approvals().unwrap();
    assert_eq!(open.len(), 6);
}

#[test]
fn pages_of_alerts_are_those_that_match() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let severities = [
        AlertSeverity::Info,
        AlertSeverity::Warning,
        AlertSeverity::Critical,
    ];
    let alerts = (0..24).map(|number| Alert {
        at_ms: Millis(number as u64),
        severity: severities[number % 3],
        kind: ["queue", "fuel"][number / 6 % 2].to_owned(),
        agent: (number % 4 > 0).then(|| make_name(AGENTS[number % 2])),
        message: number.to_string(),
        observed: None,
        limit: None,
    });
    store
        .commit(Unit {
            alerts: alerts.collect(),
            ..Unit::default()
        })
        .unwrap();
    let all = store
        .alerts_page(&AlertFilter::default(), None, u32::MAX)
        .unwrap();
    assert_eq!(all.len(), 24);
    assert!(all.is_sorted_by(|one, other| one.seq > other.seq));
    for agent in AGENTS
        .map(|it| Some(make_name(it)))
        .into_iter()
        .chain([None])
    {
        for severity in severities.map(Some).into_iter().chain([None]) {
            for kind in [Some("queue"), None] {
                let filter = AlertFilter {
                    agent: agent.clone(),
                    severity,
                    kind: kind.map(str::to_owned),
                };
                let matches = |it: &&AlertRow| agent.is_none() || it.alert.agent == agent;
                let matches = |it: &&AlertRow| {
                    matches(it)
                        && severity.is_none_or(|least| it.alert.severity >= least)
                        && kind.is_none_or(|kind| it.alert.kind == kind)
                };
                let expected: Vec<AlertRow> = all.iter().filter(matches).cloned().collect();
                assert!(!expected.is_empty(), "{filter:?}");
                for limit in [1, 2, 500] {
                    let read = |before| store.alerts_page(&filter, before, limit).unwrap();
                    let found = read_pages(read, |it| it.seq);
                    assert_eq!(found, expected, "{filter:?} {limit}");
                }
            }
        }
    }
}

#[test]
fn pages_of_a_list_are_its_entries_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let keys = ["", "ADA", "BTC", "ada", "eth"];
    let lists = keys.iter().rev().flat_map(|key| {
        let restricted = ListEntry::Restricted((*key).to_owned());
        let source = ListEntry::ValidatedSource(format!("{key}-source"));
        [restricted, source].map(|entry| ListChange {
            list: entry.list(),
            key: (*key).to_owned(),
            entry: Some(entry),
            by: "olga".to_owned(),
            reason: "as a test".to_owned(),
            at: Millis(1),
        })
    });
    store
        .commit(Unit {
            lists: lists.collect(),
            ..Unit::default()
        })
        .unwrap();
    for list in [List::Restricted, List::ValidatedSources, List::Consents] {
        for limit in [1, 2, 500] {
            let read =
                |after: Option<String>| store.list_page(list, after.as_deref(), limit).unwrap();
            let found = read_pages(read, |it| it.key.clone());
            let found: Vec<&str> = found.iter().map(|it| it.key.as_str()).collect();
            let expected: &[&str] = if list == List::Consents { &[] } else { &keys };
            assert_eq!(found, expected, "{list:?} {limit}");
        }
    }
}
