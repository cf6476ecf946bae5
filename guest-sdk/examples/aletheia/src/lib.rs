//! aletheia watches what becomes of proposals and writes down what is true.
//!
//! From `ark.decision` it keeps, per agent, how much was approved, held and denied; from `ark.execution` how many closed positions won. Both
//! go into the truth map, which all agents may read, with a confidence that grows with the sample: `1 - 1 / sqrt(n + 1)`. It reports every
//! denial with the rules that fired, and a summary after every so many outcomes.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal, Truth, report};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
struct Decided {
    agent: String,
    action_type: String,
    outcome: String,
    #[serde(default)]
    fired: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Executed {
    agent: String,
    status: String,
    #[serde(default)]
    realized_pnl_pct: Option<f64>,
}

/// What is known of an agent.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Decisions by outcome.
    pub approved: u64,
    /// Held for an approval.
    pub held: u64,
    /// Denied.
    pub denied: u64,
    /// Closed with a gain.
    pub won: u64,
    /// Closed without one.
    pub lost: u64,
    /// The sum of results, as a fraction of capital.
    pub result: f64,
}

impl Outcomes {
    fn decided(&self) -> u64 {
        self.approved + self.held + self.denied
    }
}

/// The agent.
pub struct Aletheia;

impl Agent for Aletheia {
    fn metadata() -> Metadata {
        Metadata {
            name: "aletheia".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        match signal.topic.as_str() {
            "ark.decision" => decided(host, &signal.payload()?),
            "ark.execution" => executed(host, &signal.payload()?),
            other => Err(Error::InvalidSignal(format!(
                "{other} is no topic of this agent"
            ))),
        }
    }
}

fn decided(host: &dyn Host, decided: &Decided) -> Result<Vec<Action>, Error> {
    let agent = &decided.agent;
    let key = format!("outcomes/{agent}");
    let mut outcomes: Outcomes = host.state(&key)?.unwrap_or_default();
    match decided.outcome.as_str() {
        "approved" => outcomes.approved += 1,
        "held" => outcomes.held += 1,
        "denied" => outcomes.denied += 1,
        other => return Err(Error::InvalidSignal(format!("outcome is {other:?}"))),
    }
    host.set_state(&key, &outcomes)?;
    let all = outcomes.decided();
    tell(
        host,
        &format!("approval-rate/{agent}"),
        outcomes.approved as f64 / all as f64,
        all,
        "ark.decision",
    )?;
    let every: u64 = host.config("report_every", 10)?;
    let text = if decided.outcome == "denied" {
        format!(
            "{agent}: {} denied by {}",
            decided.action_type,
            decided.fired.join(", ")
        )
    } else if all.is_multiple_of(every.max(1)) {
        format!(
            "{agent}: {} of {all} approved, {} held, {} denied",
            outcomes.approved, outcomes.held, outcomes.denied
        )
    } else {
        return Ok(Vec::new());
    };
    Ok(vec![
        report("aletheia.report")
            .text(text)
            .payload(&outcomes)?
            .reasoning("outcomes are to be known")
            .source("ark.decision")
            .build(),
    ])
}

fn executed(host: &dyn Host, executed: &Executed) -> Result<Vec<Action>, Error> {
    let (Some(result), "filled") = (executed.realized_pnl_pct, executed.status.as_str()) else {
        return Ok(Vec::new());
    };
    let agent = &executed.agent;
    let key = format!("outcomes/{agent}");
    let mut outcomes: Outcomes = host.state(&key)?.unwrap_or_default();
    if result > 0.0 {
        outcomes.won += 1;
    } else {
        outcomes.lost += 1;
    }
    outcomes.result += result;
    host.set_state(&key, &outcomes)?;
    let closed = outcomes.won + outcomes.lost;
    tell(
        host,
        &format!("hit-rate/{agent}"),
        outcomes.won as f64 / closed as f64,
        closed,
        "ark.execution",
    )?;
    Ok(Vec::new())
}

fn tell(host: &dyn Host, key: &str, rate: f64, sample: u64, source: &str) -> Result<(), Error> {
    let confidence = 1.0 - 1.0 / (sample as f64 + 1.0).sqrt();
    let value_json = serde_json::json!({"rate": rate, "sample": sample}).to_string();
    Ok(host.truth_set(
        key,
        &Truth {
            value_json,
            confidence,
            sources: vec![source.to_owned()],
        },
    )?)
}

ark_guest::export_agent!(Aletheia);

#[cfg(test)]
mod tests {
    use ark_guest::agent::{MockHost, Parameters};
    use serde_json::{Value, json};

    use super::*;

    fn decision(outcome: &str) -> Value {
        json!({"decision_id": "d", "agent": "kenny", "action_type": "buy", "outcome": outcome, "compliance_score": 1.0,
            "fired": ["max_leverage"], "decided_at_ms": 1})
    }

    fn texts(actions: &[Action]) -> Vec<String> {
        let text = |action: &Action| match &action.parameters {
            Parameters::Message(message) => message.text.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        actions.iter().map(text).collect()
    }

    #[test]
    fn denials_are_reported_at_once_and_the_rest_in_summaries() {
        let mut host = MockHost::new().with_config("report_every", &3);
        let mut deliver = |outcome| {
            texts(
                &host
                    .deliver::<Aletheia>("ark.decision", &decision(outcome))
                    .unwrap(),
            )
        };
        assert!(deliver("approved").is_empty());
        assert_eq!(deliver("denied"), ["kenny: buy denied by max_leverage"]);
        assert_eq!(
            deliver("approved"),
            ["kenny: 2 of 3 approved, 0 held, 1 denied"]
        );
        let truth = host.truth_of("approval-rate/kenny").unwrap();
        let value: Value = serde_json::from_str(&truth.value_json).unwrap();
        assert_eq!(value["sample"], 3);
        assert!(
            (value["rate"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12 && truth.confidence == 0.5
        );
    }

    #[test]
    fn results_make_the_hit_rate() {
        let mut host = MockHost::new();
        for result in [json!(0.01), json!(-0.02), json!(null)] {
            let execution = json!({"execution_id": "e", "decision_id": "d", "agent": "kenny", "symbol": "X",
                "status": "filled", "realized_pnl_pct": result, "at_ms": 1});
            host.deliver::<Aletheia>("ark.execution", &execution)
                .unwrap();
        }
        let outcomes: Outcomes = host.state_of("outcomes/kenny").unwrap();
        assert_eq!((outcomes.won, outcomes.lost), (1, 1));
        assert!((outcomes.result + 0.01).abs() < 1e-12);
    }

    #[test]
    fn without_the_capability_nothing_is_kept() {
        let mut host = MockHost::new().without_truth_set();
        assert!(
            host.deliver::<Aletheia>("ark.decision", &decision("approved"))
                .is_err()
        );
        assert_eq!(host.state_of::<Outcomes>("outcomes/kenny"), None);
    }
}
