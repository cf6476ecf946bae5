//! Pruning: what a host still works on stays, everything else from before the moment leaves, and its sender gets the bytes back.

use ark_model::ids::{AuditId, Digest, SignalId};
use ark_model::signal::Signal;
use ark_model::usage::QuotaHolder;
use rusqlite::Connection;

use super::*;

const DAY_MS: u64 = 86_400_000;

fn make_signal(key: &str, accepted_at: Millis, receivers: &[&str]) -> NewSignal {
    NewSignal {
        by: None,
        signal: Signal {
            id: SignalId::fresh(),
            topic: "news".to_owned(),
            payload_json: "{\"n\":1}".to_owned(),
            trace_id: TraceId::fresh(),
            sender: Some(make_name("kyle")),
            causal_depth: 1,
            expires_at: None,
            accepted_at,
        },
        key: Some(SignalKey {
            legacy_source: None,
            source: "http".to_owned(),
            key: key.to_owned(),
            request: Digest::hash_bytes(key.as_bytes()),
            legacy_request: None,
        }),
        deliver_to: receivers
            .iter()
            .map(|receiver| make_name(receiver))
            .collect(),
        shed: Vec::new(),
    }
}

/// Sends a message of kyle's as the router does: it is counted when the agent proposes it, and becomes a signal then.
fn send_signal(store: &Store, message: &NewSignal) {
    let signal = &message.signal;
    let outbox = OutboxMessage {
        topic: signal.topic.clone(),
        to: None,
        payload_json: signal.payload_json.clone(),
        trace_id: signal.trace_id,
        sender: signal.sender.clone(),
        causal_depth: signal.causal_depth,
        at: signal.accepted_at,
    };
    let put = Unit {
        outbox: vec![outbox],
        charged_to: Some(QuotaHolder::Agent(make_name("kyle"))),
        ..Unit::default()
    };
    store.commit(put).unwrap();
    let waiting = store.pending_outbox(10).unwrap();
    let carried = Unit {
        signals: vec![message.clone()],
        outbox_done: waiting.iter().map(|row| row.seq).collect(),
        ..Unit::default()
    };
    assert_eq!(
        store.commit(carried).unwrap().signals,
        [SignalReceipt::Accepted]
    );
}

fn complete_delivery(store: &Store, message: &NewSignal, result: DeliveryResult) {
    let completion = DeliveryCompletion {
        signal: message.signal.id,
        agent: message.deliver_to[0].clone(),
        result,
        at: message.signal.accepted_at,
    };
    let unit = Unit {
        delivery: Some(completion),
        ..Unit::default()
    };
    store.commit(unit).unwrap();
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn old_signals_that_have_ended_leave_and_their_bytes_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let now = Millis::now().0;
    let (old, recent) = (Millis(now - 100 * DAY_MS), Millis(now - DAY_MS / 2));
    let kyle = QuotaHolder::Agent(make_name("kyle"));
    let stored = |store: &Store| store.read_usage(&kyle).totals.stored_bytes;
    let handled = make_signal("handled", old, &["kenny"]);
    let failed = make_signal("failed", old, &["kenny", "joey"]);
    let unheard = make_signal("unheard", old, &[]);
    let pending = make_signal("pending", old, &["kenny"]);
    let in_approval = make_signal("in approval", old, &["kenny"]);
    let in_outbox = make_signal("in outbox", old, &["kenny"]);
    let of_today = make_signal("of today", recent, &["kenny"]);
    let mut kept_bytes = 0;
    for kept in [&pending, &in_approval, &in_outbox, &of_today] {
        send_signal(&store, kept);
        kept_bytes = stored(&store);
    }
    for pruned in [&handled, &failed, &unheard] {
        send_signal(&store, pruned);
    }
    for message in [&handled, &in_approval, &in_outbox, &of_today] {
        complete_delivery(&store, message, DeliveryResult::Done);
    }
    let failure = DeliveryResult::Failed {
        reason: "a reason".to_owned(),
        failure: AuditId::fresh(),
    };
    complete_delivery(&store, &failed, failure.clone());
    let joeys = NewSignal {
        deliver_to: vec![make_name("joey")],
        ..failed.clone()
    };
    complete_delivery(&store, &joeys, failure);
    let before_pruning = stored(&store);
    assert!(before_pruning > kept_bytes);
    let before = Millis(now - 90 * DAY_MS);
    assert!(matches!(
        prune_signals(dir.path(), before),
        Err(MaintenanceError::Open(OpenError::Locked { .. }))
    ));
    store.close();
    drop(store);
    let database = Connection::open(dir.path().join("ark.db")).unwrap();
    database
        .execute(
            "INSERT INTO approvals VALUES ('01', 'kenny', 'kenny', ?1, 'trade', x'00', NULL, '[]', '[]', 'open', 1, 2, NULL, NULL, NULL, NULL)",
            [in_approval.signal.trace_id.to_string()],
        )
        .unwrap();
    database
        .execute(
            "INSERT INTO outbox (topic, payload, trace_id, causal_depth, at) VALUES ('news', '1', ?1, 1, 1)",
            [in_outbox.signal.trace_id.to_string()],
        )
        .unwrap();
    drop(database);
    assert!(matches!(
        prune_signals(dir.path(), Millis(now - DAY_MS / 3)),
        Err(MaintenanceError::TooRecentToPrune)
    ));
    let pruned = prune_signals(dir.path(), before).unwrap();
    assert_eq!(
        pruned,
        PrunedRows {
            signals: 3,
            deliveries: 3,
            failed_deliveries: 2,
            keys: 3,
            session_lines: pruned.session_lines,
            kept: 3,
        }
    );
    assert!(pruned.session_lines >= 3, "{pruned:?}");
    assert_eq!(verify_chains(dir.path()).fault, None);
    let again = prune_signals(dir.path(), before).unwrap();
    assert_eq!((again.signals, again.session_lines), (0, 0));
    let store = open(dir.path());
    assert_eq!(stored(&store), kept_bytes);
    for (message, stays) in [
        (&handled, false),
        (&failed, false),
        (&unheard, false),
        (&pending, true),
        (&in_approval, true),
        (&in_outbox, true),
        (&of_today, true),
    ] {
        let rows = store.trace_rows(message.signal.trace_id).unwrap();
        let key = &message.key.as_ref().unwrap().key;
        assert_eq!(!rows.signals.is_empty(), stays, "{key}");
        assert_eq!(
            rows.deliveries.is_empty(),
            !stays || message.deliver_to.is_empty(),
            "{key}"
        );
        // A repetition of what stays is known; what left is a new signal.
        let repeated = NewSignal {
            signal: Signal {
                id: SignalId::fresh(),
                ..message.signal.clone()
            },
            ..message.clone()
        };
        let receipt = store
            .commit(Unit {
                signals: vec![repeated],
                ..Unit::default()
            })
            .unwrap();
        let is_known = matches!(receipt.signals[0], SignalReceipt::Duplicate { .. });
        assert_eq!(is_known, stays, "{key}");
    }
}
