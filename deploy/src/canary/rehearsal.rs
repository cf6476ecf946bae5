//! The dry run of a canary: what `start`, or an order to the canary that is under way, would do, and everything that would keep it from that. Nothing
//! is changed.

use std::path::Path;

use ark_client::HostClient;

use crate::data_lock::DataDirLock;
use crate::exchange::hosts::serving::{Serving, WantedProgram};
use crate::exchange::preflight::Preflight;
use crate::exchange::programs::version::ask_version;
use crate::exchange::{GivenOption, HostClients, find_migration};
use crate::exclusion::ExchangeKind;
use crate::haproxy::HaproxyClient;
use crate::journal::Journal;
use crate::runner::{Runner, find_runner};

use super::analysis::ask_hold;
use super::error::CanaryError;
use super::given::take_options;
use super::journal::{CanaryEntry, CanaryStart, CanaryState, TakeOverStep, read_entries};
use super::orders::CanaryOrder;
use super::plan::{CanaryPlan, ExcludedJournals, TakeOverPlan};
use super::prepare::rehearse_start;
use super::run::check_left_weights;
use super::stable_host::find_host_to_bring_back;

/// Checks everything that a canary needs, and changes nothing. Returns the steps, one a line: their names are those of its journal. What is no step is
/// `before` or `going-back`.
///
/// # Errors
/// Something is missing, or a canary, an upgrade or a rollback is under way: the message names everything that was found.
pub fn rehearse_canary(
    client: &HostClient,
    plan: CanaryPlan,
    path: &Path,
    excluded: &ExcludedJournals,
) -> Result<Vec<String>, CanaryError> {
    let kind = ExchangeKind::Canary;
    // What is under way comes first: nothing else can be done about it here.
    crate::exclusion::OtherJournal { kind, path }.refuse_own(client)?;
    excluded.refuse_others(client)?;
    if let Some(take_over) = &plan.take_over {
        DataDirLock::refuse_other(&take_over.data_dir)?;
    }
    let mut found = Preflight::default();
    found.check_journal(kind, client, path);
    found.check_host(client, false);
    check_take_over(plan.take_over.as_ref(), &mut found);
    let prepared = rehearse_start(client, plan, &mut found);
    found.finish()?;
    let Some(begin) = prepared else {
        return Ok(Vec::new());
    };
    let baseline = begin.baseline;
    let mut steps = vec![format!(
        "before: {} of {} decisions denied",
        baseline.denied, baseline.decisions
    )];
    steps.extend(list_shares(&begin.plan, 0));
    match &begin.plan.take_over {
        None => steps
            .push("promoted: the data is not taken over, the host stays the old one".to_owned()),
        Some(plan) => {
            steps.extend(list_take_over(plan, true));
            if matches!(
                find_migration(&plan.new_binary, &plan.data_dir),
                Ok(Some(_))
            ) {
                let hold = ask_hold(client, &begin.plan);
                steps.push(format!("note: {}", hold.describe_hold()));
            }
        }
    }
    steps.push("going-back: only if a check or a step fails".to_owned());
    Ok(steps)
}

/// Checks what an order to the canary that is under way needs, and changes nothing. Returns what would be done, one a line.
///
/// # Errors
/// No canary is under way, the order would be refused, or what it needs is missing.
pub fn rehearse_order(
    client: &HostClient,
    path: &Path,
    order: CanaryOrder,
    given: &[GivenOption],
    excluded: &ExcludedJournals,
) -> Result<Vec<String>, CanaryError> {
    let owner = ExchangeKind::Canary.owner_for(client);
    let entries = Journal::read_entries::<CanaryEntry>(path, &owner)?;
    let Some((mut begin, state)) = read_entries(&entries) else {
        return Err(CanaryError::None(client.url().to_owned()));
    };
    let taken = take_options(&mut begin.plan, given)?;
    let mut found = Preflight::default();
    let mut lines = match find_runner(path) {
        Runner::None => {
            found.check_journal(ExchangeKind::Canary, client, path);
            let leaves_weights = taken.leaves_weights;
            if order == CanaryOrder::Resume && state.going_back.is_none() {
                found.take(excluded.refuse_others(client));
            }
            list_taken_up(client, &begin, &state, (order, leaves_weights), &mut found)?
        }
        Runner::Process(pid) => vec![describe_order(&format!("process {pid}"), &state, order)],
        Runner::Hidden => vec![describe_order(
            "a process that cannot be seen from here",
            &state,
            order,
        )],
    };
    let taken = taken.lines.into_iter();
    lines.splice(0..0, taken.map(|line| format!("taken: {line}")));
    lines.insert(0, format!("goes-on: {}", begin.id));
    found.finish()?;
    Ok(lines)
}

/// What the process that runs the canary would do.
fn describe_order(process: &str, state: &CanaryState, order: CanaryOrder) -> String {
    let share = state.share_pct;
    // Before the host is stopped, a take-over obeys as a step does; what goes back looks for no order.
    if let Some(reason) = &state.going_back {
        return format!("going-back: {process} goes back already: {reason}");
    }
    if state.was_stopped {
        let order = order.as_str();
        return format!(
            "not-taken: {process} has stopped the host, and takes no order from here on: `{order}` waits for the end of the take-over, which can only fail by itself; `ark rollback` goes back after it"
        );
    }
    match order {
        CanaryOrder::Pause if state.paused => {
            format!("paused: {process} keeps the share of {share} % already")
        }
        CanaryOrder::Pause => format!("paused: {process} keeps the share of {share} %"),
        CanaryOrder::Resume if state.paused => {
            format!("resumed: {process} ends the pause at {share} %, whose time begins anew")
        }
        CanaryOrder::Resume => format!("resumed: {process} runs it, and it is not paused"),
        CanaryOrder::Promote => {
            format!("promote: {process} goes on from {share} % at the next success")
        }
        CanaryOrder::Abort => format!("going-back: {process} undoes it"),
    }
}

