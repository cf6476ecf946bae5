//! The steps `start` and `health`: the stable version is started, again if it ends, and its health checked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::exchange::hosts::control::{describe_actions, run_actions};
use crate::exchange::hosts::serving::{HostWatch, WantedProgram};
use crate::rollback::error::RollbackError;
use crate::rollback::journal::RollbackStart;

use super::health::read_health;
use super::run::{Rollback, TICK};

impl Rollback<'_> {
    pub(super) fn start_host(&mut self, stop: &AtomicBool) -> Result<String, RollbackError> {
        let plan = &self.state.begin.plan;
        let actions = plan.control.start_actions(&plan.binary);
        self.watch = Some(HostWatch::before_start(&plan.data_dir));
        run_actions(&actions, &self.journal.share_lock()?, plan.timeout, stop)?;
        Ok(describe_actions(&actions))
    }

    /// Starts the host again if it has ended and no process manager does. Returns whether it did.
    fn start_again(&mut self, stop: &AtomicBool) -> Result<bool, RollbackError> {
        let has_ended = self.watch.as_mut().is_some_and(HostWatch::has_ended);
        if has_ended {
            let reason = "the stable version has ended, and is started again";
            (self.tell)("health", json!({"reason": reason}));
            self.start_host(stop)?;
        }
        Ok(has_ended)
    }

    /// Waits until the stable version is healthy. One that has ended is started again, once.
    pub(super) fn check_health(&mut self, stop: &AtomicBool) -> Result<String, RollbackError> {
        let RollbackStart { plan, build, .. } = self.state.begin.clone();
        let name = format!("{} ({})", plan.version, plan.binary.display());
        let wanted = WantedProgram::of_build(name, build);
        let (mut problem, mut was_started_again) = (String::new(), false);
        for tried in 0..plan.tries {
            let until = Instant::now()
                + if tried == 0 {
                    Duration::ZERO
                } else {
                    plan.pause
                };
            while Instant::now() < until {
                if stop.load(Ordering::Relaxed) {
                    return Err(RollbackError::Interrupted);
                }
                std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
            }
            let serving = || {
                wanted
                    .check_serving(&plan.data_dir)
                    .map_err(|error| error.to_string())
            };
            match read_health(self.current_client())
                .and_then(|good| Ok(format!("{good}; {}", serving()?)))
            {
                Ok(detail) => {
                    let again = if was_started_again {
                        "; it had ended, and was started again"
                    } else {
                        ""
                    };
                    return Ok(format!("{detail} (check {}){again}", tried + 1));
                }
                Err(found) => problem = found,
            }
            if !was_started_again && tried + 1 < plan.tries {
                was_started_again = self.start_again(stop)?;
            }
        }
        if let Some(watch) = &mut self.watch {
            if watch.has_ended() {
                problem = format!("{}; {problem}", watch.ended());
            } else if watch.never_came() {
                problem = format!(
                    "no process has taken {} since `{}`, which reported no error: it started no host, or one with another data directory; correct what starts it; {problem}",
                    plan.data_dir.display(),
                    describe_actions(&plan.control.start_actions(&plan.binary)),
                );
            }
        }
        Err(RollbackError::NotHealthy {
            tries: plan.tries,
            problem,
        })
    }
}
