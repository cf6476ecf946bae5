//! aletheia watches what becomes of proposals and writes down what is true.
//!
//! From `ark.decision` it keeps, per agent, how much was approved, held and denied; from `ark.execution` how many closed positions won. Both
//! go into the truth map, which all agents may read, with a confidence that grows with the sample: `1 - 1 / sqrt(n + 1)`. It reports every
//! denial with the rules that fired, and a summary after every so many outcomes.
//!
//! It also keeps how often each of joey's patterns came true. A pattern and the order made of it have one trace; an order and the result of its
//! position have agent and symbol in common.
//!
//! | truth | value |
//! |---|---|
//! | `approval-rate/<agent>` | `{"rate", "sample"}`: approved decisions over all |
//! | `hit-rate/<agent>` | `{"rate", "sample"}`: positions closed with a gain over all closed |
//! | `pattern-hit-rate/<pattern>` | the same, of the positions that the pattern led to |

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal, Truth, report};
use serde::{Deserialize, Serialize};

/// Patterns that wait for an order: joey finds more of them than kenny trades.
const WAITING: usize = 32;

/// The part of joey's pattern that aletheia reads.
#[derive(Debug, Deserialize)]
struct Found {
    pattern: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Approved,
    Held,
    Denied,
}

#[derive(Debug, Deserialize)]
struct Decided {
    agent: String,
    action_type: String,
    outcome: Outcome,
    #[serde(default)]
    symbol: Option<String>,
    /// Only trades have it.
    #[serde(default)]
    side: Option<String>,
    #[serde(default)]
    fired: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Executed {
    agent: String,
    symbol: String,
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
    /// How many actions were denied.
    pub denied: u64,
    /// Positions closed.
    pub closed: Hits,
    /// The sum of results, as a fraction of capital.
    pub result: f64,
}

/// How many of some positions ended well.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// With a gain.
    pub won: u64,
    /// Without one.
    pub lost: u64,
}

impl Outcomes {
    fn count_decisions(&self) -> u64 {
        self.approved + self.held + self.denied
    }
}

impl Hits {
    fn record_result(&mut self, result: f64) {
        if result > 0.0 {
            self.won += 1;
        } else {
            self.lost += 1;
        }
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
            "joey.pattern" => handle_pattern(host, &signal.trace_id, signal.payload()?),
            "ark.decision" => handle_decision(host, &signal.trace_id, &signal.payload()?),
            "ark.execution" => handle_execution(host, &signal.payload()?),
            other => Err(Error::InvalidSignal(format!(
                "{other} is no topic of this agent"
            ))),
        }
    }
}

fn handle_pattern(host: &dyn Host, trace_id: &str, found: Found) -> Result<Vec<Action>, Error> {
    if !(1..=64).contains(&found.pattern.len()) || found.pattern.chars().any(char::is_control) {
        return Err(Error::InvalidSignal(
            "pattern: give 1 to 64 bytes of plain text".to_owned(),
        ));
    }
    let mut waiting: Vec<(String, String)> = host.state("patterns")?.unwrap_or_default();
    waiting.push((trace_id.to_owned(), found.pattern));
    if waiting.len() > WAITING {
        waiting.remove(0);
    }
    host.set_state("patterns", &waiting)?;
    Ok(Vec::new())
}

fn handle_decision(
    host: &dyn Host,
    trace_id: &str,
    decided: &Decided,
) -> Result<Vec<Action>, Error> {
    let agent = &decided.agent;
    let key = format!("outcomes/{agent}");
    let mut outcomes: Outcomes = host.state(&key)?.unwrap_or_default();
    match decided.outcome {
        Outcome::Approved => outcomes.approved += 1,
        Outcome::Held => outcomes.held += 1,
        Outcome::Denied => outcomes.denied += 1,
    }
    host.set_state(&key, &outcomes)?;
    let all = outcomes.count_decisions();
    set_hit_rate(
        host,
        &format!("approval-rate/{agent}"),
        outcomes.approved,
        all,
        "ark.decision",
    )?;
    if let (Outcome::Approved, Some(symbol), Some(_)) =
        (&decided.outcome, &decided.symbol, &decided.side)
    {
        let waiting: Vec<(String, String)> = host.state("patterns")?.unwrap_or_default();
        if let Some((_, pattern)) = waiting.iter().rev().find(|(trace, _)| trace == trace_id) {
            host.set_state(&format!("open/{agent}/{symbol}"), pattern)?;
        }
    }
    let every: u64 = host.config("report_every", 10)?;
    let text = if matches!(decided.outcome, Outcome::Denied) {
        let by = if decided.fired.is_empty() {
            "the host itself".to_owned()
        } else {
            decided.fired.join(", ")
        };
        format!("{agent}: {} denied by {by}", decided.action_type)
    } else if all.is_multiple_of(every.max(1)) {
        format!(
            "{agent}: {} of {all} approved, {} held, {} denied",
            outcomes.approved, outcomes.held, outcomes.denied
        )
    } else {
        return Ok(Vec::new());
    };
    let report = report("aletheia.report").text(text).payload(&outcomes);
    Ok(vec![
        report
            .reasoning("outcomes are to be known")
            .source("ark.decision")
            .build()?,
    ])
}

