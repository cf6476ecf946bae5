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
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The most readings of a clock that are kept.
const MAX_READINGS: usize = 4096;

/// A host call that reached outside the invocation. Writes stay inside it until its commit, so they are not among these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum HostCall {
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
pub enum HostCallAnswer {
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
    pub call: HostCall,
    /// What was answered.
    pub answer: HostCallAnswer,
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
    shared: Arc<Mutex<TapeState>>,
}

struct TapeState {
    recording: Recording,
    bytes: usize,
    playing: Option<PlaybackPosition>,
    diverged: Option<String>,
}

/// How far a recording was played.
#[derive(Default)]
struct PlaybackPosition {
    wall: usize,
    monotonic: usize,
    call: usize,
}

impl Tape {
    /// An empty tape, with fresh randomness.
    pub(super) fn new_recording() -> Self {
        Self::new(
            Recording {
                seed: rand::random(),
                ..Recording::default()
            },
            None,
        )
    }

    /// A tape that answers as it is recorded.
    pub(super) fn from_recording(recording: Recording) -> Self {
        Self::new(recording, Some(PlaybackPosition::default()))
    }

    fn new(recording: Recording, playing: Option<PlaybackPosition>) -> Self {
        let state = TapeState {
            recording,
            bytes: 0,
            playing,
            diverged: None,
        };
        Self {
            shared: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, TapeState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn random_generator(&self) -> StdRng {
        StdRng::from_seed(self.lock().recording.seed)
    }

    /// Takes what was recorded.
    pub(super) fn take_recording(&self) -> Recording {
        std::mem::take(&mut self.lock().recording)
    }

    /// Where what was played is not what happened then; `None`: nowhere.
    pub(super) fn divergence(&self) -> Option<String> {
        self.lock().diverged.clone()
    }

    fn read_clock(
        &self,
        pick: fn(&mut Recording) -> &mut Vec<u64>,
        at: fn(&mut PlaybackPosition) -> &mut usize,
        live: u64,
    ) -> u64 {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(position) = state.playing.as_mut().map(at) else {
            let readings = pick(&mut state.recording);
            if readings.len() < MAX_READINGS {
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

    fn answer_call(&self, call: HostCall, live: impl FnOnce() -> HostCallAnswer) -> HostCallAnswer {
        {
            let mut state = self.lock();
            let state = &mut *state;
            if let Some(position) = &mut state.playing {
                let index = position.call;
                position.call += 1;
                let reason = match state.recording.calls.get(index) {
                    Some(recorded) if recorded.call != call => "another host call than then",
                    Some(RecordedCall {
                        answer: HostCallAnswer::Dropped,
                        ..
                    }) => "a host call whose answer was too large to be kept, or a secret",
                    Some(recorded) => return recorded.answer.clone(),
                    None => "one host call more than then",
                };
                let reason = format!("host call {}: {reason}", index + 1);
                state.diverged.get_or_insert_with(|| reason.clone());
                return HostCallAnswer::Unavailable(format!("not in the recording ({reason})"));
            }
        }
        // Not under the lock: a check waits for the HRM.
        let answer = live();
        let mut state = self.lock();
        let bytes = recorded_size(&call, &answer);
        // A capsule is a file that people pass on.
        let secret = matches!(&call, HostCall::StateGet { key } if is_secret(key));
        let kept = !secret && state.bytes.saturating_add(bytes) <= MAX_ANSWER_BYTES;
        if kept {
            state.bytes += bytes;
        } else {
            state.recording.dropped = state.recording.dropped.saturating_add(1);
        }
        // A call without its answer still shows what was asked, unless it is the asking that is large.
        if kept || state.recording.calls.len() < MAX_READINGS {
            let answer = if kept {
                answer.clone()
            } else {
                HostCallAnswer::Dropped
            };
            let call = if kept { call } else { shorten_call(call) };
            state.recording.calls.push(RecordedCall { call, answer });
        }
        answer
    }
}

fn shorten_call(call: HostCall) -> HostCall {
    let clip = |text: String| ark_model::check::clip_for_error(&text);
    match call {
        HostCall::StateGet { key } => HostCall::StateGet { key: clip(key) },
        HostCall::StateList { prefix, limit } => HostCall::StateList {
            prefix: clip(prefix),
            limit,
        },
        HostCall::MemoryRecent { kind, limit } => HostCall::MemoryRecent {
            kind: kind.map(clip),
            limit,
        },
        HostCall::TruthGet { key } => HostCall::TruthGet { key: clip(key) },
        HostCall::ConfigGet { key } => HostCall::ConfigGet { key: clip(key) },
        HostCall::Check { .. } => HostCall::StateGet {
            key: "(a check too large to be kept)".to_owned(),
        },
    }
}

fn recorded_size(call: &HostCall, answer: &HostCallAnswer) -> usize {
    const FRAME: usize = 64;
    let asked = match call {
        HostCall::StateGet { key } | HostCall::TruthGet { key } | HostCall::ConfigGet { key } => {
            key.len()
        }
        HostCall::StateList { prefix, .. } => prefix.len(),
        HostCall::MemoryRecent { kind, .. } => kind.as_ref().map_or(0, String::len),
        HostCall::Check { action } => {
            serde_json::to_vec(action).map_or(usize::MAX / 2, |json| json.len())
        }
    };
    let answered = match answer {
        HostCallAnswer::State(_, entry) => entry.as_ref().map_or(0, |entry| entry.value_json.len()),
        HostCallAnswer::Keys(keys) => keys.iter().map(|key| key.len() + 4).sum(),
        HostCallAnswer::Memories(memories) => memories
            .iter()
            .map(|memory| {
                FRAME + memory.kind.len() + memory.content.len() + memory.metadata_json.len()
            })
            .sum(),
        HostCallAnswer::Truth(truth) => truth.as_ref().map_or(0, |truth| {
            truth.value_json.len() + truth.sources.iter().map(String::len).sum::<usize>()
        }),
        HostCallAnswer::Preview(preview) => preview
            .verdicts
            .iter()
            .map(|(_, answers)| answers.len() * FRAME)
            .sum(),
        HostCallAnswer::Config(value) => value.as_ref().map_or(0, String::len),
        HostCallAnswer::Unavailable(reason) => reason.len(),
        HostCallAnswer::Dropped => 0,
    };
    FRAME.saturating_add(asked).saturating_add(answered)
}

/// Services whose answers go through a tape: asked for and kept, or played.
pub(super) struct TapedServices {
    pub(super) tape: Tape,
    pub(super) services: Arc<dyn Services>,
}

fn match_answer<T>(
    answer: HostCallAnswer,
    fits: impl FnOnce(HostCallAnswer) -> Option<T>,
) -> Result<T, ServiceError> {
    if let HostCallAnswer::Unavailable(reason) = answer {
        return Err(ServiceError(reason));
    }
    fits(answer)
        .ok_or_else(|| ServiceError("the recording holds the answer to another call".to_owned()))
}

fn to_answer<T>(
    result: Result<T, ServiceError>,
    answer: impl FnOnce(T) -> HostCallAnswer,
) -> HostCallAnswer {
    result.map_or_else(|error| HostCallAnswer::Unavailable(error.0), answer)
}

impl Services for TapedServices {
    fn state_get(&self, key: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        let call = HostCall::StateGet {
            key: key.to_owned(),
        };
        let answer = self.tape.answer_call(call, || {
            to_answer(self.services.state_get(key), |(revision, entry)| {
                HostCallAnswer::State(revision, entry)
            })
        });
        match_answer(answer, |answer| match answer {
            HostCallAnswer::State(revision, entry) => Some((revision, entry)),
            _ => None,
        })
    }

    fn state_writable(&self, key: &str) -> Result<(), ServiceError> {
        self.services.state_writable(key)
    }

    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, ServiceError> {
        let call = HostCall::StateList {
            prefix: prefix.to_owned(),
            limit,
        };
        let answer = self.tape.answer_call(call, || {
            to_answer(
                self.services.state_list(prefix, limit),
                HostCallAnswer::Keys,
            )
        });
        match_answer(answer, |answer| match answer {
            HostCallAnswer::Keys(keys) => Some(keys),
            _ => None,
        })
    }

    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, ServiceError> {
        let call = HostCall::MemoryRecent {
            kind: kind.map(str::to_owned),
            limit,
        };
        let answer = self.tape.answer_call(call, || {
            to_answer(
                self.services.memory_recent(kind, limit),
                HostCallAnswer::Memories,
            )
        });
        match_answer(answer, |answer| match answer {
            HostCallAnswer::Memories(memories) => Some(memories),
            _ => None,
        })
    }

    fn truth_get(&self, key: &str) -> Result<Option<Truth>, ServiceError> {
        let call = HostCall::TruthGet {
            key: key.to_owned(),
        };
        let answer = self.tape.answer_call(call, || {
            to_answer(self.services.truth_get(key), HostCallAnswer::Truth)
        });
        match_answer(answer, |answer| match answer {
            HostCallAnswer::Truth(truth) => Some(truth),
            _ => None,
        })
    }

    fn config_get(&self, key: &str) -> Result<Option<String>, ServiceError> {
        let call = HostCall::ConfigGet {
            key: key.to_owned(),
        };
        let answer = self.tape.answer_call(call, || {
            to_answer(self.services.config_get(key), HostCallAnswer::Config)
        });
        match_answer(answer, |answer| match answer {
            HostCallAnswer::Config(value) => Some(value),
            _ => None,
        })
    }

    fn check_action(&self, action: Action) -> Result<Preview, ServiceError> {
        let call = HostCall::Check {
            action: Box::new(action.clone()),
        };
        let answer = self.tape.answer_call(call, || {
            to_answer(self.services.check_action(action), |preview| {
                HostCallAnswer::Preview(Box::new(preview))
            })
        });
        match_answer(answer, |answer| match answer {
            HostCallAnswer::Preview(preview) => Some(*preview),
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
        Duration::from_nanos(self.0.read_clock(
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
        self.tape.read_clock(
            |recording| &mut recording.monotonic_ns,
            |position| &mut position.monotonic,
            live,
        )
    }
}
