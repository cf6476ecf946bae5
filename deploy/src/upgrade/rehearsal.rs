//! The dry run of an upgrade: what the run would do from where it stands, and everything that would keep it from that. Nothing is changed.

use std::path::Path;

use crate::data_lock::DataDirLock;
use crate::exchange::hosts::control::describe_actions;
use crate::exchange::hosts::serving::{Serving, has_gone, is_ready};
use crate::exchange::preflight::Preflight;
use crate::exchange::programs::version::ask_version;
use crate::exchange::validation::describe_validation;
use crate::exchange::{ExchangeError, GivenOption, HostClients, find_migration};
use crate::exclusion::{ExchangeKind, refuse_run};
use crate::journal::Journal;
use crate::rollback::{describe_rollback, read_way_back};

use super::back_plan::plan_way_back;
use super::error::UpgradeError;
use super::given::take_options;
use super::journal::{
    UpgradeEntry, UpgradePlan, UpgradeState, UpgradeStep, UpgradeVerb, read_entries,
};
use super::run::{list_excluded, prepare_upgrade, take_same_version};

/// Checks what the run needs, and changes nothing: of an upgrade that begins, or of the one that is under way, as
/// [`super::Upgrade::open`] takes it up. Returns the steps that the run would take, one a line: their names are those of its journal. What is no step is
/// `goes-on`, `taken`, `going-back`, `went-back` or `kept`.
///
/// # Errors
/// Something is missing, or the run would be refused: the message names everything that was found.
pub fn rehearse_upgrade(
    clients: HostClients<'_>,
    path: &Path,
    plan: Option<UpgradePlan>,
    given: &[GivenOption],
    verb: UpgradeVerb,
) -> Result<Vec<String>, UpgradeError> {
    let client = clients.client;
    let kind = ExchangeKind::Upgrade;
    let entries = Journal::read_entries::<UpgradeEntry>(path, &kind.owner_for(client))?;
    let Some(mut state) = read_entries(&entries) else {
        let plan = plan.ok_or_else(|| UpgradeError::None(client.url().to_owned()))?;
        return rehearse_begin(clients, path, plan);
    };
    refuse_run(client, kind, path)?;
    if let Some(plan) = plan {
        take_same_version(&mut state.begin, plan.new_binary)?;
    }
    let mut found = Preflight::default();
    found.check_journal(kind, client, path);
    let mut lines = vec![format!("goes-on: {}", state.begin.id)];
    let taken = take_options(&mut state.begin.plan, given)?;
    lines.extend(taken.iter().map(|line| format!("taken: {line}")));
    match (verb, &state.going_back) {
        (UpgradeVerb::Keep, _) => lines.push(rehearse_keep(clients, &state, &mut found)),
        (UpgradeVerb::Run, None) => {
            let serving = state.wanted().find_serving(&state.begin.plan.data_dir);
            lines.extend(check_plan(clients, &state.begin.plan, &mut found));
            if state.looks_again(&serving) {
                found.take(ask_version(&state.begin.plan.new_binary));
            }
            lines.extend(list_steps(&state, &serving, &mut found));
        }
        (UpgradeVerb::Run | UpgradeVerb::Back, _) => {
            lines.extend(list_way_back(clients, &state, &mut found));
        }
    }
    found.finish()?;
    Ok(lines)
}

fn rehearse_begin(
    clients: HostClients<'_>,
    path: &Path,
    plan: UpgradePlan,
) -> Result<Vec<String>, UpgradeError> {
    // What is under way comes first: nothing else can be done about it here.
    for other in list_excluded(&plan) {
        other.refuse_other(clients.client)?;
    }
    DataDirLock::refuse_other(&plan.data_dir)?;
    let mut found = Preflight::default();
    found.check_journal(ExchangeKind::Upgrade, clients.client, path);
    let note = check_plan(clients, &plan, &mut found);
    let prepared = prepare_upgrade(clients.client, plan);
    let lines = found.take(prepared).map(|(begin, _)| {
        let state = UpgradeState::from_start(begin);
        let mut lines = list_steps(&state, &Serving::Nothing, &mut found);
        let plan = &state.begin.plan;
        let back = plan.stable_control.start_actions(&plan.stable_binary);
        lines.push(format!(
            "going-back: only if one of these fails, by the steps of `ark rollback`: {}",
            describe_actions(&back)
        ));
        lines.extend(note);
        lines
    });
    found.finish()?;
    Ok(lines.unwrap_or_default())
}

