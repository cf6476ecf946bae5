//! The WASI context of one invocation.

use std::time::Instant;

use rand::{Rng, SeedableRng};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::agent::log::{SharedLog, StdStream};
use crate::recording::{Tape, TapedMonotonicClock, TapedWallClock};

/// The most bytes of randomness that one call returns.
const MAX_RANDOM_BYTES: u64 = 64 * 1024;
/// The most bytes that one write to a standard stream takes.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// Builds a context that contains only the log, the time and randomness. The latter two go through the tape.
pub(in crate::agent) fn build_context(log: &SharedLog, tape: &Tape) -> WasiCtx {
    let mut randomness = tape.random_generator();
    let insecure_seed = u128::from(randomness.next_u64()) << 64 | u128::from(randomness.next_u64());
    let insecure = randomness.fork();
    let stream = |stream| GuestStream {
        log: log.clone(),
        stream,
    };
    WasiCtx::builder()
        .insecure_random_seed(insecure_seed)
        .insecure_random(insecure)
        .secure_random(randomness)
        .max_random_size(MAX_RANDOM_BYTES)
        .wall_clock(TapedWallClock(tape.clone()))
        .monotonic_clock(TapedMonotonicClock {
            tape: tape.clone(),
            started: Instant::now(),
        })
        .stdout(stream(StdStream::Stdout))
        .stderr(stream(StdStream::Stderr))
        .build()
}

/// A standard stream of a guest, which ends in the log.
#[derive(Clone)]
struct GuestStream {
    log: SharedLog,
    stream: StdStream,
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which is not linked.
        Box::new(tokio::io::sink())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log.write_bytes(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE_BYTES)
    }
}
