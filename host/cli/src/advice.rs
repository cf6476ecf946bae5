//! What would make a rule pass, in words: for the Graveyard's rules in those of what they read, for operator policies from their answer.
//!
//! The Graveyard's rules do not change without its pin; a rule that is not known here is advised on like an operator's.

use ark_model::action::{Action, Parameters};
use ark_model::facts::Facts;
use ark_model::verdict::RuleResult;

use super::explanation::FiredRule;

/// What would make a rule that fired pass.
pub(super) fn advise_on_rule(fired: &FiredRule, action: &Action, facts: &Facts) -> String {
    if fired.answer == RuleResult::Error {
        let why = fired.observed.as_deref().unwrap_or("it does not say why");
        return format!("give what {} can judge: {why}", fired.rule);
    }
    let of_graveyard = (fired.policy == "graveyard")
        .then(|| advise_graveyard_rule(fired, action, facts))
        .flatten();
    of_graveyard.unwrap_or_else(|| advise_from_answer(fired))
}

/// A fraction of capital in per cent.
pub(super) fn format_percent(fraction: f64) -> String {
    // To a millionth of a per cent: sums of doubles end in noise.
    format!("{} %", (fraction * 1e8).round() / 1e6)
}

/// From what the answer shows alone.
fn advise_from_answer(fired: &FiredRule) -> String {
    let rule = &fired.rule;
    let approval = if fired.answer == RuleResult::Hold {
        " (or an approval)"
    } else {
        ""
    };
    match (fired.nearest_passing, &fired.limit, &fired.demands) {
        (Some(nearest), _, _) => format!("{rule}: {nearest} would pass{approval}"),
        (None, Some(limit), _) => format!("{rule}: {limit}{approval}"),
        (None, None, Some(demands)) => format!("{rule}: {demands}{approval}"),
        (None, None, None) => format!("{rule}: ask the author of {}{approval}", fired.policy),
    }
}

