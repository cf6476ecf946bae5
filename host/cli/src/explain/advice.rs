//! What would make a rule pass: for the Graveyard's rules in terms of what they read, for operator policies from their answers.
//!
//! Every number comes from the rule's answer, its description in the policy's metadata, or the facts: none is stated here. A rule of the
//! Graveyard that is unknown here is advised on like that of an operator policy.

use ark_host::api::view::RuleView;
use ark_model::action::{Action, Parameters, Side};
use ark_model::check::clip_to;
use ark_model::decision::{format_limit, format_nearest_passing, format_number, format_value};
use ark_model::facts::{Consent, Facts};
use ark_model::verdict::{ObservedValue, RuleResult};

use super::surroundings::Surroundings;

/// The longest text of a guest that is shown, in characters.
const MAX_TEXT_CHARS: usize = 500;

/// The start of a text of a guest.
pub(super) fn clip_text(text: &str) -> String {
    clip_to(text, MAX_TEXT_CHARS)
}

/// The start of an observed value or a limit; `None`: there is nothing to show.
pub(super) fn clip_value(value: &ObservedValue) -> Option<String> {
    format_value(value).map(|text| clip_text(&text))
}

/// The start of a limit that says something beside what was observed.
pub(super) fn clip_limit(rule: &RuleView) -> Option<String> {
    format_limit(&rule.observed, &rule.limit).map(|text| clip_text(&text))
}

/// A fraction of capital in per cent.
pub(super) fn format_percent(fraction: f64) -> String {
    // Rounded to a millionth of a per cent: sums of doubles end in noise.
    format!("{} %", (fraction * 1e8).round() / 1e6)
}

/// What would make a rule of `policy` pass that fired.
pub(super) fn advise_on_rule(
    policy: &str,
    rule: &RuleView,
    action: &Action,
    facts: &Facts,
    around: &Surroundings,
) -> String {
    if rule.answer == RuleResult::Error {
        let why = clip_value(&rule.observed).unwrap_or_else(|| "no reason is given".to_owned());
        return format!("give values that {} can judge: {why}", rule.rule);
    }
    (policy == "graveyard")
        .then(|| advise_on_graveyard_rule(rule, action, facts, around))
        .flatten()
        .unwrap_or_else(|| advise_from_answer(policy, rule))
}

