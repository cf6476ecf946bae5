//! One signal for one agent, on a temporary host: `ark agent run`, `ark agent test` and `ark agent dev`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ark_host::api::view::{DecisionView, read_decision};
use ark_host::app::App;
use ark_host::config::{Config, Overrides};
use ark_host::reply::ask_blocking;
use ark_host::router::IncomingSignal;
use ark_host::telemetry::LogFormat;
use ark_model::check::{check_topic, read_json_field};
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::{Name, TraceId};
use ark_runtime::Manifest;
use ark_store::{AuditFilter, AuditKind};
use serde::Deserialize;
use serde_json::Value;

use crate::files::read_text_file;
use crate::output::{print_json_line, print_line, print_lines, start_logging};

use super::compiling::CompilationNotice;

/// How long everything that the signal leads to may take.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A signal to give to an agent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleSignal {
    /// The topic.
    pub(super) topic: String,
    /// The payload.
    pub(super) payload: Value,
}

impl SampleSignal {
    /// Reads a sample from a JSON file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a sample.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let remedy = "give a JSON file with a signal: {\"topic\": …, \"payload\": …}";
        let text = read_text_file("", path, remedy)?;
        let document =
            read_json_field("sample", &text).with_context(|| path.display().to_string())?;
        serde_json::from_value(document).with_context(|| path.display().to_string())
    }
}

/// An invocation that failed.
pub(super) struct FailedInvocation {
    /// Why it failed.
    pub(super) reason: String,
    /// The backtrace; empty if there is none.
    pub(super) backtrace: String,
}

/// What a sample led to.
pub(super) struct SampleRun {
    /// The decisions, oldest first.
    pub(super) decisions: Vec<Decision>,
    /// The invocations that failed.
    pub(super) failures: Vec<FailedInvocation>,
    /// Fuel that the agent used in all.
    pub(super) fuel: u64,
    /// The most memory that it held, in bytes.
    pub(super) memory_peak: u64,
}

impl SampleRun {
    /// Whether the agent handled the signal.
    pub(super) const fn is_handled(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether an action that it proposed was denied.
    pub(super) fn is_denied(&self) -> bool {
        self.decisions
            .iter()
            .any(|decision| decision.outcome == Outcome::Denied)
    }
}

/// Gives the agent of a manifest the signal and returns the results. `compiled`: a directory with modules that this process, or this user's `ark`
/// in a directory of theirs alone, has compiled. They are native code, so none that lies beside a manifest is taken: whoever hands over a manifest
/// would run it outside of the sandbox.
///
/// # Errors
/// The agent does not receive the topic, or is refused; or the host cannot start.
pub(super) fn run_sample(
    manifest: &Path,
    sample: SampleSignal,
    compiled: Option<&Path>,
) -> anyhow::Result<SampleRun> {
    start_logging(
        // The agent's own lines, and what goes wrong; not what a host does at its start.
        "info,ark_host::app=warn,ark_host::agents=warn,ark_store=warn",
        LogFormat::Human,
    )?;
    let read = Manifest::read_file(manifest)?;
    check_topic("topic", &sample.topic)?;
    if !read.subscribes_to(&sample.topic) {
        bail!(
            "{} does not receive {}; its topics are: {}",
            read.name,
            sample.topic,
            read.topics.join(", ")
        );
    }
    let scratch = tempfile::tempdir().context("no temporary directory")?;
    let agents = scratch.path().join("agents");
    std::fs::create_dir(&agents).context("no temporary directory")?;
    let component = manifest.with_file_name(&read.component);
    for (from, to) in [
        (manifest, "agent.toml"),
        (component.as_path(), read.component.as_str()),
    ] {
        std::fs::copy(from, agents.join(to)).with_context(|| from.display().to_string())?;
    }
    // An empty file, so that no ark.toml of the working directory has an effect.
    let config = scratch.path().join("ark.toml");
    std::fs::write(&config, "").context("no temporary directory")?;
    let overrides = Overrides {
        data_dir: Some(scratch.path().join("data")),
        agents_dir: Some(agents),
        ..Overrides::default()
    };
    let mut config = Config::read(Some(&config), &overrides)?;
    if let Some(compiled) = compiled {
        config.engine.cache_dir = Some(compiled.to_owned());
    }
    let notice = CompilationNotice::start(read.name.to_string());
    let app = App::start(&config)?;
    drop(notice);
    if let Some(refused) = app.refused_agents.first() {
        bail!(
            "{}, with the manifest {}, is refused: {}",
            component.display(),
            manifest.display(),
            refused.reason
        );
    }
    let run = deliver_sample(&app, sample).and_then(|()| collect_results(&app, &read.name));
    app.stop();
    run
}

fn deliver_sample(app: &App, sample: SampleSignal) -> anyhow::Result<()> {
    let incoming = IncomingSignal {
        by: None,
        topic: sample.topic,
        payload_json: sample.payload.to_string(),
        trace_id: TraceId::fresh(),
        key: None,
        ttl_ms: None,
    };
    ask_blocking(|reply| app.router.accept_signal(incoming, reply))?;
    let until = Instant::now() + IDLE_TIMEOUT;
    while app.router.backlog() > 0 || !app.store.pending_outbox(1)?.is_empty() {
        anyhow::ensure!(
            Instant::now() < until,
            "the signal was not handled within {} s",
            IDLE_TIMEOUT.as_secs()
        );
        app.router.wake_outbox();
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Reads what the signal led to.
fn collect_results(app: &App, agent: &Name) -> anyhow::Result<SampleRun> {
    let mut rows = app.store.audit_page(&AuditFilter::default(), None, 500)?;
    rows.reverse();
    let meter = app.telemetry.meters.router.agents.for_agent(agent);
    let mut run = SampleRun {
        decisions: Vec::new(),
        failures: Vec::new(),
        fuel: meter.fuel.get(),
        memory_peak: meter.memory_peak.get(),
    };
    for row in rows {
        match row.kind {
            AuditKind::Decision => {
                let decision =
                    read_decision(&app.store, row.id.parse()?).map_err(anyhow::Error::msg)?;
                run.decisions.extend(decision);
            }
            AuditKind::Failure => {
                let body: Value = serde_json::from_str(&row.body)?;
                let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
                run.failures.push(FailedInvocation {
                    reason: text("reason"),
                    backtrace: text("backtrace"),
                });
            }
            AuditKind::Execution
            | AuditKind::Control
            | AuditKind::Operator
            | AuditKind::Approval
            | AuditKind::Amendment
            | AuditKind::Deployment => {}
        }
    }
    Ok(run)
}

/// Prints what a sample led to: decisions, then failures.
pub(super) fn print_run(run: &SampleRun, json: bool) -> anyhow::Result<()> {
    for decision in &run.decisions {
        if json {
            print_json_line(&DecisionView::with_facts(decision))?;
        } else {
            print_decision(decision)?;
        }
    }
    for failed in &run.failures {
        print_line!("FAILED    {}", failed.reason);
        if !failed.backtrace.is_empty() {
            print_lines("  ", &failed.backtrace);
        }
    }
    if run.decisions.is_empty() && run.failures.is_empty() && !json {
        print_line!("handled; it proposes nothing");
    }
    Ok(())
}

fn print_decision(decision: &Decision) -> anyhow::Result<()> {
    print_line!(
        "{:<9} {}  score {:.2}",
        decision.outcome.as_str().to_uppercase(),
        decision.action.action_type,
        decision.compliance_score
    );
    print_line!("          {}", serde_json::to_string(&decision.action)?);
    for reason in decision.reasons() {
        print_line!("          {reason}");
    }
    Ok(())
}
