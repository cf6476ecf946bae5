//! A recording while it is made or replayed.

use std::sync::Arc;

use ark_model::state::is_secret;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::recorded::{HostCall, HostCallAnswer, RecordedCall, Recording, recorded_size};

/// The most bytes of calls and answers that are kept.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The most readings of a clock that are kept, and the most calls whose answers were dropped.
const MAX_READINGS: usize = 4096;

/// A recording that is being made or replayed. Cheap to clone: the clones share it.
#[derive(Clone)]
pub(crate) struct Tape {
    state: Arc<Mutex<TapeState>>,
}

struct TapeState {
    recording: Recording,
    /// The bytes of calls and answers that were kept.
    bytes: usize,
    /// How far the recording was replayed; absent: it is being made.
    replayed: Option<PlaybackPosition>,
    /// Where the replay first differed from the recording.
    divergence: Option<String>,
}

/// How many entries of each kind were replayed.
#[derive(Default)]
pub(super) struct PlaybackPosition {
    pub(super) wall: usize,
    pub(super) monotonic: usize,
    call: usize,
}

impl Tape {
    /// Starts a recording, with new randomness.
    pub(crate) fn new_recording() -> Self {
        let recording = Recording {
            seed: rand::random(),
            ..Recording::default()
        };
        Self::new(recording, None)
    }

    /// Starts the replay of a recording.
    pub(crate) fn from_recording(recording: Recording) -> Self {
        Self::new(recording, Some(PlaybackPosition::default()))
    }

    fn new(recording: Recording, replayed: Option<PlaybackPosition>) -> Self {
        Self {
            state: Arc::new(Mutex::new(TapeState {
                recording,
                bytes: 0,
                replayed,
                divergence: None,
            })),
        }
    }

    /// Returns the generator of the invocation's randomness.
    pub(crate) fn random_generator(&self) -> StdRng {
        StdRng::from_seed(self.state.lock().recording.seed)
    }

    /// Takes the recording.
    pub(crate) fn take_recording(&self) -> Recording {
        std::mem::take(&mut self.state.lock().recording)
    }

    /// Returns where the replay first differed from the recording; `None`: nowhere.
    pub(crate) fn divergence(&self) -> Option<String> {
        self.state.lock().divergence.clone()
    }

    /// Records a reading of a clock, or returns the recorded one. `readings` and `position` select the clock.
    pub(super) fn read_clock(
        &self,
        readings: fn(&mut Recording) -> &mut Vec<u64>,
        position: fn(&mut PlaybackPosition) -> &mut usize,
        live: u64,
    ) -> u64 {
        let state = &mut *self.state.lock();
        let Some(position) = state.replayed.as_mut().map(position) else {
            let readings = readings(&mut state.recording);
            if readings.len() < MAX_READINGS {
                readings.push(live);
            } else {
                state.recording.dropped = state.recording.dropped.saturating_add(1);
            }
            return live;
        };
        let readings = readings(&mut state.recording);
        let index = *position;
        *position += 1;
        match readings.get(index) {
            Some(reading) => *reading,
            // Past the end of the recording, time goes on in the smallest steps.
            None => readings
                .last()
                .copied()
                .unwrap_or(live)
                .saturating_add((index - readings.len()) as u64 + 1),
        }
    }

    /// Answers a host call with `live` and records it, or returns the recorded answer.
    pub(super) fn answer_call(
        &self,
        call: HostCall,
        live: impl FnOnce() -> HostCallAnswer,
    ) -> HostCallAnswer {
        if let Some(answer) = self.state.lock().replay_call(&call) {
            return answer;
        }
        // Not under the lock: a dry run waits for the HRM.
        let answer = live();
        self.state.lock().record_call(call, &answer);
        answer
    }
}

impl TapeState {
    /// Returns the recorded answer to a call; `None` when the recording is being made.
    fn replay_call(&mut self, call: &HostCall) -> Option<HostCallAnswer> {
        let position = self.replayed.as_mut()?;
        let index = position.call;
        position.call += 1;
        let reason = match self.recording.calls.get(index) {
            Some(recorded) if recorded.call != *call => "another host call than then",
            Some(RecordedCall {
                answer: HostCallAnswer::Dropped,
                ..
            }) => "a host call whose answer was too large to be kept, or a secret",
            Some(recorded) => return Some(recorded.answer.clone()),
            None => "one host call more than then",
        };
        let reason = format!("host call {}: {reason}", index + 1);
        let answer = HostCallAnswer::Unavailable(format!("not in the recording ({reason})"));
        self.divergence.get_or_insert(reason);
        Some(answer)
    }

    fn record_call(&mut self, call: HostCall, answer: &HostCallAnswer) {
        let bytes = recorded_size(&call, answer);
        // A secret is never kept: recordings become files that people pass on.
        let secret = matches!(&call, HostCall::StateGet { key } if is_secret(key));
        if !secret && self.bytes.saturating_add(bytes) <= MAX_ANSWER_BYTES {
            self.bytes += bytes;
            let answer = answer.clone();
            self.recording.calls.push(RecordedCall { call, answer });
            return;
        }
        self.recording.dropped = self.recording.dropped.saturating_add(1);
        // A call without its answer still shows what the agent asked.
        if self.recording.calls.len() < MAX_READINGS {
            self.recording.calls.push(RecordedCall {
                call: call.shorten_call(),
                answer: HostCallAnswer::Dropped,
            });
        }
    }
}
