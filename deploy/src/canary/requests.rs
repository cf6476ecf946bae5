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

use super::error::{CanaryEnd, CanaryError};
use super::journal::{CanaryEntry, CanaryState, read_entries};
use super::orders::{CanaryOrder, OrderAnswer, SentOrder};
use super::run_note::RunNote;

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

/// Asks something of the process that runs the canary, and waits until it has obeyed: at once, until the take-over stops the host; from there on it takes
/// no order, and the end of the canary is waited for. An order that waits already is waited for first. An order to abort that finds no room on the disk is
/// given by a signal (SIGINT) in place of a file.
///
/// # Errors
/// No canary is under way, it ends before the order is taken, its journal cannot be used, the process refuses the order or takes none in time, or `stop`
/// is set.
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
                if let Some(answer) = find_answer(path, order) {
                    return answer;
                }
                // Before the journal is free for another run, which would obey it.
                order.withdraw_order();
                let found = read_entries(&entries);
                return if found.is_some_and(|(begin, _)| begin.id == order.content.canary) {
                    Ok(OrderAnswer::NotRun)
                } else {
                    read_end(path, order, is_interrupted)
                };
            }
            Err(JournalError::InUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if is_placed {
            if !order.is_waiting() {
                let answer = find_answer(path, order);
                return answer.unwrap_or_else(|| read_end(path, order, false));
            }
        } else if !is_interrupted {
            match order.place_order() {
                Ok(placed) => is_placed = placed,
                // A full disk keeps nobody from a way back.
                Err(error) if order.content.order == CanaryOrder::Abort => {
                    interrupt_run(path, &order.content.canary, error)?;
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

/// What the run has answered to this order; `None`: nothing yet.
fn find_answer(path: &Path, order: &SentOrder) -> Option<Result<OrderAnswer, CanaryError>> {
    if let Some(answer) = order.find_answer() {
        return Some(Ok(answer));
    }
    let refused = || CanaryError::Refused {
        order: order.content.order.as_str(),
        path: path.to_owned(),
    };
    order.is_refused().then(|| Err(refused()))
}

/// What an order comes to that has no answer, and whose canary is over. `is_interrupted`: it was given by a signal, which may have come after the last
/// look at it, so that only a canary that went back has taken it.
fn read_end(
    path: &Path,
    order: &SentOrder,
    is_interrupted: bool,
) -> Result<OrderAnswer, CanaryError> {
    let end = RunNote::read_end(path, &order.content.canary);
    if is_interrupted && end == CanaryEnd::WentBack {
        return Ok(OrderAnswer::Ended);
    }
    Err(CanaryError::Over {
        order: order.content.order.as_str(),
        end,
    })
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

/// Has the process that runs the canary go back by a signal, where no order can be placed for want of room. One that goes back already gets none: a second
/// signal would end it like a kill.
///
/// # Errors
/// `unplaced`: it is about something else, or no process is found that goes on with the canary.
fn interrupt_run(path: &Path, canary: &str, unplaced: CanaryError) -> Result<(), CanaryError> {
    if !unplaced.is_without_room() {
        return Err(unplaced);
    }
    match (RunNote::read(path, canary), find_runner(path)) {
        (Some(RunNote::GoesBack), _) => Ok(()),
        (Some(RunNote::GoesOn), Runner::Process(pid)) => {
            // Before the signal, so that whoever comes next sends no second one.
            RunNote::GoesBack.write_for_runner(path, canary);
            interrupt_runner(path, pid).map_err(|_| {
                RunNote::GoesOn.write_for_runner(path, canary);
                unplaced
            })
        }
        _ => Err(unplaced),
    }
}

/// Ends the process that runs a canary and takes no request. What it left is in its journal.
pub(crate) fn end_silent(path: &Path, pid: u32) -> Result<(), CanaryError> {
    end_runner(path, pid).map_err(|cause| CanaryError::NotEnded { pid, cause })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::fixtures::build_client;
    use crate::runner::RunMark;

    use super::*;

    #[test]
    fn an_order_whose_canary_is_over_is_told_how_that_ended() {
        let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
        let path = dir.path().join("canary.journal");
        let stop = AtomicBool::new(false);
        let end_with = |note: RunNote, canary: &str, is_interrupted: bool| {
            let mark = RunMark::set_mark(&path).unwrap();
            note.write(&mark, canary);
            drop(mark);
            let abort = SentOrder::new(&path, "canary-1", CanaryOrder::Abort);
            if is_interrupted {
                return read_end(&path, &abort, true).map_err(|error| error.to_string());
            }
            wait_obeyed(&client, &path, &abort, &stop).map_err(|error| error.to_string())
        };
        for is_interrupted in [false, true] {
            let refused = end_with(RunNote::Promoted, "canary-1", is_interrupted).unwrap_err();
            assert!(refused.contains("`abort` was not taken"), "{refused}");
            assert!(refused.contains("was promoted"), "{refused}");
            // Another one has been run since.
            let refused = end_with(RunNote::WentBack, "canary-2", is_interrupted).unwrap_err();
            assert!(
                refused.contains("is over; `ark canary status`"),
                "{refused}"
            );
        }
        let refused = end_with(RunNote::WentBack, "canary-1", false).unwrap_err();
        assert!(refused.contains("since it went back"), "{refused}");
        // The signal is why it did.
        let ended = end_with(RunNote::WentBack, "canary-1", true);
        assert_eq!(ended, Ok(OrderAnswer::Ended));
    }

    #[test]
    fn only_a_run_that_goes_on_with_the_canary_is_interrupted_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("canary.journal");
        let (mark, seen) = (
            dir.path().join("canary.journal.run"),
            dir.path().join("seen"),
        );
        let script = format!(
            "trap 'echo interrupted >>{seen}' INT; exec 9>>{mark}; flock 9; printf '%-20d\n' $$ >&9; while :; do sleep 0.05; done",
            seen = seen.display(),
            mark = mark.display()
        );
        // Whoever runs the tests may ignore the signal.
        let mut run = Command::new("env");
        run.args(["--default-signal=INT", "sh", "-c", &script]);
        let mut run = run.spawn().unwrap();
        let ends = Instant::now() + Duration::from_mins(1);
        while find_runner(&path) != Runner::Process(run.id()) && Instant::now() < ends {
            std::thread::sleep(TICK);
        }
        let interrupt = |kind: std::io::ErrorKind| {
            let unplaced = CanaryError::Request {
                path: path.clone(),
                cause: kind.into(),
            };
            interrupt_run(&path, "canary-1", unplaced).is_ok()
        };
        let full = std::io::ErrorKind::StorageFull;
        // One that says nothing, one of another canary, and one that has come to its end.
        assert!(!interrupt(full));
        for (note, canary) in [
            (RunNote::GoesOn, "canary-2"),
            (RunNote::Promoted, "canary-1"),
            (RunNote::WentBack, "canary-1"),
        ] {
            note.write_for_runner(&path, canary);
            assert!(!interrupt(full), "{note:?} {canary}");
        }
        RunNote::GoesBack.write_for_runner(&path, "canary-1");
        assert!(interrupt(full), "its end is waited for");
        RunNote::GoesOn.write_for_runner(&path, "canary-1");
        assert!(!interrupt(std::io::ErrorKind::PermissionDenied));
        assert_eq!(RunNote::read(&path, "canary-1"), Some(RunNote::GoesOn));
        assert!(interrupt(full) && interrupt(full));
        assert_eq!(RunNote::read(&path, "canary-1"), Some(RunNote::GoesBack));
        let read = || std::fs::read_to_string(&seen).unwrap_or_default();
        while read().is_empty() && Instant::now() < ends {
            std::thread::sleep(TICK);
        }
        end_silent(&path, run.id()).unwrap();
        run.wait().unwrap();
        assert_eq!(read(), "interrupted\n");
    }
}