/// Advice from what the answer shows alone.
fn advise_from_answer(policy: &str, rule: &RuleView) -> String {
    let name = &rule.rule;
    let approval = if rule.answer == RuleResult::Hold {
        " (or an approval)"
    } else {
        ""
    };
    let description = rule.description.as_deref().map(clip_text);
    // "yes" or "no" alone says nothing: the description says what is asked.
    let limit = match *rule.limit {
        ObservedValue::Flag(_) => None,
        _ => clip_value(&rule.limit),
    };
    match (rule.nearest_passing, limit, description) {
        (Some(nearest), _, _) => {
            let nearest = format_nearest_passing(nearest, &rule.observed);
            format!("{name}: {nearest} would pass{approval}")
        }
        (None, Some(limit), _) => format!("{name}: {limit}{approval}"),
        (None, None, Some(description)) => format!("{name}: {description}{approval}"),
        (None, None, None) => format!("{name}: ask the author of {policy}{approval}"),
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm for each rule of the Graveyard"
)]
fn advise_on_graveyard_rule(
    rule: &RuleView,
    action: &Action,
    facts: &Facts,
    around: &Surroundings,
) -> Option<String> {
    let symbol = match &action.parameters {
        Parameters::Trade(trade) => trade.symbol.as_str(),
        Parameters::ClosePosition(close) => close.symbol.as_str(),
        _ => "the symbol",
    };
    let trade = match &action.parameters {
        Parameters::Trade(trade) => Some(trade),
        _ => None,
    };
    let observed = clip_value(&rule.observed).unwrap_or_default();
    let nearest = rule.nearest_passing;
    let description = rule.description.as_deref().map(clip_text);
    let description = description.unwrap_or_default();
    let leave_out = |guard: &str| {
        format!(
            "leave {observed:?} out of the action: {guard}, and no permission or approval changes that"
        )
    };
    let take_off = |list: &str| {
        format!(
            "ark lists remove {list} {} --reason \"why\" (or, where ark.toml names it, there)",
            quote_for_shell(symbol)
        )
    };
    let advice = match &*rule.rule {
        "no_insider_trading" if facts.symbol_restricted => format!(
            "{symbol} must be off the restricted list, which an operator decides: {}",
            take_off("restricted")
        ),
        "no_insider_trading" => {
            "no change helps: a trade on material non-public information (`material_nonpublic`) is forbidden".to_owned()
        }
        "no_market_manipulation" => match nearest {
            Some(window) => format!(
                "wait until {window} s have passed since the same agent's trade on the other side of {symbol}"
            ),
            None => "no change helps: a trade meant to move the market (`manipulative_intent`) is forbidden".to_owned(),
        },
        "no_pump_and_dump" => {
            let (age, window) = (as_number(&rule.observed)?, nearest?);
            format!(
                "do not sell {symbol} within {} h after it was promoted (a publication, report or outward message of any agent, or a message of the same agent): wait another {} minutes",
                window / 3600.0,
                ((window - age).max(0.0) / 60.0).ceil()
            )
        }
        "no_front_running" if facts.client_order_pending => format!(
            "the client's order in {symbol} must be done first; then an operator takes it off the list: {}",
            take_off("client_orders")
        ),
        "no_front_running" => {
            "no change helps: a trade ahead of a client's order (`ahead_of_client_order`) is forbidden".to_owned()
        }
        "max_position_size" => match nearest {
            Some(size) if size > 0.0 => format!(
                "position_size_pct {} or less ({}), beside the {} that are held in {symbol} already, in all its spellings",
                format_nearest_passing(size, &rule.observed),
                format_percent(size),
                format_percent(facts.symbol_exposure)
            ),
            _ => format!(
                "reduce the position in {symbol} first: the {} that are held already reach the limit",
                format_percent(facts.symbol_exposure)
            ),
        },
        "max_daily_loss" => format!(
            "wait until tomorrow (UTC): today's realised loss is {}; until then only actions that reduce risk (close_position) pass",
            format_percent(facts.daily_loss)
        ),
        "max_leverage" => format!("leverage {} or less", format_number(nearest?)),
        "require_stop_loss" => match trade.and_then(|trade| Some((trade, trade.entry_price?))) {
            Some((trade, price)) => format!(
                "give a stop_loss {} the entry price {price}, and above 0",
                if trade.side == Side::Buy { "below" } else { "above" }
            ),
            None => "state the entry_price, and give a stop_loss above 0 that ends the trade at a loss".to_owned(),
        },
        "min_risk_reward" if trade.is_some_and(|it| it.take_profit.is_some() && it.entry_price.is_none()) => {
            "state the entry_price: a take_profit is compared with it".to_owned()
        }
        "min_risk_reward" => format!(
            "give prices whose expected gain is at least {} times the loss that the stop limits, or such a risk_reward_ratio",
            nearest?
        ),
        "max_concurrent_trades" => format!(
            "close a position first: {} are open, and from {} on the rule warns (it denies nothing)",
            facts.open_positions,
            as_number(&rule.limit)?
        ),
        "require_hrm_approval" => match (trade, nearest) {
            (Some(trade), Some(limit)) => {
                let parameter = if as_number(&rule.observed) == Some(trade.leverage) {
                    "leverage"
                } else {
                    "position_size_pct"
                };
                format!("an approval, or {parameter} {limit} or less")
            }
            // Both are above their limits. The answer shows one of these, the description both.
            (Some(_), None) => format!(
                "an approval, or a position_size_pct and a leverage within the limits of the rule: {description}"
            ),
            (None, _) => "an approval: an action of this kind always needs one".to_owned(),
        },
        "audit_all_actions" if !facts.audit_writable => {
            "the audit log must be writable again (is the disk full, read-only or broken?); see /readyz".to_owned()
        }
        "audit_all_actions" => leave_out("every action is audited"),
        "user_override_allowed" => leave_out("a user can always override"),
        "emergency_halt_enabled" if facts.halt_active => {
            "an operator must lift the halt: ark watchdog resume --reason \"why\"".to_owned()
        }
        "emergency_halt_enabled" => leave_out("the emergency halt stays in place"),
        "protect_user_data" => {
            "anonymise or encrypt the data (`anonymized`, `encryption`), or keep it `internal`".to_owned()
        }
        "require_consent" => match &action.parameters {
            Parameters::Data(data) if data.user_consent == Some(false) => {
                "no change helps: the proposer itself says that the user refused".to_owned()
            }
            _ if facts.consent == Consent::Refused => {
                "the subject refused: only a new consent helps, and an operator records it: ark lists put consents SUBJECT --granted true --reason \"why\"".to_owned()
            }
            Parameters::Data(data) if data.subject.is_none() => {
                "name the `subject`, and have its consent recorded: ark lists put consents SUBJECT --granted true --reason \"why\"".to_owned()
            }
            _ => "the subject must consent, and an operator record it: ark lists put consents SUBJECT --granted true --reason \"why\"".to_owned(),
        },
        "anonymize_logs" => format!("leave the personal data out of the message: {observed}"),
        "encrypt_credentials" if facts.credentials.is_empty() => {
            "encrypt data of high sensitivity (`encryption`)".to_owned()
        }
        "encrypt_credentials" => format!("leave the credential out of the action: {observed}"),
        "immutable_graveyard" if !facts.pin_holds => {
            "the Graveyard's file is not the pinned one: restore the released graveyard.wasm (mode 0444) and restart the host".to_owned()
        }
        "immutable_graveyard" => leave_out(
            "the Graveyard cannot be changed from inside; a change can be requested with POST /v1/graveyard/amendments",
        ),
        "watchdog_monitoring" if !facts.watchdog_beating => {
            "the watchdog must beat again; /readyz says why it does not".to_owned()
        }
        "watchdog_monitoring" => leave_out("the watchdog stays on"),
        "validate_data_sources" => format!(
            "name validated sources only, or have an operator validate {observed}: ark lists put validated_sources NAME --reason \"why\" (the rule only warns)"
        ),
        "prevent_infinite_loops" => {
            let (count, limit) = (as_number(&rule.observed)?, as_number(&rule.limit)?);
            let depth = f64::from(facts.causal_depth);
            let times = f64::from(facts.identical_actions) + 1.0;
            if count == depth && count != times {
                format!("break the chain: {count} signals led to the action, one out of another; at most {limit} may")
            } else {
                format!("wait, or propose another action: {description} Observed are {count}, and {limit} are allowed")
            }
        }
        "preserve_user_autonomy" => advise_on_veto(&observed, around),
        "transparent_reasoning" => "say why, in `reasoning` (the rule only warns)".to_owned(),
        "reversible_actions" => "give a `rollback_plan` (the rule only warns)".to_owned(),
        "human_in_loop_critical" => {
            "a person's approval: the action is critical, or irreversible and acts outside the host".to_owned()
        }
        _ => return None,
    };
    Some(advice)
}

