//! The dry run of a rollback: what the run would do from where it stands, and everything that would keep it from that. Nothing is changed.

use std::path::Path;

use ark_client::HostClient;

use crate::canary::read_state;
use crate::exchange::hosts::control::describe_actions;
use crate::exchange::preflight::{Preflight, find_refused_tokens};
use crate::exchange::programs::version::ask_version;
use crate::exchange::validation::describe_validation;
use crate::exchange::{GivenOption, HostClients};
use crate::exclusion::{ExchangeKind, refuse_run};
use crate::journal::Journal;
use crate::rollback::database::{
    AcceptedLoss, CheckedSnapshots, DatabaseChoice, check_accepted, covers_loss, decide_way,
};
use crate::rollback::error::RollbackError;
use crate::rollback::journal::{
    RollbackEntry, RollbackStart, RollbackState, RollbackStep, read_entries,
};
use crate::rollback::plan::{RollbackPlan, excluded_upgrades};
use crate::rollback::steps::traffic::read_weights;
use crate::rollback::telemetry::compare_telemetry;

use super::begin::{prepare_rollback, refuse_other_exchange};
use super::given::take_options;
use super::tokens::check_tokens;

/// Checks what the run needs, and changes nothing: of a rollback that begins, or of the one that is under way, as
/// [`crate::rollback::Rollback::open`] takes it up. Returns the steps that the run would take, one a line: their names are those of its journal. What is no step is
/// `goes-on`, `taken` or `note`.
///
/// # Errors
/// Something is missing, or the run would be refused: the message names everything that was found.
pub fn rehearse_rollback(
    clients: HostClients<'_>,
    path: &Path,
    plan: Option<RollbackPlan>,
    given: &[GivenOption],
    accepted: Option<AcceptedLoss>,
) -> Result<Vec<String>, RollbackError> {
    let client = clients.client;
    let kind = ExchangeKind::Rollback;
    let entries = Journal::read_entries::<RollbackEntry>(path, &kind.owner_for(client))?;
    let last = read_entries(&entries).pop();
    let under_way = last.filter(|state| state.past.ended_at_ms.is_none());
    let mut found = Preflight::default();
    let Some(mut state) = under_way else {
        let plan = plan.ok_or_else(|| RollbackError::None(client.url().to_owned()))?;
        return rehearse_begin(clients, path, &plan, accepted, found);
    };
    refuse_run(client, kind, path)?;
    found.check_journal(kind, client, path);
    let mut lines = vec![format!("goes-on: {}", state.begin.id)];
    if let Some((taken, _)) = take_options(&mut state, given)? {
        lines.extend(taken.iter().map(|line| format!("taken: {line}")));
    }
    let plan = state.begin.plan.clone();
    lines.extend(check_plan(clients, &plan, &mut found));
    found.check_host(client, false);
    let warning = found.check_validation(plan.validation.as_ref(), clients);
    lines.extend(warning.map(|warning| format!("note: {warning}")));
    found.take(ask_version(&plan.binary));
    if let Some(traffic) = plan.traffic.as_ref()
        && !state.is_done(RollbackStep::Traffic)
    {
        found.take(read_weights(traffic));
    }
    state.forget_repeated();
    let way = found.take(decide_state(&state, &mut CheckedSnapshots::default()));
    if let Some(DatabaseChoice::Restore(aside)) = &way {
        // What was accepted counts once.
        let begun = state.past.set_aside.as_ref();
        let is_covered = begun.is_some_and(|begun| covers_loss(begun, aside));
        if !is_covered || state.past.kept_aside.is_some() {
            found.take(check_accepted(aside, accepted, false));
        }
    }
    if let Some(way) = way {
        let described = describe_steps(client, &plan, Some(&state), &way);
        lines.extend(found.take(described).unwrap_or_default());
    }
    found.finish()?;
    Ok(lines)
}

fn rehearse_begin(
    clients: HostClients<'_>,
    path: &Path,
    plan: &RollbackPlan,
    accepted: Option<AcceptedLoss>,
    mut found: Preflight,
) -> Result<Vec<String>, RollbackError> {
    let client = clients.client;
    // What is under way comes first: nothing else can be done about it here.
    let upgrades = excluded_upgrades(plan.upgrade_journal.as_deref());
    upgrades.map_or(Ok(()), |other| other.refuse_other(client))?;
    refuse_other_exchange(client, plan)?;
    found.check_journal(ExchangeKind::Rollback, client, path);
    let mut lines = check_plan(clients, plan, &mut found);
    let warning = found.take(compare_telemetry(client, plan)).flatten();
    lines.extend(warning.map(|warning| format!("note: {warning}")));
    let mut checked = CheckedSnapshots::default();
    let prepared = prepare_rollback(client, plan.clone(), accepted, &mut checked);
    let prepared = found.take(prepared);
    // A snapshot brings its own tokens.
    let is_restored = matches!(prepared, Some((_, DatabaseChoice::Restore(_))));
    if !is_restored {
        found.take(check_tokens(clients, plan));
    }
    if !is_restored && plan.validation.is_none() {
        let refused = find_refused_tokens(clients, &plan.data_dir, false).into_iter();
        lines.extend(refused.map(|refusal| format!("note: no step is recorded, since {refusal}")));
    }
    if let Some((begin, way)) = prepared {
        let described = describe_steps(client, &begin.plan, None, &way);
        let described = found.take(described).unwrap_or_default();
        lines.splice(0..0, described);
    }
    found.finish()?;
    Ok(lines)
}

