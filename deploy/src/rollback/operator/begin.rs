//! The beginning of a rollback: one that is under way is taken up, or one is begun after everything was asked that may refuse it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ark_client::HostClient;
use ark_model::ids::{Millis, TraceId};
use serde_json::{Value, json};

use crate::canary::read_state;
use crate::data_lock::DataDirLock;
use crate::exchange::data::database::clear_partial_copies;
use crate::exchange::data::token::TokenFile;
use crate::exchange::hosts::identity::check_same_host;
use crate::exchange::programs::version::ask_version;
use crate::exchange::{GivenOption, HostClients};
use crate::exclusion::{ExchangeKind, OwnJournal, hold_others, open_own_as};
use crate::rollback::database::{
    AcceptedLoss, CheckedSnapshots, DatabaseChoice, check_accepted, check_no_restore, decide_way,
};
use crate::rollback::error::RollbackError;
use crate::rollback::journal::{
    PastRollback, RollbackEntry, RollbackStart, RollbackState, read_entries,
};
use crate::rollback::plan::{RollbackPlan, excluded_upgrades};
use crate::rollback::steps::run::Rollback;
use crate::rollback::steps::traffic::{read_weights, try_weight};
use crate::rollback::telemetry::compare_telemetry;

use super::given::{find_new_place, take_from_upgrade, take_options};
use super::tokens::check_tokens;

/// Asks the stable version, the database and `HAProxy`; changes nothing. Returns what is known when a rollback begins, and what will happen to the database.
pub(super) fn prepare_rollback(
    client: &HostClient,
    plan: RollbackPlan,
    accepted: Option<AcceptedLoss>,
    checked: &mut CheckedSnapshots,
) -> Result<(RollbackStart, DatabaseChoice), RollbackError> {
    if plan.upgrade.is_none() {
        check_same_host(client, &plan.data_dir)?;
    }
    check_no_restore(client, &plan)?;
    let shown = ask_version(&plan.binary)?;
    let way = decide_way(&plan, shown.schema, None, checked)?;
    if let DatabaseChoice::Restore(aside) = &way {
        check_accepted(aside, accepted, false)?;
    }
    let weights = match &plan.traffic {
        None => BTreeMap::new(),
        Some(traffic) => read_weights(traffic)?,
    };
    let begin = RollbackStart {
        id: format!("rollback-{}", TraceId::fresh()),
        plan: RollbackPlan {
            version: if plan.version.is_empty() {
                shown.version
            } else {
                plan.version
            },
            // That of an upgrade noted it before it stopped the host.
            control: plan.control.note_socket()?,
            ..plan
        },
        began_at: Millis::now(),
        schema: shown.schema,
        build: shown.build,
        weights,
    };
    Ok((begin, way))
}

/// Refuses where another process exchanges the version on the data directory. The canary that the rollback undoes first may.
pub(super) fn refuse_other_exchange(
    client: &HostClient,
    plan: &RollbackPlan,
) -> Result<(), RollbackError> {
    if read_state(client, &plan.canary_journal)?.is_none() {
        DataDirLock::refuse_other(&plan.data_dir)?;
    }
    Ok(())
}