fn handle_execution(host: &dyn Host, executed: &Executed) -> Result<Vec<Action>, Error> {
    let Some(result) = executed.realized_pnl_pct else {
        return Ok(Vec::new());
    };
    let agent = &executed.agent;
    let key = format!("outcomes/{agent}");
    let mut outcomes: Outcomes = host.state(&key)?.unwrap_or_default();
    outcomes.closed.record_result(result);
    // Finite, come what may: an infinite sum has no JSON form.
    outcomes.result = (outcomes.result + result).clamp(f64::MIN, f64::MAX);
    host.set_state(&key, &outcomes)?;
    let Hits { won, lost } = outcomes.closed;
    set_hit_rate(
        host,
        &format!("hit-rate/{agent}"),
        won,
        won + lost,
        "ark.execution",
    )?;
    let open = format!("open/{agent}/{}", executed.symbol);
    if let Some(pattern) = host.state::<String>(&open)? {
        host.state_delete(&open, None)?;
        let key = format!("pattern/{pattern}");
        let mut hits: Hits = host.state(&key)?.unwrap_or_default();
        hits.record_result(result);
        host.set_state(&key, &hits)?;
        set_hit_rate(
            host,
            &format!("pattern-hit-rate/{pattern}"),
            hits.won,
            hits.won + hits.lost,
            "ark.execution",
        )?;
    }
    Ok(Vec::new())
}

fn set_hit_rate(
    host: &dyn Host,
    key: &str,
    hits: u64,
    sample: u64,
    source: &str,
) -> Result<(), Error> {
    let confidence = 1.0 - 1.0 / (sample as f64 + 1.0).sqrt();
    let value_json =
        serde_json::json!({"rate": hits as f64 / sample as f64, "sample": sample}).to_string();
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
        assert_eq!(outcomes.closed, Hits { won: 1, lost: 1 });
        assert!((outcomes.result + 0.01).abs() < 1e-12);
    }

    #[test]
    fn a_pattern_is_known_by_what_became_of_its_order() {
        let mut host = MockHost::new();
        let mut step = |trace: &str, topic: &str, payload: Value| {
            let mut signal = host.signal(topic, &payload.to_string());
            signal.trace_id = trace.repeat(32);
            host.deliver_signal::<Aletheia>(&signal).unwrap();
            host.truth_of("pattern-hit-rate/breakout")
                .map(|truth| truth.value_json)
        };
        let pattern = || json!({"symbol": "X", "pattern": "breakout", "side": "buy"});
        let mut order = decision("approved");
        order["symbol"] = json!("X");
        order["side"] = json!("buy");
        let result = |pnl: f64| json!({"agent": "kenny", "symbol": "X", "status": "filled", "realized_pnl_pct": pnl});
        step("a", "joey.pattern", pattern());
        step("b", "ark.decision", order.clone());
        assert_eq!(
            step("c", "ark.execution", result(0.01)),
            None,
            "an order of another trace"
        );
        step("a", "ark.decision", order.clone());
        assert_eq!(
            step("c", "ark.execution", result(0.01)).as_deref(),
            Some(r#"{"rate":1.0,"sample":1}"#)
        );
        step("d", "joey.pattern", pattern());
        step("d", "ark.decision", order);
        assert_eq!(
            step("e", "ark.execution", result(-0.01)).as_deref(),
            Some(r#"{"rate":0.5,"sample":2}"#)
        );
        assert_eq!(
            step("e", "ark.execution", result(-0.01)).as_deref(),
            Some(r#"{"rate":0.5,"sample":2}"#),
            "closed already"
        );
    }

    #[test]
    fn patterns_that_wait_for_an_order_are_bounded() {
        let mut host = MockHost::new();
        for _ in 0..100 {
            host.deliver::<Aletheia>("joey.pattern", &json!({"pattern": "breakout"}))
                .unwrap();
        }
        assert_eq!(
            host.state_of::<Vec<(String, String)>>("patterns")
                .unwrap()
                .len(),
            WAITING
        );
    }

    #[test]
    fn a_denial_by_no_rule_is_the_hosts_own_and_nonsense_is_refused() {
        let mut host = MockHost::new();
        let mut payload = decision("denied");
        payload["fired"] = json!([]);
        assert_eq!(
            texts(&host.deliver::<Aletheia>("ark.decision", &payload).unwrap()),
            ["kenny: buy denied by the host itself"]
        );
        for (topic, payload) in [
            ("ark.decision", decision("perhaps")),
            ("ark.decision", json!({})),
            (
                "ark.execution",
                json!({"agent": "kenny", "symbol": "X", "realized_pnl_pct": "much"}),
            ),
            ("joey.pattern", json!({"pattern": ""})),
            ("market.tick", json!({})),
        ] {
            let result = host.deliver::<Aletheia>(topic, &payload);
            assert!(
                matches!(result, Err(Error::InvalidSignal(_))),
                "{topic} {payload}: {result:?}"
            );
        }
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
