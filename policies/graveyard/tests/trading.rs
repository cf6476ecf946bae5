//! Rules 1 to 4 against a table each: fires, does not fire, the exact limit, just past it, and hostile forms.

mod cases;

use ark_guest::policy::RuleResult::{Error, NotApplicable, Pass, Violation, Warn};
use cases::{but, check, close, code, facts, message, neutral, sale, trade, with_open};

#[test]
fn rule_1_no_insider_trading() {
    let restricted = || facts(|f| f.symbol_restricted = true);
    check(
        1,
        vec![
            ("neither", trade(|_| {}), neutral(), Pass),
            (
                "marked",
                trade(|t| t.material_nonpublic = true),
                neutral(),
                Violation,
            ),
            ("restricted", trade(|_| {}), restricted(), Violation),
            (
                "a sale is a trade too",
                sale(|_| {}),
                restricted(),
                Violation,
            ),
            (
                "closing a restricted symbol",
                close(),
                restricted(),
                Violation,
            ),
            ("closing another", close(), neutral(), Pass),
            ("no trade", message("message"), restricted(), NotApplicable),
            (
                "a denial in the parameters does not help",
                with_open(trade(|_| {}), r#"{"symbol_restricted":false}"#),
                restricted(),
                Violation,
            ),
        ],
    );
}

#[test]
fn rule_2_no_market_manipulation() {
    let aged = |age| facts(|f| f.opposite_trade_age = Some(age));
    check(
        2,
        vec![
            ("no other side", trade(|_| {}), neutral(), Pass),
            (
                "intent",
                trade(|t| t.manipulative_intent = true),
                neutral(),
                Violation,
            ),
            ("at once", trade(|_| {}), aged(0.0), Violation),
            ("inside", sale(|_| {}), aged(59.999), Violation),
            ("exactly the window", trade(|_| {}), aged(60.0), Pass),
            ("long ago", trade(|_| {}), aged(1e9), Pass),
            (
                "an age that is no number",
                trade(|_| {}),
                aged(f64::NAN),
                Error,
            ),
            ("an age from the future", trade(|_| {}), aged(-1.0), Error),
            (
                "intent counts before an age that cannot be judged",
                trade(|t| t.manipulative_intent = true),
                aged(f64::NAN),
                Violation,
            ),
            ("no trade", code("1"), aged(0.0), NotApplicable),
            // Nobody may be trapped in a position: a close only reduces what is held.
            ("closing at once", close(), aged(0.0), Warn),
            ("closing inside", close(), aged(59.999), Warn),
            ("closing, exactly the window", close(), aged(60.0), Pass),
            ("closing, no other side", close(), neutral(), Pass),
            (
                "closing, an age that is no number",
                close(),
                aged(f64::NAN),
                Error,
            ),
            (
                "opening again under a declared name",
                but(trade(|_| {}), |a| {
                    "place_order".clone_into(&mut a.action_type);
                }),
                aged(1.0),
                Violation,
            ),
        ],
    );
}

#[test]
fn rule_3_no_pump_and_dump() {
    let aged = |age| facts(|f| f.promotion_age = Some(age));
    check(
        3,
        vec![
            ("no promotion", sale(|_| {}), neutral(), Pass),
            ("inside", sale(|_| {}), aged(86_399.9), Violation),
            ("exactly the window", sale(|_| {}), aged(86_400.0), Pass),
            ("buying", trade(|_| {}), aged(1.0), NotApplicable),
            (
                "closing is a sale in another form",
                close(),
                aged(1.0),
                Violation,
            ),
            (
                "an age that is no number",
                sale(|_| {}),
                aged(f64::INFINITY),
                Error,
            ),
            (
                "by whatever name",
                but(sale(|_| {}), |a| {
                    "open_position".clone_into(&mut a.action_type);
                }),
                aged(1.0),
                Violation,
            ),
            (
                "closing under a declared name",
                but(close(), |a| "flatten".clone_into(&mut a.action_type)),
                aged(1.0),
                Violation,
            ),
        ],
    );
}

#[test]
fn rule_4_no_front_running() {
    let pending = || facts(|f| f.client_order_pending = true);
    check(
        4,
        vec![
            ("neither", trade(|_| {}), neutral(), Pass),
            (
                "marked",
                trade(|t| t.ahead_of_client_order = true),
                neutral(),
                Violation,
            ),
            ("pending", sale(|_| {}), pending(), Violation),
            ("closing ahead of it", close(), pending(), Violation),
            ("no trade", message("log"), pending(), NotApplicable),
        ],
    );
}
