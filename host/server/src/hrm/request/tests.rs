use serde_json::{Value, json};

use ark_model::form::{parse_action, parse_json};
use ark_model::ids::TraceId;
use ark_model::instrument::InstrumentAliases;
use ark_model::usage::QuotaHolder;

use super::*;

fn propose(action: &Value, key: Option<IdempotencyKey>) -> RedactedProposal {
    let form = parse_action(parse_json(action.to_string().as_bytes()).unwrap()).unwrap();
    let proposal = Proposal {
        agent: "kyle".parse().unwrap(),
        submitter: "kyle".to_owned(),
        charged_to: QuotaHolder::Local,
        trace_id: TraceId::fresh(),
        action: form.action,
        refusal: None,
        causal_depth: 0,
        idempotency: key,
        deadline: None,
    };
    let aliases = InstrumentAliases::new(std::iter::empty::<(&str, &str)>()).unwrap();
    RedactedProposal::new(proposal, None, &aliases)
}

fn trade(reasoning: &str) -> Value {
    json!({"agent": "kyle", "action_type": "buy", "parameters": {"symbol": "BTC-USD", "position_size_pct": 0.01}, "reasoning": reasoning})
}

#[test]
fn only_what_is_judged_in_little_time_is_small() {
    let long = "a ".repeat(SMALL_TEXT_BYTES);
    let key =
        || IdempotencyKey::for_request("key-1".to_owned(), "propose", &Value::Null, &Value::Null);
    let file = |extra: Value| json!({"agent": "kyle", "action_type": "delete", "parameters": {"path": "/tmp/x", "more": extra}});
    for (action, key, is_small) in [
        (trade("it pays"), None, true),
        (trade("it pays"), Some(key()), false),
        (trade(&long), None, false),
        (file(json!(1)), None, true),
        (file(json!(vec![1; SMALL_TEXT_BYTES * 3 / 4])), None, false),
        (
            json!({"agent": "kyle", "action_type": "close_position", "parameters": {"symbol": "BTC-USD"}}),
            None,
            false,
        ),
        (
            json!({"agent": "kyle", "action_type": "message", "parameters": {"to": "ben", "text": "hello"}}),
            None,
            false,
        ),
    ] {
        let text = action.to_string();
        let redacted = Box::new(propose(&action, key));
        let request = HrmRequest::Propose(redacted, Box::new(|_| {}));
        assert_eq!(
            request.is_small(),
            is_small,
            "{}",
            &text[..text.len().min(200)]
        );
    }
    let redacted = Box::new(propose(&trade("it pays"), None));
    let preview = HrmRequest::Preview(redacted, Box::new(|_| {}));
    assert!(
        !preview.is_small(),
        "a preview may come from within a guest"
    );
    assert!(!HrmRequest::ExpireApprovals.is_small());
}

#[test]
fn few_proposals_with_few_bytes_in_all_are_small() {
    let many = |count: usize, bytes: usize| -> Vec<RedactedProposal> {
        let reasoning = "x".repeat(bytes);
        (0..count)
            .map(|_| propose(&trade(&reasoning), None))
            .collect()
    };
    assert!(are_small(&[]));
    assert!(are_small(&many(FEW_PROPOSALS, 10)));
    assert!(!are_small(&many(FEW_PROPOSALS + 1, 10)));
    assert!(!are_small(&many(2, SMALL_TEXT_BYTES / 2)));
}
