//! What an invocation was told from outside: the answers to its host calls, the time and the randomness it saw. With the component, the
//! signal and this, an invocation can be run again, anywhere, and does the same.
//!
//! Every invocation is recorded, since which of them fails is known only afterwards. The recording is bounded: past its size answers are
//! dropped and counted, and a replay says that it is not exact.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use ark_model::action::Action;
use ark_model::state::{Memory, StateEntry, Truth, is_secret};

use super::host::{Preview, ServiceError, Services};

/// The most bytes of answers that are kept.
const ANSWER_BYTES: usize = 256 * 1024;
/// The most readings of a clock that are kept.
const READINGS: usize = 4096;

/// A host call that reached outside the invocation. Writes stay inside it until its commit, so they are not among these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// `state-get` of a key not yet written by the invocation.
    StateGet {
        /// The key.
        key: String,
    },
    /// `state-list`.
    StateList {
        /// The prefix.
        prefix: String,
        /// The most keys.
        limit: u32,
    },
    /// `memory-recent`.
    MemoryRecent {
        /// The kind.
        kind: Option<String>,
        /// The most memories.
        limit: u32,
    },
    /// `truth-get` of a key not yet written by the invocation.
    TruthGet {
        /// The key.
        key: String,
    },
    /// `config-get`.
    ConfigGet {
        /// The key.
        key: String,
    },
    /// `check`.
    Check {
        /// The action.
        action: Box<Action>,
    },
}

/// What the host answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallAnswer {
    /// To `state-get`: the revision, and the value unless there is none.
    State(u64, Option<StateEntry>),
    /// To `state-list`.
    Keys(Vec<String>),
    /// To `memory-recent`.
    Memories(Vec<Memory>),
    /// To `truth-get`.
    Truth(Option<Truth>),
    /// To `config-get`.
    Config(Option<String>),
    /// To `check`.
    Preview(Box<Preview>),
    /// The host could not do it: why.
    Unavailable(String),
    /// It was too large to be kept, or a secret.
    Dropped,
}

/// A call with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedCall {
    /// What was asked.
    #[serde(flatten)]
    pub call: Call,
    /// What was answered.
    pub answer: CallAnswer,
}

/// Everything an invocation was told from outside, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The seed of its randomness.
    pub seed: [u8; 32],
    /// What it read from the wall clock, nanoseconds since the Unix epoch.
    pub wall_ns: Vec<u64>,
    /// What it read from the monotonic clock, in nanoseconds.
    pub monotonic_ns: Vec<u64>,
    /// Its host calls.
    pub calls: Vec<RecordedCall>,
    /// How many answers and readings were dropped.
    pub dropped: u32,
}

/// A recording that is being made or played.
#[derive(Clone)]
pub(super) struct Tape {
    shared: Arc<Mutex<State>>,
}

struct State {
    recording: Recording,
    bytes: usize,
    playing: Option<Position>,
    diverged: Option<String>,
}

/// How far a recording was played.
#[derive(Default)]
struct Position {
    wall: usize,
    monotonic: usize,
    call: usize,
}

impl Tape {
    /// An empty tape, with fresh randomness.
    pub(super) fn record() -> Self {
        Self::of(
            Recording {
                seed: rand::random(),
                ..Recording::default()
            },
            None,
        )
    }

    /// A tape that answers as it is recorded.
    pub(super) fn play(recording: Recording) -> Self {
        Self::of(recording, Some(Position::default()))
    }

