//! The linking of WASI.

use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::bindings::{cli, clocks, random, sync};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{ResourceTable, WasiView};

use crate::agent::invocation_context::InvocationContext;

struct IoTable;

impl HasData for IoTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links the interfaces of WASI that [`crate::load::resolve_agent_import`] lists as linked.
pub(in crate::agent) fn link_wasi(linker: &mut Linker<InvocationContext>) -> wasmtime::Result<()> {
    clocks::wall_clock::add_to_linker::<InvocationContext, WasiClocks>(
        linker,
        WasiClocksView::clocks,
    )?;
    clocks::monotonic_clock::add_to_linker::<InvocationContext, WasiClocks>(
        linker,
        WasiClocksView::clocks,
    )?;
    random::random::add_to_linker::<InvocationContext, WasiRandom>(linker, |context| {
        context.ctx().ctx.random()
    })?;
    random::insecure::add_to_linker::<InvocationContext, WasiRandom>(linker, |context| {
        context.ctx().ctx.random()
    })?;
    random::insecure_seed::add_to_linker::<InvocationContext, WasiRandom>(linker, |context| {
        context.ctx().ctx.random()
    })?;
    cli::exit::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::environment::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdin::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdout::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::stderr::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<InvocationContext, WasiCli>(linker, WasiCliView::cli)?;
    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<InvocationContext, IoTable>(
        linker,
        |context| context.ctx().table,
    )?;
    sync::io::poll::add_to_linker::<InvocationContext, IoTable>(linker, |context| {
        context.ctx().table
    })?;
    sync::io::streams::add_to_linker::<InvocationContext, IoTable>(linker, |context| {
        context.ctx().table
    })?;
    link_timers(linker)
}

/// Replaces the timers of WASI with ones that fire at the invocation's deadline at the latest.
fn link_timers(linker: &mut Linker<InvocationContext>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap("subscribe-duration", |mut store, (nanos,): (u64,)| {
        let wait = Duration::from_nanos(nanos);
        Ok((store.data_mut().push_timer(wait)?,))
    })?;
    clock.func_wrap("subscribe-instant", |mut store, (when,): (u64,)| {
        let context: &mut InvocationContext = store.data_mut();
        let now = clocks::monotonic_clock::Host::now(&mut context.clocks())?;
        Ok((context.push_timer(Duration::from_nanos(when.saturating_sub(now)))?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

impl InvocationContext {
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