impl<'a> Rollback<'a> {
    /// Takes up the rollback that is under way, with the options that are `given`; the way back of an upgrade takes up its own alone, with what its
    /// `plan` has by now. Begins the one of `plan` if there is none. `accepted`: how many decisions may be set aside. `tell` is told each step, and
    /// each option that is taken.
    ///
    /// # Errors
    /// There is none to take up and no plan; something that the plan needs is missing; an option would make it another rollback; the telemetry is another
    /// host's; decisions would be set aside that are not accepted.
    /// Nothing has changed.
    pub fn open(
        clients: HostClients<'a>,
        path: &Path,
        plan: Option<RollbackPlan>,
        given: &[GivenOption],
        accepted: Option<AcceptedLoss>,
        stop: &AtomicBool,
        tell: &'a mut dyn FnMut(&str, Value),
    ) -> Result<Self, RollbackError> {
        let is_within_upgrade = plan.as_ref().is_some_and(|plan| plan.upgrade.is_some());
        let kind = ExchangeKind::Rollback;
        let owner = if is_within_upgrade {
            kind.owner_beside(clients.client)
        } else {
            kind.owner_for(clients.client)
        };
        let OwnJournal {
            mut journal,
            mark,
            entries,
            waited,
        } = open_own_as::<RollbackEntry>(&owner, kind, path, stop)?;
        let last = read_entries(&entries).pop();
        let mut checked = CheckedSnapshots::default();
        let state = match (last, plan) {
            (Some(state), Some(plan))
                if state.past.ended_at_ms.is_none()
                    && plan.upgrade.is_some()
                    && plan.upgrade != state.begin.plan.upgrade =>
            {
                return Err(RollbackError::UnderWay {
                    id: state.begin.id,
                    reason: state.begin.plan.reason,
                    journal: path.to_owned(),
                });
            }
            (Some(mut state), plan) if state.past.ended_at_ms.is_none() => {
                let before = state.begin.plan.traffic.clone();
                let taken = match plan.filter(|plan| plan.upgrade.is_some()) {
                    Some(now) => take_from_upgrade(&mut state, now),
                    None => take_options(&mut state, given)?,
                };
                if let Some(traffic) = find_new_place(before.as_ref(), &state) {
                    try_weight(traffic)?;
                }
                let warning = compare_telemetry(clients.client, &state.begin.plan)?;
                tell("goes-on", json!({"reason": state.begin.id}));
                let RollbackStart { id, plan, .. } = &state.begin;
                clear_partial_copies(&plan.snapshots, id, true, &mut *tell);
                if let Some((lines, entry)) = taken {
                    journal.record_entry(&entry)?;
                    for line in lines {
                        tell("taken", json!({"reason": line}));
                    }
                }
                if let Some(warning) = warning {
                    tell("telemetry", json!({"reason": warning}));
                }
                state.forget_repeated();
                state
            }
            (Some(state), _) if waited => return Err(RollbackError::Ended(state.begin.id)),
            (_, None) => return Err(RollbackError::None(clients.client.url().to_owned())),
            (_, Some(plan)) => {
                let upgrade_journal = plan.upgrade_journal.clone();
                let upgrades = excluded_upgrades(upgrade_journal.as_deref());
                upgrades.map_or(Ok(()), |other| other.refuse_other(clients.client))?;
                let (begin, way) = prepare_rollback(clients.client, plan, accepted, &mut checked)?;
                // A snapshot brings its own tokens.
                if matches!(way, DatabaseChoice::Keep { .. }) {
                    check_tokens(clients, &begin.plan)?;
                }
                if !is_within_upgrade {
                    refuse_other_exchange(clients.client, &begin.plan)?;
                }
                let warning = compare_telemetry(clients.client, &begin.plan)?;
                // A canary that is under way has shown that they can be set, and changes them itself meanwhile.
                if read_state(clients.client, &begin.plan.canary_journal)?.is_none() {
                    begin.plan.traffic.as_ref().map_or(Ok(()), try_weight)?;
                }
                if let Some(warning) = warning {
                    tell("telemetry", json!({"reason": warning}));
                }
                tell("way", json!({"reason": way.to_string()}));
                let held = hold_others(clients.client, upgrades.as_slice())?;
                journal.record_entry(&RollbackEntry::Started(Box::new(begin.clone())))?;
                drop(held);
                let past = PastRollback::from_start(&begin);
                RollbackState::from_start(begin, past)
            }
        };
        let admin = TokenFile::place_beside(path, &state.begin.id).read_client(clients.client)?;
        Ok(Self {
            clients,
            journal,
            _mark: mark,
            is_within_upgrade,
            data_lock: None,
            state,
            accepted,
            validation: None,
            checked,
            admin,
            recorded: Vec::new(),
            watch: None,
            tell,
        })
    }
}
