//! What another process asks of the one that runs a canary.
//!
//! The files of an order are described in [`super::orders`]. Invariant: who asks waits for a bounded time, and for no process that does nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_client::HostClient;

use crate::exclusion::{ExchangeKind, ExclusionError};
use crate::journal::{Journal, JournalError};
use crate::runner::{Runner, end_runner, find_runner, interrupt_runner, is_stopped};

use super::error::CanaryError;
use super::journal::{CanaryEntry, CanaryState, read_entries};
use super::orders::{CanaryOrder, OrderAnswer, SentOrder};

/// The pause between two looks at whether the request was taken.
const TICK: Duration = Duration::from_millis(50);
/// How long a process may be stopped (SIGSTOP) before it is not waited for any more.
const STOPPED: Duration = Duration::from_secs(5);
/// How long a canary in a step may take to see a request: it looks for one after each check, whose calls have limits of their own.
const IN_STEP: Duration = Duration::from_mins(5);
/// How long a canary may take that takes the data over or goes back: a replay, snapshots, commands, of which each has a limit of its own.
const IN_TAKE_OVER: Duration = Duration::from_hours(14);
/// How long a command that outlives the process which began it is waited for.
const OUTLIVING: Duration = Duration::from_mins(10);

/// Whether a command runs the canary of a journal now, also one that cannot be seen from here. Without one it keeps its share, and nothing measures it.
#[must_use]
pub fn has_runner(path: &Path) -> bool {
    find_runner(path) != Runner::None
}

/// Where a canary stands; `None`: none is under way. It may run meanwhile.
///
/// # Errors
/// The journal cannot be read.
pub fn read_state(client: &HostClient, path: &Path) -> Result<Option<CanaryState>, CanaryError> {
    let entries =
        Journal::read_entries::<CanaryEntry>(path, &ExchangeKind::Canary.owner_for(client))?;
    Ok(read_entries(&entries).map(|(_, state)| state))
}

/// Asks something of the process that runs the canary, and waits until it has obeyed: within a step at once, during the take-over at its end. An order
/// that waits already is waited for first. An order to abort that finds no room on the disk is given by a signal (SIGINT) in place of a file.
///
/// # Errors
/// No canary is under way, its journal cannot be used, the process takes no request in time, or `stop` is set.
pub fn send_request(
    client: &HostClient,
    path: &Path,
    request: CanaryOrder,
    stop: &AtomicBool,
) -> Result<OrderAnswer, CanaryError> {
    let Some(canary) = read_state(client, path)? else {
        return Err(CanaryError::None(client.url().to_owned()));
    };
    let order = SentOrder::new(path, &canary.id, request);
    let sent = wait_obeyed(client, path, &order, stop);
    if !matches!(sent, Ok(OrderAnswer::Noted | OrderAnswer::Ended)) {
        // Nobody is to take it later.
        order.withdraw_order();
    }
    sent
}

fn wait_obeyed(
    client: &HostClient,
    path: &Path,
    order: &SentOrder,
    stop: &AtomicBool,
) -> Result<OrderAnswer, CanaryError> {
    let owner = ExchangeKind::Canary.owner_for(client);
    let (began, mut stopped_since) = (Instant::now(), None);
    let (mut is_placed, mut is_interrupted) = (false, false);
    loop {
        // A command that outlives its killed canary holds the journal too, and takes no request.
        match Journal::open::<CanaryEntry>(path, &owner) {
            Ok((_journal, entries)) => {
                // Whoever ran it may have obeyed and ended since.
                if let Some(answer) = order.find_answer() {
                    return Ok(answer);
                }
                // Before the journal is free for another run, which would obey it.
                order.withdraw_order();
                return match read_entries(&entries) {
                    Some(_) => Ok(OrderAnswer::NotRun),
                    None if is_interrupted => Ok(OrderAnswer::Ended),
                    None => Err(CanaryError::None(client.url().to_owned())),
                };
            }
            Err(JournalError::InUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if is_placed {
            if !order.is_waiting() {
                let dropped = || CanaryError::Dropped(order.content.order.as_str());
                return order.find_answer().ok_or_else(dropped);
            }
        } else if !is_interrupted {
            match order.place_order() {
                Ok(placed) => is_placed = placed,
                // A full disk keeps nobody from a way back.
                Err(error) if order.content.order == CanaryOrder::Abort => {
                    interrupt_run(path, error)?;
                    is_interrupted = true;
                }
                Err(error) => return Err(error),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Err(CanaryError::Interrupted);
        }
        let checked = check_runner(client, path, order.content.order, began, &mut stopped_since);
        checked.map_err(|error| order.name_waiting(error))?;
        std::thread::sleep(TICK);
    }
}

/// Refuses to wait on for what runs the canary, where that does nothing. `stopped_since`: since when its process is found to be stopped.
fn check_runner(
    client: &HostClient,
    path: &Path,
    request: CanaryOrder,
    began: Instant,
    stopped_since: &mut Option<Instant>,
) -> Result<(), CanaryError> {
    let (waited, request) = (began.elapsed(), request.as_str());
    // It is found out only now and then in what step the canary is.
    let patience = if waited < IN_STEP {
        IN_STEP
    } else {
        let state = read_state(client, path)?;
        let is_in_step =
            state.is_none_or(|state| state.take_over.is_none() && state.going_back.is_none());
        if is_in_step { IN_STEP } else { IN_TAKE_OVER }
    };
    match find_runner(path) {
        Runner::Process(pid) => {
            *stopped_since = if is_stopped(pid) {
                stopped_since.or(Some(Instant::now()))
            } else {
                None
            };
            let is_stopped = stopped_since.is_some_and(|since| since.elapsed() >= STOPPED);
            if is_stopped || waited > patience {
                return Err(CanaryError::Silent {
                    pid,
                    request,
                    waited: Duration::from_secs(waited.as_secs()),
                    is_stopped,
                });
            }
        }
        Runner::Hidden if waited > patience => {
            return Err(CanaryError::HiddenSilent {
                request,
                waited: patience,
            });
        }
        Runner::None if waited > OUTLIVING => {
            return Err(ExclusionError::outlives(ExchangeKind::Canary, path, OUTLIVING).into());
        }
        Runner::Hidden | Runner::None => {}
    }
    Ok(())
}

/// Has the process that runs the canary go back by a signal, where no order can be placed for want of room.
///
/// # Errors
/// `unplaced`: it is about something else, or no process is found.
fn interrupt_run(path: &Path, unplaced: CanaryError) -> Result<(), CanaryError> {
    if unplaced.is_without_room()
        && let Runner::Process(pid) = find_runner(path)
        && interrupt_runner(path, pid).is_ok()
    {
        return Ok(());
    }
    Err(unplaced)
}

/// Ends the process that runs a canary and takes no request. What it left is in its journal.
pub(crate) fn end_silent(path: &Path, pid: u32) -> Result<(), CanaryError> {
    end_runner(path, pid).map_err(|cause| CanaryError::NotEnded { pid, cause })
}