/// What each run needs that begins or goes on. Returns a note of what could not be told.
fn check_plan(
    clients: HostClients<'_>,
    plan: &UpgradePlan,
    found: &mut Preflight,
) -> Option<String> {
    found.check_data_dir(&plan.data_dir);
    // The snapshot, the copy in which its decisions are judged again, and what is kept before a migration.
    found.check_snapshots(&plan.snapshots, &plan.data_dir, 3);
    for pair in plan.check_args.chunks(2) {
        if let [option, file] = pair {
            found.check_file(option, Path::new(file));
        }
    }
    found.check_control(&plan.control);
    found.check_control(&plan.stable_control);
    let kind = ExchangeKind::Rollback;
    found.check_other_journal(kind, clients.client, &plan.rollback_journal);
    found.check_host(clients.client, false);
    let warning = found.check_validation(plan.validation.as_ref(), clients)?;
    Some(format!("note: {warning}"))
}

/// The steps that are left, from where the upgrade stands.
fn list_steps(state: &UpgradeState, serving: &Serving, found: &mut Preflight) -> Vec<String> {
    let plan = &state.begin.plan;
    let new = plan.new_binary.display();
    let mut steps = Vec::new();
    let mut add = |step: UpgradeStep, what: String| {
        steps.push(format!("{}: {what}", step.as_str()));
    };
    if state.looks_again(serving) {
        let mut check = format!("{new} check --data-dir {}", plan.data_dir.display());
        for argument in &plan.check_args {
            check = format!("{check} {argument}");
        }
        add(UpgradeStep::Check, check);
        add(
            UpgradeStep::Snapshot,
            format!("in {}", plan.snapshots.display()),
        );
        add(
            UpgradeStep::Replay,
            format!("{new} judges its decisions again"),
        );
    }
    if !state.is_running(serving) {
        let migration = find_migration(&plan.new_binary, &plan.data_dir);
        let migration = found.take(migration).flatten();
        let stop = plan
            .control
            .stop_actions(&plan.new_binary, migration.is_some());
        let kept = migration.map_or_else(String::new, |migration| {
            format!("; {}", migration.describe_migration())
        });
        add(
            UpgradeStep::Stop,
            format!("{}{kept}", describe_actions(&stop)),
        );
        let start = plan.control.start_actions(&plan.new_binary);
        add(UpgradeStep::Start, describe_actions(&start));
    }
    steps.push(describe_validation(plan.validation.as_ref()));
    steps
}

/// What would undo it.
fn list_way_back(
    clients: HostClients<'_>,
    state: &UpgradeState,
    found: &mut Preflight,
) -> Vec<String> {
    let plan = &state.begin.plan;
    let reason = state.going_back.as_deref();
    if !state.was_stopped && state.going_back.is_none() {
        // Nothing was changed, but the host may have ended by itself meanwhile.
        let is_gone = has_gone(clients.client, &plan.data_dir);
        if !is_gone || !plan.stable_binary.exists() {
            return vec!["went-back: nothing was changed, the host serves on".to_owned()];
        }
    }
    if state.serves_on(clients.client) {
        return vec!["went-back: the host was not stopped, and serves on".to_owned()];
    }
    let reason = reason.unwrap_or("an operator undoes it");
    let mut lines = vec![format!("going-back: {reason}")];
    let back = plan_way_back(&state.begin, reason);
    found.check_data_dir(&back.data_dir);
    found.check_control(&back.control);
    found.check_host(clients.client, false);
    let warning = found.check_validation(back.validation.as_ref(), clients);
    lines.extend(warning.map(|warning| format!("note: {warning}")));
    let path = &plan.rollback_journal;
    found.check_other_journal(ExchangeKind::Rollback, clients.client, path);
    let begun = read_way_back(clients.client, path, &state.begin.id);
    if let Some(begun) = found.take(begun) {
        let described = describe_rollback(clients.client, &back, begun.as_ref());
        lines.extend(found.take(described).unwrap_or_default());
    }
    lines
}

fn rehearse_keep(clients: HostClients<'_>, state: &UpgradeState, found: &mut Preflight) -> String {
    let UpgradePlan { data_dir, .. } = &state.begin.plan;
    let wanted = state.wanted();
    if !state.may_run(&wanted.find_serving(data_dir)) {
        let refused = UpgradeError::NotStarted(state.begin.id.clone());
        found.take(Err::<(), _>(refused));
    } else if !is_ready(clients.client) {
        found.take(Err::<(), _>(UpgradeError::NotServing));
    }
    // It goes on with any token: at the worst the step is not recorded.
    let serving: Result<String, ExchangeError> = wanted.check_serving(data_dir);
    let serving = found.take(serving).unwrap_or_default();
    format!("kept: an operator stays with the new version; {serving}")
}
