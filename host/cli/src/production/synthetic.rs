//! `ark synthetic`: drives a live host, and says whether it did what it must.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ark_deploy::SYNTHETIC_REQUESTER;
use ark_deploy::redis_signals::RedisSignals;
use ark_deploy::synthetic::{
    HttpSignals, RunEvent, RunProgress, SignalChannel, SyntheticOptions, SyntheticReport,
    rehearse_run, run_synthetic,
};
use ark_host::config::{Config, Layers, Overrides};
use ark_model::printable::format_count;
use clap::Args;

use crate::client::connection::Connection;
use crate::output::{StatusLine, exit_code, print_json, print_line, print_notice};
use crate::usage::{UsageError, ensure_usage};

use super::interrupts::watch_interrupts;
use super::journals::choose_journal;
use super::{print_steps, report_problems};

/// The most ticks a second.
const MAX_HZ: f64 = 100.0;
/// The most seconds.
const MAX_SECONDS: u64 = 86_400;
/// Seconds between two progress lines for a user without a terminal, at most: of a short run they come more often.
const NOTICE_SECONDS: u64 = 30;
/// How many such lines a run has at least, if it has as many seconds.
const MIN_NOTICES: u64 = 10;

/// The exit code is 0 if the host did what it must, 1 otherwise.
#[derive(Debug, Args)]
pub(crate) struct SyntheticArgs {
    #[command(flatten)]
    connection: Connection,
    /// How long the host is driven, in seconds.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    duration: u64,
    /// Signals and proposals a second.
    #[arg(long, default_value_t = 1.0)]
    hz: f64,
    /// Make every Nth proposal break a rule.
    #[arg(long, default_value_t = 10, value_name = "N")]
    violation_every: u64,
    /// The name that proposes. The host must know it: `submitters` in ark.toml.
    #[arg(long, default_value = SYNTHETIC_REQUESTER, value_name = "NAME")]
    agent: String,
    /// The topic of the signals, which no agent should subscribe to.
    #[arg(long, default_value = "synthetic.tick")]
    topic: String,
    /// Send the signals through the Redis that this configuration file of the host names, on the stream in `[[redis.signals]]` whose topic is
    /// that of `--topic` [default: over HTTP].
    #[arg(long, value_name = "FILE")]
    redis_config: Option<PathBuf>,
    /// The journal file. The next run reads it and cancels what a killed run left open [default: in the user's state directory, one for each
    /// host].
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Show the steps, and whether each kind of proposal would be judged as it must, without an effect.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run_command(args: SyntheticArgs) -> anyhow::Result<ExitCode> {
    report_problems(args.json, drive_host(args))
}

fn drive_host(args: SyntheticArgs) -> anyhow::Result<ExitCode> {
    ensure_usage!(
        args.hz > 0.0 && args.hz <= MAX_HZ,
        "--hz {}: give more than 0, and at most {MAX_HZ}",
        args.hz
    );
    ensure_usage!(
        (1..=MAX_SECONDS).contains(&args.duration),
        "--duration {}: give 1 to {MAX_SECONDS} seconds",
        args.duration
    );
    ensure_usage!(
        args.violation_every >= 2,
        "--violation-every {}: give 2 or more",
        args.violation_every
    );
    let client = args.connection.client()?;
    let mut channel: Box<dyn SignalChannel + Send> = match &args.redis_config {
        None => Box::new(HttpSignals(client.clone())),
        Some(file) => {
            let layers = Layers::read(Some(file), &Overrides::default())?;
            let config = Config::from_layers(&layers)?;
            let signals = RedisSignals::for_topic(config.redis.as_ref(), &args.topic);
            Box::new(signals.with_context(|| format!("--redis-config {}", file.display()))?)
        }
    };
    let options = SyntheticOptions {
        journal: choose_journal(args.journal, "synthetic", &client)?,
        agent: args.agent,
        topic: args.topic,
        duration: Duration::from_secs(args.duration),
        hz: args.hz,
        violation_every: args.violation_every,
    };
    options.check_options().map_err(UsageError::new)?;
    if args.dry_run {
        let steps = rehearse_run(&client, &options, &mut *channel)?;
        print_steps(&steps, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let stop = watch_interrupts()?;
    let mut line = StatusLine::on_terminal();
    let between = (args.duration / MIN_NOTICES).clamp(1, NOTICE_SECONDS);
    let mut told = None;
    let driven = run_synthetic(&client, &options, channel, &stop, &mut |event| {
        let progress = match event {
            RunEvent::Tick(progress) => progress,
            RunEvent::Waits { proposals, longest } => {
                if let Some(line) = &mut line {
                    line.clear();
                }
                print_notice!("{}", describe_wait(proposals, longest));
                return;
            }
        };
        let text = describe_progress(progress);
        // Whole ticks a second are enough to tell the time by.
        let seconds = Duration::from_secs_f64(progress.sent as f64 / options.hz).as_secs();
        if let Some(line) = &mut line {
            line.show(&text);
        } else if progress.sent == progress.ticks
            || told.is_none_or(|told| seconds >= told + between)
        {
            told = Some(seconds);
            print_notice!("{text}");
        }
    });
    drop(line);
    let report = driven?;
    if args.json {
        print_json(&report)?;
    } else {
        print_report(&report);
    }
    Ok(exit_code(report.passed))
}

fn describe_wait(proposals: usize, longest: Duration) -> String {
    format!(
        "waiting up to {:.0} s: the host may still decide {}",
        longest.as_secs_f64().ceil(),
        format_count(proposals, "proposal", "proposals")
    )
}

fn describe_progress(progress: RunProgress) -> String {
    format!(
        "{} of {} ticks sent, {}, the last proposal took {:.1} ms",
        progress.sent,
        progress.ticks,
        format_count(progress.failures, "failure", "failures"),
        progress.latency.as_secs_f64() * 1000.0
    )
}

fn print_report(report: &SyntheticReport) {
    for failure in &report.failures {
        print_line!(
            "FAILED    tick {} (trace {}): {}",
            failure.tick,
            failure.trace_id,
            failure.problem
        );
    }
    if report.failures_left_out > 0 {
        print_line!("FAILED    {} more", report.failures_left_out);
    }
    for proof in &report.proofs {
        let holds = if proof.passed { "ok" } else { "FAILED" };
        print_line!("{holds:<9} {:<13} {}", proof.name, proof.detail);
    }
    print_line!(
        "{} of {} ticks in {:.1} s, signals through {}",
        report.sent,
        report.ticks,
        report.elapsed_s,
        report.signals_through
    );
    for (what, took) in [("proposals", report.proposals), ("signals", report.signals)] {
        print_line!(
            "{what} took {:.1} ms (p50), {:.1} ms (p95), {:.1} ms (p99), {:.1} ms at most",
            took.p50_ms,
            took.p95_ms,
            took.p99_ms,
            took.max_ms
        );
    }
    print_line!(
        "{}",
        match (report.passed, report.interrupted) {
            (true, _) => "the host did what it must",
            (false, true) => "INTERRUPTED: nothing is proved",
            (false, false) => "the host did NOT do what it must",
        }
    );
}