    fn of(recording: Recording, playing: Option<Position>) -> Self {
        let state = State {
            recording,
            bytes: 0,
            playing,
            diverged: None,
        };
        Self {
            shared: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn randomness(&self) -> StdRng {
        StdRng::from_seed(self.lock().recording.seed)
    }

    /// Takes what was recorded.
    pub(super) fn take(&self) -> Recording {
        std::mem::take(&mut self.lock().recording)
    }

    /// Where what was played is not what happened then; `None`: nowhere.
    pub(super) fn diverged(&self) -> Option<String> {
        self.lock().diverged.clone()
    }

    fn reading(
        &self,
        pick: fn(&mut Recording) -> &mut Vec<u64>,
        at: fn(&mut Position) -> &mut usize,
        live: u64,
    ) -> u64 {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(position) = state.playing.as_mut().map(at) else {
            let readings = pick(&mut state.recording);
            if readings.len() < READINGS {
                readings.push(live);
            } else {
                state.recording.dropped = state.recording.dropped.saturating_add(1);
            }
            return live;
        };
        let readings = pick(&mut state.recording);
        let index = *position;
        *position += 1;
        match readings.get(index) {
            Some(reading) => *reading,
            // Past the end, time goes on in the smallest steps.
            None => readings
                .last()
                .copied()
                .unwrap_or(live)
                .saturating_add((index - readings.len()) as u64 + 1),
        }
    }

    fn answer(&self, call: Call, live: impl FnOnce() -> CallAnswer) -> CallAnswer {
        {
            let mut state = self.lock();
            let state = &mut *state;
            if let Some(position) = &mut state.playing {
                let index = position.call;
                position.call += 1;
                let reason = match state.recording.calls.get(index) {
                    Some(recorded) if recorded.call != call => "another host call than then",
                    Some(RecordedCall {
                        answer: CallAnswer::Dropped,
                        ..
                    }) => "a host call whose answer was too large to be kept, or a secret",
                    Some(recorded) => return recorded.answer.clone(),
                    None => "one host call more than then",
                };
                let reason = format!("host call {}: {reason}", index + 1);
                state.diverged.get_or_insert_with(|| reason.clone());
                return CallAnswer::Unavailable(format!("not in the recording ({reason})"));
            }
        }
        // Not under the lock: a check waits for the HRM.
        let answer = live();
        let mut state = self.lock();
        let bytes = size_of(&call, &answer);
        // A capsule is a file that people pass on.
        let secret = matches!(&call, Call::StateGet { key } if is_secret(key));
        let kept = !secret && state.bytes.saturating_add(bytes) <= ANSWER_BYTES;
        if kept {
            state.bytes += bytes;
        } else {
            state.recording.dropped = state.recording.dropped.saturating_add(1);
        }
        // A call without its answer still shows what was asked, unless it is the asking that is large.
        if kept || state.recording.calls.len() < READINGS {
            let answer = if kept {
                answer.clone()
            } else {
                CallAnswer::Dropped
            };
            let call = if kept { call } else { shortened(call) };
            state.recording.calls.push(RecordedCall { call, answer });
        }
        answer
    }
}

fn shortened(call: Call) -> Call {
    let clip = |text: String| ark_model::check::clip(&text);
    match call {
        Call::StateGet { key } => Call::StateGet { key: clip(key) },
        Call::StateList { prefix, limit } => Call::StateList {
            prefix: clip(prefix),
            limit,
        },
        Call::MemoryRecent { kind, limit } => Call::MemoryRecent {
            kind: kind.map(clip),
            limit,
        },
        Call::TruthGet { key } => Call::TruthGet { key: clip(key) },
        Call::ConfigGet { key } => Call::ConfigGet { key: clip(key) },
        Call::Check { .. } => Call::StateGet {
            key: "(a check too large to be kept)".to_owned(),
        },
    }
}

fn size_of(call: &Call, answer: &CallAnswer) -> usize {
    const FRAME: usize = 64;
    let asked = match call {
        Call::StateGet { key } | Call::TruthGet { key } | Call::ConfigGet { key } => key.len(),
        Call::StateList { prefix, .. } => prefix.len(),
        Call::MemoryRecent { kind, .. } => kind.as_ref().map_or(0, String::len),
        Call::Check { action } => {
            serde_json::to_vec(action).map_or(usize::MAX / 2, |json| json.len())
        }
    };
    let answered = match answer {
        CallAnswer::State(_, entry) => entry.as_ref().map_or(0, |entry| entry.value_json.len()),
        CallAnswer::Keys(keys) => keys.iter().map(|key| key.len() + 4).sum(),
        CallAnswer::Memories(memories) => memories
            .iter()
            .map(|memory| {
                FRAME + memory.kind.len() + memory.content.len() + memory.metadata_json.len()
            })
            .sum(),
        CallAnswer::Truth(truth) => truth.as_ref().map_or(0, |truth| {
            truth.value_json.len() + truth.sources.iter().map(String::len).sum::<usize>()
        }),
        CallAnswer::Preview(preview) => preview
            .verdicts
            .iter()
            .map(|(_, answers)| answers.len() * FRAME)
            .sum(),
        CallAnswer::Config(value) => value.as_ref().map_or(0, String::len),
        CallAnswer::Unavailable(reason) => reason.len(),
        CallAnswer::Dropped => 0,
    };
    FRAME.saturating_add(asked).saturating_add(answered)
}

/// Services whose answers go through a tape: asked for and kept, or played.
pub(super) struct Taped {
    pub(super) tape: Tape,
    pub(super) services: Arc<dyn Services>,
}

fn taken<T>(
    answer: CallAnswer,
    fits: impl FnOnce(CallAnswer) -> Option<T>,
) -> Result<T, ServiceError> {
    if let CallAnswer::Unavailable(reason) = answer {
        return Err(ServiceError(reason));
    }
    fits(answer)
        .ok_or_else(|| ServiceError("the recording holds the answer to another call".to_owned()))
}

fn given<T>(result: Result<T, ServiceError>, answer: impl FnOnce(T) -> CallAnswer) -> CallAnswer {
    result.map_or_else(|error| CallAnswer::Unavailable(error.0), answer)
}

impl Services for Taped {
    fn state_get(&self, key: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        let call = Call::StateGet {
            key: key.to_owned(),
        };
        let answer = self.tape.answer(call, || {
            given(self.services.state_get(key), |(revision, entry)| {
                CallAnswer::State(revision, entry)
            })
        });
        taken(answer, |answer| match answer {
            CallAnswer::State(revision, entry) => Some((revision, entry)),
            _ => None,
        })
    }

    fn state_writable(&self, key: &str) -> Result<(), ServiceError> {
        self.services.state_writable(key)
    }

    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, ServiceError> {
        let call = Call::StateList {
            prefix: prefix.to_owned(),
            limit,
        };
        let answer = self.tape.answer(call, || {
            given(self.services.state_list(prefix, limit), CallAnswer::Keys)
        });
        taken(answer, |answer| match answer {
            CallAnswer::Keys(keys) => Some(keys),
            _ => None,
        })
    }

    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, ServiceError> {
        let call = Call::MemoryRecent {
            kind: kind.map(str::to_owned),
            limit,
        };
        let answer = self.tape.answer(call, || {
            given(
                self.services.memory_recent(kind, limit),
                CallAnswer::Memories,
            )
        });
        taken(answer, |answer| match answer {
            CallAnswer::Memories(memories) => Some(memories),
            _ => None,
        })
    }

    fn truth_get(&self, key: &str) -> Result<Option<Truth>, ServiceError> {
        let call = Call::TruthGet {
            key: key.to_owned(),
        };
        let answer = self.tape.answer(call, || {
            given(self.services.truth_get(key), CallAnswer::Truth)
        });
        taken(answer, |answer| match answer {
            CallAnswer::Truth(truth) => Some(truth),
            _ => None,
        })
    }

    fn config_get(&self, key: &str) -> Result<Option<String>, ServiceError> {
        let call = Call::ConfigGet {
            key: key.to_owned(),
        };
        let answer = self.tape.answer(call, || {
            given(self.services.config_get(key), CallAnswer::Config)
        });
        taken(answer, |answer| match answer {
            CallAnswer::Config(value) => Some(value),
            _ => None,
        })
    }

    fn check(&self, action: Action) -> Result<Preview, ServiceError> {
        let call = Call::Check {
            action: Box::new(action.clone()),
        };
        let answer = self.tape.answer(call, || {
            given(self.services.check(action), |preview| {
                CallAnswer::Preview(Box::new(preview))
            })
        });
        taken(answer, |answer| match answer {
            CallAnswer::Preview(preview) => Some(*preview),
            _ => None,
        })
    }
}

/// The wall clock of a guest.
pub(super) struct TapedWallClock(pub(super) Tape);

impl HostWallClock for TapedWallClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        let live = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let live = u64::try_from(live.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.reading(
            |recording| &mut recording.wall_ns,
            |position| &mut position.wall,
            live,
        ))
    }
}

/// The monotonic clock of a guest: it starts with the invocation, so it tells nothing of the host.
pub(super) struct TapedMonotonicClock {
    pub(super) tape: Tape,
    pub(super) started: Instant,
}

impl HostMonotonicClock for TapedMonotonicClock {
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        let live = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.tape.reading(
            |recording| &mut recording.monotonic_ns,
            |position| &mut position.monotonic,
            live,
        )
    }
}
