//! What the demo prints: the scenes, the decisions, a trace, what to try next.

use ark_host::app::App;
use ark_model::action::Parameters;
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::{Name, TraceId};
use ark_store::{AuditKind, AuditRow};
use serde_json::Value;

use crate::output::{print_line, print_own_text};

/// The length of a line of the narration, in characters.
const LINE_CHARS: usize = 100;
/// The reasons shown of a decision that is not an approval.
const MAX_REASONS: usize = 3;

pub(super) fn print_opening() {
    print_line!(
        "ARK demo. An agent's action is only a proposal: it takes effect once pinned rules have judged it and the decision is on disk."
    );
}

/// Announces a scene: what happens in it, and what that proves.
pub(super) fn print_scene(title: &str, happens: &str, proves: &str) {
    print_line!();
    print_line!("--- {title}");
    print_wrapped("What happens:  ", happens);
    print_wrapped("What it proves:", proves);
    print_line!();
}

/// Prints a text after a label, in lines of at most [`LINE_CHARS`] characters.
fn print_wrapped(label: &str, text: &str) {
    let mut line = format!("    {label}");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS {
            print_line!("{line}");
            line = " ".repeat(4 + label.len());
        }
        line = format!("{line} {word}");
    }
    print_line!("{line}");
}

/// Shows what the host checked and loaded at its start.
pub(super) fn print_host(app: &App) {
    print_scene(
        "The host starts",
        "it checks the Graveyard, a policy of rules compiled to WebAssembly, against a pinned hash and runs its test vectors. Then it loads the agents, each in a sandbox.",
        "the rules are exactly the released ones: a host with other rules does not start.",
    );
    let identity = &app.graveyard_identity;
    let digest = identity.digest.to_string();
    print_line!(
        "graveyard {}: {} rules, pin {}…, {} test vectors passed",
        identity.metadata.version,
        identity.metadata.rules.len(),
        digest.get(..12).unwrap_or(&digest),
        app.graveyard_vectors
    );
    for slot in app.router.list_serving() {
        let manifest = slot.agent.manifest();
        print_line!(
            "agent     {:<9} {}  <- {}",
            manifest.name,
            manifest.description,
            manifest.topics.join(", ")
        );
    }
}

/// Prints a decision. Of approved messages only reports are shown, since agents send messages all the time.
pub(super) fn print_decision(decision: &Decision) {
    let subject = match &decision.action.parameters {
        Parameters::Trade(trade) => format!(
            "{:<8} {:.3} of capital, leverage {}",
            trade.symbol, trade.position_size_pct, trade.leverage
        ),
        Parameters::Message(message) if decision.outcome == Outcome::Approved => {
            if decision.action.action_type == "report" {
                print_line!(
                    "{:<9} {:<9} {}",
                    "report",
                    decision.agent,
                    message.text.as_deref().unwrap_or("")
                );
            }
            return;
        }
        _ => decision.action.symbol().unwrap_or("").to_owned(),
    };
    print_line!(
        "{:<9} {:<9} {:<14} {subject}  score {:.2}",
        decision.outcome.as_str().to_uppercase(),
        decision.agent,
        decision.action.action_type,
        decision.compliance_score
    );
    if decision.outcome != Outcome::Approved {
        for reason in decision.reasons().iter().take(MAX_REASONS) {
            print_line!("{:<20}{reason}", "");
        }
    }
}

/// Prints a row of the audit log that records a failed invocation.
pub(super) fn print_failure(row: &AuditRow) -> anyhow::Result<()> {
    let body: Value = serde_json::from_str(&row.body)?;
    let agent = row.agent.as_ref().map_or("?", Name::as_str);
    let reason = body["reason"].as_str().unwrap_or("?");
    print_line!("{:<9} {agent:<9} {reason}", "STOPPED");
    Ok(())
}

/// Prints every signal and decision of a trace, oldest first.
pub(super) fn print_trace(app: &App, trace_id: TraceId) -> anyhow::Result<()> {
    let rows = app.store.trace_rows(trace_id)?;
    let mut steps: Vec<(String, String)> = Vec::new();
    for signal in &rows.signals {
        let sender = signal
            .sender
            .as_ref()
            .map_or("outside or host", Name::as_str);
        let to: Vec<String> = rows
            .deliveries
            .iter()
            .filter(|delivery| delivery.signal_id == signal.id)
            .map(|delivery| format!("{} ({})", delivery.agent, delivery.status))
            .collect();
        steps.push((
            signal.id.to_string(),
            format!(
                "signal    {:<14} from {sender:<16} to {}",
                signal.topic,
                to.join(", ")
            ),
        ));
    }
    for row in rows
        .audit
        .iter()
        .filter(|row| row.kind == AuditKind::Decision)
    {
        let outcome = row.outcome.map_or("?", Outcome::as_str);
        let action_type = row.action_type.as_deref().unwrap_or("?");
        let agent = row.agent.as_ref().map_or("?", Name::as_str);
        steps.push((
            row.id.clone(),
            format!("decision  {action_type:<14} of   {agent:<16} {outcome}"),
        ));
    }
    // Ids are ordered by time (UUID version 7).
    steps.sort();
    print_line!("trace     {trace_id}");
    for (_, step) in steps {
        print_line!("{step}");
    }
    Ok(())
}

pub(super) fn print_next_steps() {
    print_own_text(
        "
What to try next:
  ark graveyard show                     lists the 26 rules
  ark serve --agents target/guests       runs the host; then, in another terminal:
  curl -s localhost:8000/v1/actions -H 'content-type: application/json' -d '{\"agent\":\"api\",\"action_type\":\"trade\",
       \"parameters\":{\"symbol\":\"BTC-USD\",\"position_size_pct\":0.05,\"entry_price\":64000,\"stop_loss\":60000,\"risk_reward_ratio\":2.5},\"reasoning\":\"trend\"}'
  ark inspect target/guests/kyle.wasm    shows what a component imports, and whether it would be loaded
",
    );
}
