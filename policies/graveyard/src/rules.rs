//! The table of the rules: what the metadata says and which function judges.

use ark_guest::policy::{Answer, RuleSpec, Severity};

use crate::case::{Case, Judged};
use crate::{autonomy, governance, integrity, privacy, risk_management, trading};

/// A function that judges one rule.
pub(crate) type Judge = for<'a> fn(&Case<'a>) -> Judged;

/// Asks a rule. What cannot be judged is an error, with the reason as the observed value.
pub(crate) fn ask(rule: &RuleSpec<Judge>, case: &Case) -> Answer {
    (rule.judge)(case).unwrap_or_else(|why| Answer::error(why.0))
}

const fn rule(
    number: u16,
    name: &'static str,
    category: &'static str,
    severity: Severity,
    judge: Judge,
    description: &'static str,
) -> RuleSpec<Judge> {
    RuleSpec {
        number,
        name,
        category,
        severity,
        hold: false,
        description,
        judge,
    }
}

/// A rule that holds the action for an approval.
const fn holds(rule: RuleSpec<Judge>) -> RuleSpec<Judge> {
    RuleSpec { hold: true, ..rule }
}

/// The 26 rules, in the order of their numbers.
pub(crate) const RULES: [RuleSpec<Judge>; 26] = {
    use Severity::{Critical, High, Low, Medium};
    [
        rule(
            1,
            "no_insider_trading",
            "trading",
            Critical,
            trading::no_insider_trading,
            "No trade on material non-public information, and none in a symbol on the restricted list.",
        ),
        rule(
            2,
            "no_market_manipulation",
            "trading",
            Critical,
            trading::no_market_manipulation,
            "No trade with manipulative intent, and none less than 60 s after the same agent's approved trade in the instrument on \
             the opposite side. A close in that time is warned of and allowed, since it only reduces what is held; it counts as a \
             trade on its side, so that the next opening trade in that time is denied.",
        ),
        rule(
            3,
            "no_pump_and_dump",
            "trading",
            High,
            trading::no_pump_and_dump,
            "No sale or closing of a position less than 24 h after the instrument was promoted: by an approved publication, report \
             or outward message of any agent, or by an approved message of the same agent.",
        ),
        rule(
            4,
            "no_front_running",
            "trading",
            High,
            trading::no_front_running,
            "No trade ahead of a client's order, and none in a symbol in which a client's order is pending.",
        ),
        rule(
            5,
            "max_position_size",
            "risk_management",
            High,
            risk_management::max_position_size,
            "The position size together with the exposure already held in the symbol is at most 0.10 of capital. Leverage is not \
             multiplied in: it has limits of its own (rules 7 and 11).",
        ),
        rule(
            6,
            "max_daily_loss",
            "risk_management",
            Critical,
            risk_management::max_daily_loss,
            "No trade opens risk once today's realised loss has reached 0.05 of capital.",
        ),
        rule(
            7,
            "max_leverage",
            "risk_management",
            Medium,
            risk_management::max_leverage,
            "The leverage is at most 2.0.",
        ),
        rule(
            8,
            "require_stop_loss",
            "risk_management",
            Medium,
            risk_management::require_stop_loss,
            "A trade has a stop-loss above 0, below the entry price of a buy and above that of a sell. A stop-loss without an entry \
             price cannot be judged, which denies.",
        ),
        rule(
            9,
            "min_risk_reward",
            "risk_management",
            Medium,
            risk_management::min_risk_reward,
            "The ratio of expected gain to risked loss, the lower of the stated one and the one the prices give, is at least 1.5; a \
             trade without any ratio is warned of. A take-profit without an entry price cannot be judged, which denies.",
        ),
        rule(
            10,
            "max_concurrent_trades",
            "risk_management",
            Low,
            risk_management::max_concurrent_trades,
            "A trade is warned of while 5 or more positions are open.",
        ),
        holds(rule(
            11,
            "require_hrm_approval",
            "governance",
            High,
            governance::require_hrm_approval,
            "Deleting, removing or destroying, running code, and a trade above 0.08 of capital or with leverage above 1.5 wait for \
             an approval, under whatever name.",
        )),
        rule(
            12,
            "audit_all_actions",
            "governance",
            Critical,
            governance::audit_all_actions,
            "Nothing is done while the audit log cannot be written, and no action disables the audit.",
        ),
        rule(
            13,
            "user_override_allowed",
            "governance",
            High,
            governance::user_override_allowed,
            "No action disables, bypasses or ignores a user override.",
        ),
        rule(
            14,
            "emergency_halt_enabled",
            "governance",
            Critical,
            governance::emergency_halt_enabled,
            "While the emergency halt is active nothing is done but reading and halting, and no action lifts or disables the halt.",
        ),
        rule(
            15,
            "protect_user_data",
            "privacy",
            High,
            privacy::protect_user_data,
            "Personal data goes to an external destination only anonymised or encrypted.",
        ),
        rule(
            16,
            "require_consent",
            "privacy",
            High,
            privacy::require_consent,
            "Personal data is handled only with the consent of its subject, and no data at all against a refusal that is on record \
             or that the proposer reports.",
        ),
        rule(
            17,
            "anonymize_logs",
            "privacy",
            Medium,
            privacy::anonymize_logs,
            "Messages, publications, reports and logs hold no personal data.",
        ),
        rule(
            18,
            "encrypt_credentials",
            "privacy",
            High,
            privacy::encrypt_credentials,
            "Data of high sensitivity is encrypted, and no action holds a credential in clear.",
        ),
        rule(
            19,
            "immutable_graveyard",
            "integrity",
            Critical,
            integrity::immutable_graveyard,
            "No action changes the Graveyard, its rules, or the files of the host (module, database, configuration, policies, agents), and \
             nothing is done while its pin is broken.",
        ),
        rule(
            20,
            "watchdog_monitoring",
            "integrity",
            Critical,
            integrity::watchdog_monitoring,
            "Nothing is done while the watchdog does not beat, and no action disables it.",
        ),
        rule(
            21,
            "validate_data_sources",
            "integrity",
            Low,
            integrity::validate_data_sources,
            "An action that names sources no operator validated is warned of.",
        ),
        rule(
            22,
            "prevent_infinite_loops",
            "integrity",
            High,
            integrity::prevent_infinite_loops,
            "At most 16 signals lead to an action, and an agent proposes the identical action at most 10 times in 60 s.",
        ),
        rule(
            23,
            "preserve_user_autonomy",
            "autonomy",
            High,
            autonomy::preserve_user_autonomy,
            "No action against a standing user veto on its agent, action type or symbol.",
        ),
        rule(
            24,
            "transparent_reasoning",
            "autonomy",
            Low,
            autonomy::transparent_reasoning,
            "An action without reasoning is warned of; reasoning that nobody can see is none.",
        ),
        rule(
            25,
            "reversible_actions",
            "autonomy",
            Low,
            autonomy::reversible_actions,
            "An irreversible action without a rollback plan is warned of.",
        ),
        holds(rule(
            26,
            "human_in_loop_critical",
            "autonomy",
            High,
            autonomy::human_in_loop_critical,
            "A critical action, and one both irreversible and external, waits for a human's approval.",
        )),
    ]
};