/// What this command would do, since no process runs the canary. `order`: with whether it leaves the weights alone.
fn list_taken_up(
    client: &HostClient,
    begin: &CanaryStart,
    state: &CanaryState,
    (order, leaves_weights): (CanaryOrder, bool),
    found: &mut Preflight,
) -> Result<Vec<String>, CanaryError> {
    let plan = &begin.plan;
    if !leaves_weights {
        let haproxy = HaproxyClient::new(plan.haproxy.clone());
        found.take(haproxy.show_server(&plan.backend, &plan.server));
    }
    let is_back = order == CanaryOrder::Abort || state.going_back.is_some();
    match order {
        CanaryOrder::Pause | CanaryOrder::Promote => return Err(CanaryError::NotRun),
        CanaryOrder::Resume if !is_back => {}
        CanaryOrder::Resume | CanaryOrder::Abort => {
            let take_over = plan.take_over.clone();
            let (take_over, ended) = find_host_to_bring_back(client, take_over, state);
            check_take_over(take_over.as_ref(), found);
            let reason = state
                .going_back
                .as_deref()
                .unwrap_or("an operator ended it");
            let mut lines = vec![format!("going-back: {reason}{ended}")];
            lines.push(if leaves_weights {
                "went-back: the weights are left as they are".to_owned()
            } else {
                format!("went-back: the weights are {:?} again", begin.weights)
            });
            lines.extend(take_over.map(|plan| {
                format!(
                    "went-back: {}, then {}",
                    plan.stop_command, plan.start_stable_command
                )
            }));
            return Ok(lines);
        }
    }
    found.take(check_left_weights(state, leaves_weights));
    check_going_on(client, plan.take_over.as_ref(), state, found);
    check_take_over(plan.take_over.as_ref(), found);
    let mut lines = Vec::new();
    if !state.was_stopped {
        lines.extend(list_shares(plan, state.share_pct));
    }
    if let Some(plan) = &plan.take_over {
        let serving = WantedProgram::from_binary(&plan.new_binary)
            .map(|wanted| wanted.find_serving(&plan.data_dir));
        let serving = found.take(serving).unwrap_or(Serving::Nothing);
        let is_running = state.is_running(&serving);
        if state.is_replayed(&serving) {
            lines.extend(list_take_over(plan, !is_running).into_iter().skip(2));
        } else {
            lines.extend(list_take_over(plan, !is_running));
        }
    }
    Ok(lines)
}

/// Checks what only a canary needs that this command goes on with: a host that takes the token. An order is left for the process that runs the canary,
/// which has a token of its own, and what goes back goes back with any, as in [`HostCanary::check_token`].
///
/// [`HostCanary::check_token`]: super::HostCanary::check_token
fn check_going_on(
    client: &HostClient,
    plan: Option<&TakeOverPlan>,
    state: &CanaryState,
    found: &mut Preflight,
) {
    if state.take_over.is_none() {
        found.check_host(client, true);
        return;
    }
    let submitter = client;
    let data_dir = plan.map(|plan| plan.data_dir.as_path());
    found.check_run_access(HostClients { client, submitter }, None, data_dir);
}

fn check_take_over(plan: Option<&TakeOverPlan>, found: &mut Preflight) {
    let Some(plan) = plan else {
        return;
    };
    found.check_data_dir(&plan.data_dir);
    // The snapshot, the copy in which its decisions are judged again, and what is kept before a migration.
    found.check_snapshots(&plan.snapshots, &plan.data_dir, 3);
    found.take(ask_version(&plan.new_binary));
    for command in [
        &plan.stop_command,
        &plan.start_command,
        &plan.start_stable_command,
    ] {
        found.check_command(command);
    }
}

/// The shares that are left. One that was given is measured again.
fn list_shares(plan: &CanaryPlan, from: u32) -> Vec<String> {
    let left = plan.shares.iter().filter(|share| **share >= from);
    left.map(|share| {
        format!(
            "share: {share} % of the requests to {}/{} for {:?}, checked every {:?}",
            plan.backend, plan.server, plan.step, plan.interval
        )
    })
    .collect()
}

/// The steps of a take-over. `exchanges`: the host is stopped and the new version started.
fn list_take_over(plan: &TakeOverPlan, exchanges: bool) -> Vec<String> {
    let name = |step: TakeOverStep| step.as_str();
    let mut steps = vec![
        format!(
            "{}: in {}",
            name(TakeOverStep::Snapshot),
            plan.snapshots.display()
        ),
        format!(
            "{}: {} judges its decisions again",
            name(TakeOverStep::Replay),
            plan.new_binary.display()
        ),
    ];
    if exchanges {
        let migration = find_migration(&plan.new_binary, &plan.data_dir);
        let kept = migration
            .ok()
            .flatten()
            .map_or_else(String::new, |migration| {
                format!("; {}", migration.describe_migration())
            });
        steps.push(format!(
            "{}: {}{kept}",
            name(TakeOverStep::Stop),
            plan.stop_command
        ));
        steps.push(format!(
            "{}: {}",
            name(TakeOverStep::Start),
            plan.start_command
        ));
    }
    steps
}
