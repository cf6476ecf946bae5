//! The part of WASI 0.2 that agents get: clocks, randomness, stdio that ends in the log, an environment that is always empty. No
//! filesystem, no sockets: they are not linked, so a component that imports them cannot be instantiated.
//!
//! Waiting is the one thing in it that could outlive a deadline, since a parked host call burns no fuel and sees no epoch. So a timer
//! fires at the invocation's own deadline at the latest, and the guest is ended when it gets control back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::bindings::{cli, clocks, random, sync};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiView};

use super::agent::{LogLevel, LogLine};
use super::host::Session;
use super::recording::{Tape, TapedMonotonicClock, TapedWallClock};

struct IoTable;

impl HasData for IoTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links the interfaces that [`super::load::agent_may_import`] lists.
pub(super) fn link_wasi(linker: &mut Linker<Session>) -> wasmtime::Result<()> {
    clocks::wall_clock::add_to_linker::<Session, WasiClocks>(linker, WasiClocksView::clocks)?;
    clocks::monotonic_clock::add_to_linker::<Session, WasiClocks>(linker, WasiClocksView::clocks)?;
    random::random::add_to_linker::<Session, WasiRandom>(linker, |session| {
        session.ctx().ctx.random()
    })?;
    random::insecure::add_to_linker::<Session, WasiRandom>(linker, |session| {
        session.ctx().ctx.random()
    })?;
    random::insecure_seed::add_to_linker::<Session, WasiRandom>(linker, |session| {
        session.ctx().ctx.random()
    })?;
    cli::exit::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::environment::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdin::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdout::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::stderr::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<Session, WasiCli>(linker, WasiCliView::cli)?;
    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<Session, IoTable>(
        linker,
        |session| session.ctx().table,
    )?;
    sync::io::poll::add_to_linker::<Session, IoTable>(linker, |session| session.ctx().table)?;
    sync::io::streams::add_to_linker::<Session, IoTable>(linker, |session| session.ctx().table)?;
    link_timers(linker)
}

fn link_timers(linker: &mut Linker<Session>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap("subscribe-duration", |mut store, (nanos,): (u64,)| {
        let wait = Duration::from_nanos(nanos);
        Ok((store.data_mut().push_timer(wait)?,))
    })?;
    clock.func_wrap("subscribe-instant", |mut store, (when,): (u64,)| {
        let session: &mut Session = store.data_mut();
        let now = clocks::monotonic_clock::Host::now(&mut session.clocks())?;
        Ok((session.push_timer(Duration::from_nanos(when.saturating_sub(now)))?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Session {
    fn push_timer(&mut self, wait: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let until = Instant::now()
            .checked_add(wait)
            .map_or(self.deadline, |until| until.min(self.deadline));
        let table = self.ctx().table;
        let timer = table.push(Timer { until })?;
        subscribe(table, timer)
    }
}

struct Timer {
    until: Instant,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        tokio::time::sleep_until(self.until.into()).await;
    }
}

/// The log of one invocation: lines up to a number of bytes, then nothing but a note.
#[derive(Debug)]
pub(super) struct LogBuffer {
    lines: Vec<LogLine>,
    left: usize,
    dropped: bool,
    partial: [Vec<u8>; 2],
}

/// A handle to the log that streams can hold.
#[derive(Debug, Clone)]
pub(super) struct SharedLog(Arc<Mutex<LogBuffer>>);

impl SharedLog {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(LogBuffer {
            lines: Vec::new(),
            left: bytes,
            dropped: false,
            partial: [Vec::new(), Vec::new()],
        })))
    }

    /// Adds a line.
    pub(super) fn add_line(&self, level: LogLevel, text: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add_line(level, text);
    }

    /// Takes the lines, unfinished ones included.
    pub(super) fn take_lines(&self) -> Vec<LogLine> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..2 {
            log.flush_partial(index);
        }
        std::mem::take(&mut log.lines)
    }
}

/// What a line costs besides its bytes, so that empty ones are not free.
const LINE_COST: usize = 32;

impl LogBuffer {
    fn add_line(&mut self, level: LogLevel, text: &str) {
        let cost = text.len().saturating_add(LINE_COST);
        if cost <= self.left {
            self.left -= cost;
            self.lines.push(LogLine {
                level,
                text: text.to_owned(),
            });
        } else if !self.dropped {
            self.dropped = true;
            self.left = 0;
            self.lines.push(LogLine {
                level: LogLevel::Warn,
                text: "the log limit is reached: what follows is dropped".to_owned(),
            });
        }
    }

    fn write_bytes(&mut self, index: usize, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = self.left.saturating_sub(self.partial[index].len());
            let kept = part.strip_suffix(b"\n").unwrap_or(part);
            self.partial[index].extend_from_slice(&kept[..kept.len().min(room)]);
            if part.ends_with(b"\n") || kept.len() > room {
                self.flush_partial(index);
            }
        }
    }

    fn flush_partial(&mut self, index: usize) {
        let bytes = std::mem::take(&mut self.partial[index]);
        if !bytes.is_empty() {
            let level = if index == 0 {
                LogLevel::Info
            } else {
                LogLevel::Warn
            };
            self.add_line(level, &String::from_utf8_lossy(&bytes));
        }
    }
}

/// stdout (0) or stderr (1) of a guest.
#[derive(Clone)]
pub(super) struct Stdio {
    pub(super) log: SharedLog,
    pub(super) index: usize,
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which is not linked.
        Box::new(tokio::io::sink())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_bytes(self.index, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

/// The most bytes of randomness that one call returns.
const RANDOM_BYTES: u64 = 64 * 1024;

/// A context with nothing in it but the log, the time and randomness.
pub(super) fn build_context(log: &SharedLog, tape: &Tape) -> WasiCtx {
    let mut randomness = tape.random_generator();
    let insecure_seed = u128::from(randomness.next_u64()) << 64 | u128::from(randomness.next_u64());
    let insecure = randomness.fork();
    WasiCtx::builder()
        .insecure_random_seed(insecure_seed)
        .insecure_random(insecure)
        .secure_random(randomness)
        .max_random_size(RANDOM_BYTES)
        .wall_clock(TapedWallClock(tape.clone()))
        .monotonic_clock(TapedMonotonicClock {
            tape: tape.clone(),
            started: Instant::now(),
        })
        .stdout(Stdio {
            log: log.clone(),
            index: 0,
        })
        .stderr(Stdio {
            log: log.clone(),
            index: 1,
        })
        .build()
}
