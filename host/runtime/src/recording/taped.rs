//! The services and clocks of an invocation, through its tape.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ark_model::action::Action;
use ark_model::state::{Memory, StateEntry, Truth};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::services::{HostServices, Preview, ServiceError};

use super::recorded::{HostCall, HostCallAnswer};
use super::tape::Tape;

/// Services whose answers go through a tape: they are asked for and recorded, or replayed.
pub(crate) struct TapedServices {
    pub(crate) tape: Tape,
    pub(crate) services: Arc<dyn HostServices>,
}

impl TapedServices {
    /// Answers a call through the tape. `to_answer` makes the recorded form of an answer, `from_answer` reads it.
    fn answer_call<T>(
        &self,
        call: HostCall,
        live: impl FnOnce(&dyn HostServices) -> Result<T, ServiceError>,
        to_answer: impl FnOnce(T) -> HostCallAnswer,
        from_answer: impl FnOnce(HostCallAnswer) -> Option<T>,
    ) -> Result<T, ServiceError> {
        let answer = self.tape.answer_call(call, || {
            live(&*self.services)
                .map_or_else(|error| HostCallAnswer::Unavailable(error.0), to_answer)
        });
        if let HostCallAnswer::Unavailable(reason) = answer {
            return Err(ServiceError(reason));
        }
        from_answer(answer).ok_or_else(|| {
            ServiceError("the recording contains the answer to another call".to_owned())
        })
    }
}

impl HostServices for TapedServices {
    fn state_get(&self, key: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        self.answer_call(
            HostCall::StateGet {
                key: key.to_owned(),
            },
            |services| services.state_get(key),
            |(revision, entry)| HostCallAnswer::State(revision, entry),
            |answer| match answer {
                HostCallAnswer::State(revision, entry) => Some((revision, entry)),
                _ => None,
            },
        )
    }

    fn state_writable(&self, key: &str) -> Result<(), ServiceError> {
        self.services.state_writable(key)
    }

    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, ServiceError> {
        self.answer_call(
            HostCall::StateList {
                prefix: prefix.to_owned(),
                limit,
            },
            |services| services.state_list(prefix, limit),
            HostCallAnswer::Keys,
            |answer| match answer {
                HostCallAnswer::Keys(keys) => Some(keys),
                _ => None,
            },
        )
    }

    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, ServiceError> {
        self.answer_call(
            HostCall::MemoryRecent {
                kind: kind.map(str::to_owned),
                limit,
            },
            |services| services.memory_recent(kind, limit),
            HostCallAnswer::Memories,
            |answer| match answer {
                HostCallAnswer::Memories(memories) => Some(memories),
                _ => None,
            },
        )
    }

    fn truth_get(&self, key: &str) -> Result<Option<Truth>, ServiceError> {
        self.answer_call(
            HostCall::TruthGet {
                key: key.to_owned(),
            },
            |services| services.truth_get(key),
            HostCallAnswer::Truth,
            |answer| match answer {
                HostCallAnswer::Truth(truth) => Some(truth),
                _ => None,
            },
        )
    }

    fn config_get(&self, key: &str) -> Result<Option<String>, ServiceError> {
        self.answer_call(
            HostCall::ConfigGet {
                key: key.to_owned(),
            },
            |services| services.config_get(key),
            HostCallAnswer::Config,
            |answer| match answer {
                HostCallAnswer::Config(value) => Some(value),
                _ => None,
            },
        )
    }

    fn check_action(&self, action: Action) -> Result<Preview, ServiceError> {
        self.answer_call(
            HostCall::Check {
                action: Box::new(action.clone()),
            },
            |services| services.check_action(action),
            |preview| HostCallAnswer::Preview(Box::new(preview)),
            |answer| match answer {
                HostCallAnswer::Preview(preview) => Some(*preview),
                _ => None,
            },
        )
    }
}

/// The wall clock of a guest.
pub(crate) struct TapedWallClock(pub(crate) Tape);

impl HostWallClock for TapedWallClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        let live = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let live = u64::try_from(live.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.read_clock(
            |recording| &mut recording.wall_ns,
            |position| &mut position.wall,
            live,
        ))
    }
}

/// The monotonic clock of a guest. It starts with the invocation, so it reveals nothing of the host.
pub(crate) struct TapedMonotonicClock {
    pub(crate) tape: Tape,
    pub(crate) started: Instant,
}

impl HostMonotonicClock for TapedMonotonicClock {
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        let live = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.tape.read_clock(
            |recording| &mut recording.monotonic_ns,
            |position| &mut position.monotonic,
            live,
        )
    }
}