/// What lifts a veto, with its name where it still stands.
fn advise_on_veto(words: &str, around: &Surroundings) -> String {
    let mut ways: Vec<String> = around
        .veto_names
        .iter()
        .map(|name| {
            let name = quote_for_shell(&clip_text(name));
            format!("ark lists remove vetoes {name} --reason \"why\"")
        })
        .collect();
    if around.veto_is_configured {
        ways.push("take it out of [[lists.vetoes]] in ark.toml".to_owned());
    }
    if ways.is_empty() {
        return format!(
            "a user's veto forbade the action ({words}), and none with these words stands now: propose it again"
        );
    }
    format!(
        "a user's veto forbids the action ({words}); only that user can have it lifted: {}",
        ways.join(", ")
    )
}

const fn as_number(value: &ObservedValue) -> Option<f64> {
    match value {
        ObservedValue::Number(number) => Some(*number),
        _ => None,
    }
}

/// Returns a text as one word of a shell command. A symbol is chosen by the proposer: in a command that is meant to be copied it must be
/// nothing but text.
fn quote_for_shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use ark_model::form::{parse_action, parse_json};
    use ark_model::verdict::Severity;
    use ark_runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard};

    use super::*;

    /// A rule that is renamed or added must not fall back to advice made from its numbers.
    #[test]
    fn every_rule_of_the_graveyard_is_advised_on() {
        let engine = Engine::new(&EngineConfig::default()).unwrap();
        let pin = Pin::compiled_in().unwrap();
        let graveyard = PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin).unwrap();
        let request = br#"{"agent":"a","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.5,"leverage":3}}"#;
        let action = parse_action(parse_json(request).unwrap()).unwrap().action;
        for rule in &graveyard.policy.identity().metadata.rules {
            let fired = RuleView {
                number: rule.number,
                rule: Cow::Borrowed(&rule.name),
                category: Cow::Borrowed(&rule.category),
                severity: Severity::High,
                answer: RuleResult::Violation,
                observed: Cow::Owned(ObservedValue::Number(2.0)),
                limit: Cow::Owned(ObservedValue::Number(1.0)),
                nearest_passing: Some(1.0),
                description: Some(Cow::Borrowed(&rule.description)),
            };
            let advice = advise_on_graveyard_rule(
                &fired,
                &action,
                &Facts::default(),
                &Surroundings::default(),
            );
            assert!(advice.is_some(), "{}", rule.name);
        }
    }

    #[test]
    fn a_symbol_is_one_word_of_a_command() {
        for (symbol, word) in [
            ("BTC-USD", "BTC-USD"),
            ("BTC/USDT:USDT", "BTC/USDT:USDT"),
            ("M&M", "'M&M'"),
            ("$(reboot)X", "'$(reboot)X'"),
            ("X';reboot;'", r"'X'\'';reboot;'\'''"),
            ("BRK B", "'BRK B'"),
        ] {
            assert_eq!(quote_for_shell(symbol), word);
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