/// What each run needs that begins or goes on. Returns what is no problem of it and worth a note.
fn check_plan(clients: HostClients<'_>, plan: &RollbackPlan, found: &mut Preflight) -> Vec<String> {
    found.check_data_dir(&plan.data_dir);
    // The copy before, and the snapshot that may take the database's place.
    found.check_snapshots(&plan.snapshots, &plan.data_dir, 1);
    if let Some(snapshot) = &plan.snapshot {
        found.check_snapshot(snapshot);
    }
    found.check_control(&plan.control);
    found.check_validation_journal(plan.validation.as_ref());
    // What is to be rolled back may be a host that does not answer.
    if clients.client.get("/healthz").is_ok() {
        return Vec::new();
    }
    vec![format!(
        "note: no host answers at {}, so that its token was not tried",
        clients.client.url()
    )]
}

/// Where the rollback stands that the way back of this upgrade has begun; `None`: it has not, or has ended.
pub(crate) fn read_way_back(
    client: &HostClient,
    path: &Path,
    upgrade: &str,
) -> Result<Option<RollbackState>, RollbackError> {
    let owner = ExchangeKind::Rollback.owner_beside(client);
    let entries = Journal::read_entries::<RollbackEntry>(path, &owner)?;
    let last = read_entries(&entries).pop().map(|mut state| {
        state.forget_repeated();
        state
    });
    Ok(last.filter(|state| {
        let is_own = state.begin.plan.upgrade.as_deref() == Some(upgrade);
        is_own && state.past.ended_at_ms.is_none()
    }))
}

/// What becomes of the database of a rollback that is under way.
fn decide_state(
    state: &RollbackState,
    checked: &mut CheckedSnapshots,
) -> Result<DatabaseChoice, RollbackError> {
    let RollbackStart { plan, schema, .. } = &state.begin;
    let is_replaced = state.past.kept_aside.is_some();
    let damage = state.damage.as_deref().filter(|_| !is_replaced);
    decide_way(plan, *schema, damage, checked)
}

/// The steps of a rollback that are left, one a line. `begun`: where it stands that is under way.
pub(crate) fn describe_rollback(
    client: &HostClient,
    plan: &RollbackPlan,
    begun: Option<&RollbackState>,
) -> Result<Vec<String>, RollbackError> {
    let mut checked = CheckedSnapshots::default();
    let way = match begun {
        Some(state) => decide_state(state, &mut checked)?,
        None => decide_way(plan, ask_version(&plan.binary)?.schema, None, &mut checked)?,
    };
    describe_steps(client, plan, begun, &way)
}

/// As [`describe_rollback`], where it is known what becomes of the database.
fn describe_steps(
    client: &HostClient,
    plan: &RollbackPlan,
    begun: Option<&RollbackState>,
    way: &DatabaseChoice,
) -> Result<Vec<String>, RollbackError> {
    let left = RollbackStep::ALL.into_iter();
    let left = left.filter(|step| begun.is_none_or(|state| !state.is_done(*step)));
    left.map(|step| {
        let what = match step {
            RollbackStep::Canary => read_state(client, &plan.canary_journal)?.map_or_else(
                || "none is under way".to_owned(),
                |canary| format!("{} is undone", canary.id),
            ),
            RollbackStep::Backup => {
                format!("the database is copied to {}", plan.snapshots.display())
            }
            RollbackStep::Database => {
                let is_exclusive = matches!(way, DatabaseChoice::Restore(_));
                let stop = plan.control.stop_actions(&plan.binary, is_exclusive);
                format!("{}; then {way}", describe_actions(&stop))
            }
            RollbackStep::Start => describe_actions(&plan.control.start_actions(&plan.binary)),
            RollbackStep::Health => {
                format!("{} checks at most, every {:?}", plan.tries, plan.pause)
            }
            RollbackStep::Traffic => plan.traffic.as_ref().map_or_else(
                || "no HAProxy is named: the host has all requests".to_owned(),
                |traffic| {
                    format!(
                        "{} of {} gets {:?} %",
                        traffic.server, traffic.backend, traffic.shares
                    )
                },
            ),
            RollbackStep::Validation => {
                return Ok(describe_validation(plan.validation.as_ref()));
            }
        };
        Ok(format!("{}: {what}", step.as_str()))
    })
    .collect()
}