fn advise_graveyard_rule(fired: &FiredRule, action: &Action, facts: &Facts) -> Option<String> {
    let symbol = match &action.parameters {
        Parameters::Trade(trade) => trade.symbol.as_str(),
        Parameters::ClosePosition(close) => close.symbol.as_str(),
        _ => "the symbol",
    };
    let trade = match &action.parameters {
        Parameters::Trade(trade) => Some(trade),
        _ => None,
    };
    let observed = fired.observed.as_deref().unwrap_or("");
    let nearest = fired.nearest_passing;
    let attempt = |guard: &str| {
        format!(
            "leave {observed:?} out of the action: {guard}, and no permission or approval turns that off"
        )
    };
    let off_the_list = |list: &str| {
        format!(
            "ark lists take-off {list} {symbol} --reason \"why\" (or, where ark.toml names it, there)"
        )
    };
    let advice = match fired.rule.as_str() {
        "no_insider_trading" if facts.symbol_restricted => format!(
            "{symbol} must be off the restricted list, which an operator decides: {}",
            off_the_list("restricted")
        ),
        "no_insider_trading" => {
            "a trade that rests on material non-public information (`material_nonpublic`) cannot be made".to_owned()
        }
        "no_market_manipulation" => match nearest {
            Some(window) => format!(
                "wait until {window} s have passed since the same agent's trade on the other side of {symbol}"
            ),
            None => "a trade that is meant to move the market (`manipulative_intent`) cannot be made".to_owned(),
        },
        "no_pump_and_dump" => format!(
            "do not sell {symbol} within 24 h after the same agent's message on it: {} are left to wait",
            format_remaining_wait(facts.promotion_age, nearest)
        ),
        "no_front_running" if facts.client_order_pending => format!(
            "the client's order in {symbol} has to be done first; then an operator takes it off: {}",
            off_the_list("client_orders")
        ),
        "no_front_running" => {
            "a trade ahead of a client's order (`ahead_of_client_order`) cannot be made".to_owned()
        }
        "max_position_size" => match nearest {
            Some(size) if size > 0.0 => format!(
                "position_size_pct {size} or less ({}), beside the {} that are held in {symbol} already",
                format_percent(size),
                format_percent(facts.symbol_exposure)
            ),
            _ => format!(
                "reduce the position in {symbol} first: the {} that are held are all there may be",
                format_percent(facts.symbol_exposure)
            ),
        },
        "max_daily_loss" => format!(
            "nothing until tomorrow (UTC): today's realised loss is {}; only what reduces risk (close_position) is possible",
            format_percent(facts.daily_loss)
        ),
        "max_leverage" => format!("leverage {} or less", nearest?),
        "require_stop_loss" => match trade.and_then(|trade| trade.entry_price.map(|price| (trade, price))) {
            Some((trade, price)) => format!(
                "give a stop_loss {} the entry price {price}, and above 0",
                if trade.side == ark_model::action::Side::Buy { "below" } else { "above" }
            ),
            None => "give a stop_loss above 0".to_owned(),
        },
        "min_risk_reward" => format!(
            "prices whose expected gain is at least {} times the loss that the stop limits, or a risk_reward_ratio of it",
            nearest.unwrap_or(1.5)
        ),
        "max_concurrent_trades" => format!(
            "close a position first: {} are open, the most is 5 (it only warns)",
            facts.open_positions
        ),
        "require_hrm_approval" => match (trade, nearest) {
            (Some(trade), Some(limit)) => format!(
                "an approval, or {} {limit} or less",
                if trade.position_size_pct > 0.08 { "position_size_pct" } else { "leverage" }
            ),
            (Some(_), None) => {
                "an approval, or both position_size_pct 0.08 or less and leverage 1.5 or less".to_owned()
            }
            (None, _) => "an approval: an action of this kind always needs one".to_owned(),
        },
        "audit_all_actions" if !facts.audit_writable => {
            "the audit log has to be writable again (disk full, read-only or broken?); see /readyz".to_owned()
        }
        "audit_all_actions" => attempt("every action is audited"),
        "user_override_allowed" => attempt("a user can always override"),
        "emergency_halt_enabled" if facts.halt_active => {
            "the halt has to be lifted by an operator: ark watchdog resume --reason \"why\"".to_owned()
        }
        "emergency_halt_enabled" => attempt("the emergency halt stays in place"),
        "protect_user_data" => {
            "anonymise or encrypt the data (`anonymized`, `encryption`), or keep it `internal`".to_owned()
        }
        "require_consent" => match &action.parameters {
            Parameters::Data(data) if data.user_consent == Some(false) => {
                "the user refused, as the proposer itself says: leave it".to_owned()
            }
            Parameters::Data(data) if data.subject.is_none() => {
                "name the `subject`, and have its consent recorded: ark lists put consents SUBJECT --granted true --reason \"why\"".to_owned()
            }
            _ => "the subject has to consent, and an operator to record it: ark lists put consents SUBJECT --granted true --reason \"why\"".to_owned(),
        },
        "anonymize_logs" => format!("leave the personal data out of the message: {observed}"),
        "encrypt_credentials" if facts.credentials.is_empty() => {
            "encrypt data of high sensitivity (`encryption`)".to_owned()
        }
        "encrypt_credentials" => format!("leave the credential out of the action: {observed}"),
        "immutable_graveyard" if !facts.pin_holds => {
            "the Graveyard's file is not the pinned one: restore the released graveyard.wasm (mode 0444) and start the host anew".to_owned()
        }
        "immutable_graveyard" => attempt(
            "the Graveyard cannot be changed from inside; a change can be requested with POST /v1/graveyard/amendments",
        ),
        "watchdog_monitoring" if !facts.watchdog_beating => {
            "the watchdog has to beat again; /readyz says why it does not".to_owned()
        }
        "watchdog_monitoring" => attempt("the watchdog stays on"),
        "validate_data_sources" => format!(
            "rest it on validated sources only, or have an operator validate {observed}: ark lists put validated_sources NAME --reason \"why\" (it only warns)"
        ),
        "prevent_infinite_loops" if facts.causal_depth > 16 => {
            "break the chain: more than 16 signals led to it, one out of another".to_owned()
        }
        "prevent_infinite_loops" => {
            "wait a minute: the same agent proposed the identical action more than 10 times in 60 s".to_owned()
        }
        "preserve_user_autonomy" => format!(
            "a user's veto stands against it ({observed}); only who gave it lifts it: ark lists take-off vetoes NAME --reason \"why\""
        ),
        "transparent_reasoning" => "say why, in `reasoning` (it only warns)".to_owned(),
        "reversible_actions" => "give a `rollback_plan` (it only warns)".to_owned(),
        "human_in_loop_critical" => "a person's approval: it is critical, or irreversible and acts outside the host".to_owned(),
        _ => return None,
    };
    Some(advice)
}

fn format_remaining_wait(age: Option<f64>, window: Option<f64>) -> String {
    let left = window.unwrap_or(86_400.0) - age.unwrap_or(0.0);
    format!("{} minutes", (left.max(0.0) / 60.0).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::form::{parse_action, parse_json};
    use ark_runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard};

    /// A rule that is renamed or added must not fall back to words made from its numbers.
    #[test]
    fn every_rule_of_the_graveyard_is_advised_on() {
        let engine = Engine::new(&EngineConfig::default()).unwrap();
        let pin = Pin::compiled_in().unwrap();
        let graveyard = PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin).unwrap();
        let request = br#"{"agent":"a","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.5,"leverage":3}}"#;
        let action = parse_action(parse_json(request).unwrap()).unwrap().action;
        for rule in &graveyard.policy.identity().metadata.rules {
            let fired = FiredRule {
                policy: "graveyard".to_owned(),
                version: "1.0.0".to_owned(),
                number: rule.number,
                rule: rule.name.clone(),
                severity: "high".to_owned(),
                answer: RuleResult::Violation,
                demands: None,
                observed: Some("seen".to_owned()),
                limit: None,
                nearest_passing: Some(1.0),
                to_pass: String::new(),
            };
            let advised = super::advise_graveyard_rule(&fired, &action, &Facts::default());
            assert!(advised.is_some(), "{}", rule.name);
        }
    }

    #[test]
    fn fractions_are_shown_in_per_cent_without_noise() {
        for (fraction, shown) in [
            (0.05, "5 %"),
            (0.1 + 0.2, "30 %"),
            (0.081_25, "8.125 %"),
            (0.0, "0 %"),
        ] {
            assert_eq!(format_percent(fraction), shown);
        }
    }
}
