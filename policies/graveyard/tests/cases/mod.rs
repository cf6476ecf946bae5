//! Actions to start from, each of which every rule leaves alone under neutral facts, and the form of a table of cases.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part"
)]

mod component;
mod guard;

pub use component::{host_action, neutral_host_facts, start_engine};
pub use guard::check_guard;

use ark_graveyard::Graveyard;
use ark_guest::policy::{
    Action, Change, ClosePosition, Criticality, Custom, DataHandling, DataOperation, ExecuteCode,
    Facts, FileOperation, FileVerb, Message, Parameters, Policy, RuleAnswer, RuleResult, Side,
    SystemChange, Trade, Verdict,
};

pub fn action(action_type: &str, parameters: Parameters) -> Action {
    Action {
        action_type: action_type.to_owned(),
        parameters,
        reasoning: Some("a test".to_owned()),
        sources: Vec::new(),
        reversible: true,
        rollback_plan: None,
        external: None,
        criticality: Criticality::Normal,
    }
}

/// 5 %, unlevered, stop and target in place (2 : 1).
pub fn trade(change: impl FnOnce(&mut Trade)) -> Action {
    let mut trade = Trade {
        symbol: "BTC-USD".to_owned(),
        side: Side::Buy,
        position_size_pct: 0.05,
        leverage: 1.0,
        entry_price: Some(100.0),
        stop_loss: Some(95.0),
        take_profit: Some(110.0),
        risk_reward_ratio: None,
        material_nonpublic: false,
        manipulative_intent: false,
        ahead_of_client_order: false,
        extra_json: "{}".to_owned(),
    };
    change(&mut trade);
    action("trade", Parameters::Trade(trade))
}

/// The mirror image of [`trade`].
pub fn sale(change: impl FnOnce(&mut Trade)) -> Action {
    trade(|t| {
        (t.side, t.stop_loss, t.take_profit) = (Side::Sell, Some(105.0), Some(90.0));
        change(t);
    })
}

pub fn close() -> Action {
    let close = ClosePosition {
        symbol: "BTC-USD".to_owned(),
        position_size_pct: None,
        extra_json: "{}".to_owned(),
    };
    action("close_position", Parameters::ClosePosition(close))
}

pub fn data(change: impl FnOnce(&mut DataHandling)) -> Action {
    let mut data = DataHandling {
        operation: DataOperation::Handle,
        subject: Some("u-17".to_owned()),
        contains_personal_data: false,
        data_sensitivity: None,
        encryption: false,
        anonymized: false,
        destination: None,
        purpose: None,
        user_consent: None,
        extra_json: "{}".to_owned(),
    };
    change(&mut data);
    action("data_handling", Parameters::Data(data))
}

pub fn file(operation: FileVerb, path: &str) -> Action {
    let file = FileOperation {
        operation,
        path: path.to_owned(),
        extra_json: "{}".to_owned(),
    };
    action("file_operation", Parameters::File(file))
}

pub fn code(code: &str) -> Action {
    let code = ExecuteCode {
        language: None,
        code: code.to_owned(),
        extra_json: "{}".to_owned(),
    };
    action("execute_code", Parameters::Code(code))
}

pub fn message(action_type: &str) -> Action {
    let message = Message {
        topic: Some("desk.notes".to_owned()),
        to: None,
        symbol: None,
        text: Some("hello".to_owned()),
        payload_json: None,
        extra_json: "{}".to_owned(),
    };
    action(action_type, Parameters::Message(message))
}

pub fn system(action_type: &str, change: Change) -> Action {
    action(
        action_type,
        Parameters::System(SystemChange {
            change,
            parameters_json: "{}".to_owned(),
        }),
    )
}

pub fn custom(kind: &str, parameters_json: &str) -> Action {
    let custom = Custom {
        kind: kind.to_owned(),
        parameters_json: parameters_json.to_owned(),
    };
    action(kind, Parameters::Custom(custom))
}

/// The action with these open parameters.
pub fn with_open(mut action: Action, json: &str) -> Action {
    match &mut action.parameters {
        Parameters::Trade(p) => json.clone_into(&mut p.extra_json),
        Parameters::ClosePosition(p) => json.clone_into(&mut p.extra_json),
        Parameters::Data(p) => json.clone_into(&mut p.extra_json),
        Parameters::File(p) => json.clone_into(&mut p.extra_json),
        Parameters::Code(p) => json.clone_into(&mut p.extra_json),
        Parameters::Message(p) => json.clone_into(&mut p.extra_json),
        Parameters::System(p) => json.clone_into(&mut p.parameters_json),
        Parameters::Custom(p) => json.clone_into(&mut p.parameters_json),
    }
    action
}

pub fn but(mut action: Action, change: impl FnOnce(&mut Action)) -> Action {
    change(&mut action);
    action
}

pub fn facts(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = Facts::default();
    change(&mut facts);
    facts
}

pub fn neutral() -> Facts {
    Facts::default()
}

/// The verdict of the source; the pinned component in the host must say the same.
pub fn judge(action: &Action, facts: &Facts) -> Verdict {
    let verdict = Graveyard::evaluate(action, facts);
    component::compare(action, facts, &verdict);
    verdict
}

pub fn answer(rule: u16, action: &Action, facts: &Facts) -> RuleAnswer {
    let verdict = judge(action, facts);
    verdict
        .answers
        .into_iter()
        .find(|answer| answer.rule == rule)
        .unwrap_or_else(|| panic!("rule {rule} did not answer"))
}

/// One line of a table: what it shows, the action, the facts, the expected answer.
pub type Line<'a> = (&'a str, Action, Facts, RuleResult);

pub fn check(rule: u16, lines: Vec<Line>) {
    for (label, action, facts, expected) in lines {
        let answer = answer(rule, &action, &facts);
        assert_eq!(answer.answer, expected, "rule {rule}, {label}: {answer:?}");
    }
}

pub const NOT_NUMBERS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

pub fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
