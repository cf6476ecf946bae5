//! Each rule against a table: fires, does not fire, the exact limit, just past it, and hostile forms.

mod cases;

use ark_guest::policy::RuleResult::{self, Error, Hold, NotApplicable, Pass, Violation, Warn};
use ark_guest::policy::{Approval, Change, Consent, Criticality, DataOperation, FileVerb, Parameters, Sensitivity};
use cases::{
    Line, action, answer, but, check, close, code, custom, data, facts, file, judge, message, neutral, sale, system,
    trade, with_open,
};

const NOT_NUMBERS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn rule_1_no_insider_trading() {
    let restricted = || facts(|f| f.symbol_restricted = true);
    check(
        1,
        vec![
            ("neither", trade(|_| {}), neutral(), Pass),
            ("marked", trade(|t| t.material_nonpublic = true), neutral(), Violation),
            ("restricted", trade(|_| {}), restricted(), Violation),
            ("a sale is a trade too", sale(|_| {}), restricted(), Violation),
            ("closing a restricted symbol", close(), restricted(), Violation),
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
            ("intent", trade(|t| t.manipulative_intent = true), neutral(), Violation),
            ("at once", trade(|_| {}), aged(0.0), Violation),
            ("inside", sale(|_| {}), aged(59.999), Violation),
            ("exactly the window", trade(|_| {}), aged(60.0), Pass),
            ("long ago", trade(|_| {}), aged(1e9), Pass),
            ("an age that is no number", trade(|_| {}), aged(f64::NAN), Error),
            ("an age from the future", trade(|_| {}), aged(-1.0), Error),
            (
                "intent counts before an age that cannot be judged",
                trade(|t| t.manipulative_intent = true),
                aged(f64::NAN),
                Violation,
            ),
            ("no trade", code("1"), aged(0.0), NotApplicable),
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
            ("closing is a sale in another form", close(), aged(1.0), Violation),
            ("an age that is no number", sale(|_| {}), aged(f64::INFINITY), Error),
            (
                "by whatever name",
                but(sale(|_| {}), |a| "open_position".clone_into(&mut a.action_type)),
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

#[test]
fn rule_5_max_position_size() {
    let sized = |size| trade(move |t| t.position_size_pct = size);
    let held = |exposure| facts(|f| f.symbol_exposure = exposure);
    let mut lines: Vec<Line> = vec![
        ("nothing", sized(0.0), neutral(), Pass),
        ("exactly", sized(0.10), neutral(), Pass),
        ("just past", sized(0.100_000_01), neutral(), Violation),
        ("all of it", sized(1.0), neutral(), Violation),
        (
            "a sale adds exposure too",
            sale(|t| t.position_size_pct = 0.06),
            held(0.06),
            Violation,
        ),
        ("a sum past the limit", sized(0.05), held(0.050_000_01), Violation),
        ("closing", close(), held(0.5), NotApplicable),
        ("no trade", code("1"), held(0.5), NotApplicable),
        ("out of range", sized(1.000_1), neutral(), Error),
        ("negative", sized(-0.01), neutral(), Error),
        ("a negative size cannot make room", sized(-0.01), held(0.105), Error),
        ("exposure that is no number", sized(0.01), held(f64::NAN), Error),
        ("negative exposure", sized(0.2), held(-0.15), Error),
    ];
    lines.extend(NOT_NUMBERS.map(|n| ("not a number", sized(n), neutral(), Error)));
    check(5, lines);
    // Sums that meet the limit in decimals pass, whatever binary makes of them.
    for hundredths in 0..=100_u32 {
        let (size, exposure) = (f64::from(hundredths) / 1000.0, f64::from(100 - hundredths) / 1000.0);
        check(5, vec![("a sum of 0.1", sized(size), held(exposure), Pass)]);
    }
    // Three slices, as a ledger adds them up.
    check(
        5,
        vec![
            ("the last slice", sized(0.04), held(0.03 + 0.03), Pass),
            ("one more", sized(0.000_001), held(0.03 + 0.03 + 0.04), Violation),
        ],
    );
    for (size, exposure, nearest) in [
        (0.2, 0.0, Some(0.1)),
        (0.2, 0.075, Some(0.025)),
        (0.2, 0.1, Some(0.0)),
        (0.2, 0.2, None),
        (0.05, 0.0, Some(0.05)),
        (0.0, 0.2, None),
    ] {
        let answer = answer(5, &sized(size), &held(exposure));
        match (answer.nearest_passing, nearest) {
            (Some(is), Some(should)) => {
                assert!((is - should).abs() < 1e-12, "{size} beside {exposure}: {is}");
                check(
                    5,
                    vec![("the nearest passing value passes", sized(is), held(exposure), Pass)],
                );
            }
            (is, should) => assert_eq!(is, should, "{size} beside {exposure}"),
        }
    }
}

#[test]
fn rule_6_max_daily_loss() {
    let lost = |loss| facts(|f| f.daily_loss = loss);
    let mut lines: Vec<Line> = vec![
        ("no loss", trade(|_| {}), neutral(), Pass),
        ("below", trade(|_| {}), lost(0.049_999), Pass),
        ("exactly", trade(|_| {}), lost(0.05), Violation),
        (
            "five times a hundredth, added up",
            trade(|_| {}),
            lost(0.01 + 0.01 + 0.01 + 0.01 + 0.01),
            Violation,
        ),
        (
            "a sum that rounding keeps below",
            trade(|_| {}),
            lost(0.05 - 1e-15),
            Violation,
        ),
        ("a sale opens risk too", sale(|_| {}), lost(0.06), Violation),
        ("closing opens none", close(), lost(0.5), NotApplicable),
        ("no trade", message("report"), lost(0.5), NotApplicable),
        ("a negative loss", trade(|_| {}), lost(-0.01), Error),
    ];
    lines.extend(NOT_NUMBERS.map(|n| ("not a number", trade(|_| {}), lost(n), Error)));
    check(6, lines);
}

#[test]
fn rule_7_max_leverage() {
    let levered = |leverage| trade(move |t| t.leverage = leverage);
    let mut lines: Vec<Line> = vec![
        ("none", levered(1.0), neutral(), Pass),
        ("exactly", levered(2.0), neutral(), Pass),
        ("just past", levered(2.000_000_1), neutral(), Violation),
        ("the next number", levered(2.0_f64.next_up()), neutral(), Violation),
        ("none at all", levered(0.0), neutral(), Error),
        ("negative", levered(-3.0), neutral(), Error),
        ("closing", close(), neutral(), NotApplicable),
    ];
    lines.extend(NOT_NUMBERS.map(|n| ("not a number", levered(n), neutral(), Error)));
    check(7, lines);
    assert_eq!(answer(7, &levered(3.0), &neutral()).nearest_passing, Some(2.0));
}

#[test]
fn rule_8_require_stop_loss() {
    let stop = |stop| trade(move |t| t.stop_loss = stop);
    let sale_stop = |stop| sale(move |t| t.stop_loss = stop);
    let blind = |stop| trade(move |t| (t.entry_price, t.stop_loss) = (None, stop));
    check(
        8,
        vec![
            ("below", stop(Some(95.0)), neutral(), Pass),
            ("a hair below", stop(Some(100.0_f64.next_down())), neutral(), Pass),
            ("at the entry", stop(Some(100.0)), neutral(), Violation),
            ("above", stop(Some(105.0)), neutral(), Violation),
            ("none", stop(None), neutral(), Violation),
            ("zero", stop(Some(0.0)), neutral(), Violation),
            ("minus zero", stop(Some(-0.0)), neutral(), Violation),
            ("negative", stop(Some(-5.0)), neutral(), Violation),
            ("a sale's, above", sale_stop(Some(105.0)), neutral(), Pass),
            ("a sale's, at the entry", sale_stop(Some(100.0)), neutral(), Violation),
            ("a sale's, below", sale_stop(Some(95.0)), neutral(), Violation),
            ("no entry price", blind(Some(95.0)), neutral(), Pass),
            ("no entry price and zero", blind(Some(0.0)), neutral(), Violation),
            ("not a number", stop(Some(f64::NAN)), neutral(), Error),
            ("infinite", sale_stop(Some(f64::INFINITY)), neutral(), Error),
            (
                "an entry price of 0",
                trade(|t| t.entry_price = Some(0.0)),
                neutral(),
                Error,
            ),
            (
                "an entry price that is no number",
                trade(|t| t.entry_price = Some(f64::NAN)),
                neutral(),
                Error,
            ),
            ("closing", close(), neutral(), NotApplicable),
        ],
    );
}

#[test]
fn rule_9_min_risk_reward() {
    let prices = |stop, target| trade(move |t| (t.stop_loss, t.take_profit) = (Some(stop), Some(target)));
    let stated = |ratio| trade(move |t| (t.take_profit, t.risk_reward_ratio) = (None, Some(ratio)));
    let both = |ratio| {
        trade(move |t| (t.stop_loss, t.take_profit, t.risk_reward_ratio) = (Some(90.0), Some(118.0), Some(ratio)))
    };
    check(
        9,
        vec![
            ("computed, exactly", prices(90.0, 115.0), neutral(), Pass),
            ("computed, just below", prices(90.0, 114.999_99), neutral(), Violation),
            (
                "computed, 0.3 / 0.2",
                trade(|t| (t.entry_price, t.stop_loss, t.take_profit) = (Some(1.0), Some(0.8), Some(1.3))),
                neutral(),
                Pass,
            ),
            (
                "a sale, exactly",
                sale(|t| (t.stop_loss, t.take_profit) = (Some(110.0), Some(85.0))),
                neutral(),
                Pass,
            ),
            (
                "a sale, below",
                sale(|t| (t.stop_loss, t.take_profit) = (Some(110.0), Some(86.0))),
                neutral(),
                Violation,
            ),
            ("stated, exactly", stated(1.5), neutral(), Pass),
            ("stated, just below", stated(1.499_999), neutral(), Violation),
            ("stated, negative", stated(-2.0), neutral(), Violation),
            ("both, the stated one is lower", both(1.4), neutral(), Violation),
            ("both are enough", both(1.6), neutral(), Pass),
            (
                "a claim does not beat arithmetic",
                trade(|t| (t.take_profit, t.risk_reward_ratio) = (Some(101.0), Some(99.0))),
                neutral(),
                Violation,
            ),
            ("a target on the losing side", prices(95.0, 90.0), neutral(), Violation),
            ("a target at the entry", prices(95.0, 100.0), neutral(), Violation),
            (
                "a sale's target below 0 would be a ratio without bound",
                sale(|t| t.take_profit = Some(-1000.0)),
                neutral(),
                Error,
            ),
            ("a wrong stop gives no ratio", prices(105.0, 110.0), neutral(), Warn),
            ("nothing to go by", trade(|t| t.take_profit = None), neutral(), Warn),
            (
                "the tiniest risk",
                prices(100.0_f64.next_down(), 110.0),
                neutral(),
                Pass,
            ),
            ("stated, not a number", stated(f64::NAN), neutral(), Error),
            ("stated, infinite", stated(f64::INFINITY), neutral(), Error),
            ("a target that is no number", prices(95.0, f64::NAN), neutral(), Error),
            ("closing", close(), neutral(), NotApplicable),
        ],
    );
    assert_eq!(answer(9, &stated(1.0), &neutral()).nearest_passing, Some(1.5));
}

#[test]
fn rule_10_max_concurrent_trades() {
    let open = |n| facts(|f| f.open_positions = n);
    check(
        10,
        vec![
            ("none", trade(|_| {}), open(0), Pass),
            ("room for one", trade(|_| {}), open(4), Pass),
            ("exactly", trade(|_| {}), open(5), Warn),
            ("far past", sale(|_| {}), open(u32::MAX), Warn),
            ("closing", close(), open(9), NotApplicable),
            ("no trade", code("1"), open(9), NotApplicable),
        ],
    );
    assert_eq!(answer(10, &trade(|_| {}), &open(7)).nearest_passing, Some(4.0));
}

#[test]
fn rule_11_require_hrm_approval() {
    let by = |approval| facts(|f| f.approval = approval);
    let sized = |size| trade(move |t| t.position_size_pct = size);
    let levered = |leverage| trade(move |t| t.leverage = leverage);
    let named = |name: &str, verb| but(file(verb, "a.txt"), |a| name.clone_into(&mut a.action_type));
    check(
        11,
        vec![
            ("a small trade", sized(0.05), neutral(), Pass),
            ("exactly 8 %", sized(0.08), neutral(), Pass),
            ("just above", sized(0.080_000_01), neutral(), Hold),
            (
                "above, approved by an operator",
                sized(0.09),
                by(Approval::Operator),
                Pass,
            ),
            ("above, approved by a human", sized(0.09), by(Approval::Human), Pass),
            ("leverage, exactly", levered(1.5), neutral(), Pass),
            ("leverage, just above", levered(1.500_000_1), neutral(), Hold),
            ("leverage, approved", levered(1.9), by(Approval::Operator), Pass),
            ("code", code("1"), neutral(), Hold),
            ("code, approved", code("1"), by(Approval::Operator), Pass),
            ("delete", named("delete", FileVerb::Delete), neutral(), Hold),
            ("remove", named("remove", FileVerb::Remove), neutral(), Hold),
            ("a file, deleted", file(FileVerb::Delete, "a"), neutral(), Hold),
            ("a file, removed", file(FileVerb::Remove, "a"), neutral(), Hold),
            ("a file, destroyed", file(FileVerb::Destroy, "a"), neutral(), Hold),
            (
                "a file, destroyed with approval",
                file(FileVerb::Destroy, "a"),
                by(Approval::Human),
                Pass,
            ),
            ("a file, written", file(FileVerb::Write, "a"), neutral(), NotApplicable),
            (
                "a claim",
                with_open(sized(0.09), r#"{"hrm_approved":true,"approval":"human"}"#),
                neutral(),
                Hold,
            ),
            ("a size that is no number", sized(f64::NAN), by(Approval::Human), Error),
            ("leverage that is no number", levered(f64::NAN), neutral(), Error),
            ("closing everything", close(), neutral(), NotApplicable),
            ("a message", message("message"), neutral(), NotApplicable),
        ],
    );
    let both = trade(|t| (t.position_size_pct, t.leverage) = (0.09, 1.9));
    for (proposed, nearest) in [(sized(0.09), Some(0.08)), (levered(1.9), Some(1.5)), (both, None)] {
        assert_eq!(answer(11, &proposed, &neutral()).nearest_passing, nearest);
    }
}

/// A rule over a fact about a guard, the name of an attempt on it, and what only resembles one.
fn check_guard(rule: u16, attempts: &[&str], off: &[&str], harmless: &[&str]) {
    for kind in attempts {
        let keyed = |value: &str| format!("{{\"note\":1,\"{kind}\":{value}}}");
        check(
            rule,
            vec![
                (kind, custom(kind, "{}"), neutral(), Violation),
                (kind, with_open(trade(|_| {}), &keyed("true")), neutral(), Violation),
                (kind, with_open(message("message"), &keyed("1")), neutral(), Violation),
                (kind, with_open(close(), &keyed("\"yes\"")), neutral(), Violation),
                (kind, custom("rebalance", &keyed("{}")), neutral(), Violation),
                (
                    kind,
                    custom("rebalance", &format!("{{\"do\":[{{\"it\":\"{kind}\"}}]}}")),
                    neutral(),
                    Violation,
                ),
                (
                    kind,
                    custom("rebalance", &format!("{{\"a\":{{\"b\":[{}]}}}}", keyed("true"))),
                    neutral(),
                    Violation,
                ),
                // The first of two equal keys counts as much as the last.
                (
                    kind,
                    custom("rebalance", &format!("{{\"{kind}\":true,\"{kind}\":false}}")),
                    neutral(),
                    Violation,
                ),
                (kind, with_open(data(|_| {}), &keyed("false")), neutral(), Pass),
                (kind, with_open(code("1"), &keyed("\"off\"")), neutral(), Pass),
                (
                    kind,
                    with_open(file(FileVerb::Read, "a"), &keyed("null")),
                    neutral(),
                    Pass,
                ),
                (
                    kind,
                    with_open(
                        trade(|_| {}),
                        &format!("{{\"note\":\"please do not {kind} anything\"}}"),
                    ),
                    neutral(),
                    Pass,
                ),
            ],
        );
    }
    for key in off {
        for (value, expected) in [
            ("false", Violation),
            ("0", Violation),
            ("\"disabled\"", Violation),
            ("null", Violation),
            ("true", Pass),
        ] {
            check(
                rule,
                vec![(
                    key,
                    with_open(trade(|_| {}), &format!("{{\"{key}\":{value}}}")),
                    neutral(),
                    expected,
                )],
            );
        }
    }
    for kind in harmless {
        check(
            rule,
            vec![
                (kind, custom(kind, "{}"), neutral(), Pass),
                (
                    kind,
                    with_open(trade(|_| {}), &format!("{{\"{kind}\":true}}")),
                    neutral(),
                    Pass,
                ),
            ],
        );
    }
    for unreadable in [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{} {}",
        "{\"a\":1e999}",
        &format!("{}{}", "{\"a\":".repeat(200), "}".repeat(200)),
    ] {
        check(
            rule,
            vec![
                (
                    "unreadable extras",
                    with_open(trade(|_| {}), unreadable),
                    neutral(),
                    Error,
                ),
                (
                    "unreadable parameters",
                    custom("rebalance", unreadable),
                    neutral(),
                    Error,
                ),
            ],
        );
    }
    check(
        rule,
        vec![
            ("plain", trade(|_| {}), neutral(), Pass),
            (
                "spaces in empty parameters",
                with_open(trade(|_| {}), " { } "),
                neutral(),
                Pass,
            ),
            (
                "a trade that calls itself a message",
                but(trade(|_| {}), |a| "message".clone_into(&mut a.action_type)),
                neutral(),
                Error,
            ),
            (
                "a sale that calls itself a purchase",
                but(sale(|_| {}), |a| "buy".clone_into(&mut a.action_type)),
                neutral(),
                Error,
            ),
            (
                "a custom kind under another name",
                but(custom("rebalance", "{}"), |a| "tidy".clone_into(&mut a.action_type)),
                neutral(),
                Error,
            ),
            (
                "a custom kind that imitates code",
                custom("Execute-Code", "{}"),
                neutral(),
                Error,
            ),
            ("a custom kind with a known name", custom("buy", "{}"), neutral(), Error),
            (
                "a deletion that says it reads",
                but(file(FileVerb::Read, "a"), |a| "delete".clone_into(&mut a.action_type)),
                neutral(),
                Error,
            ),
            (
                "sharing that says it stores",
                but(data(|d| d.operation = DataOperation::Share), |a| {
                    "store_data".clone_into(&mut a.action_type)
                }),
                neutral(),
                Error,
            ),
            (
                "a system change under another name",
                system("modify_graveyard", Change::ClearHalt),
                neutral(),
                Error,
            ),
        ],
    );
}

#[test]
fn rule_12_audit_all_actions() {
    let mute = || facts(|f| f.audit_writable = false);
    check(
        12,
        vec![
            (
                "disable_audit",
                system("disable_audit", Change::DisableAudit),
                neutral(),
                Violation,
            ),
            (
                "another system change",
                system("clear_halt", Change::ClearHalt),
                neutral(),
                Pass,
            ),
            ("no log", trade(|_| {}), mute(), Violation),
            ("no log, reading", file(FileVerb::Read, "a"), mute(), Violation),
            (
                "no log counts before what cannot be judged",
                custom("rebalance", "{"),
                mute(),
                Violation,
            ),
            (
                "a claim",
                with_open(trade(|_| {}), r#"{"audit_ok":true}"#),
                mute(),
                Violation,
            ),
        ],
    );
    check_guard(
        12,
        &[
            "skip_audit",
            "disableAuditLog",
            "bypass-audit",
            "no_audit",
            "audit_off",
            "purge_audit_trail",
            "stop_audit",
        ],
        &["audit", "audit_log", "audit_enabled"],
        &["audit_report", "stop_loss_audit", "request_audit"],
    );
}

#[test]
fn rule_13_user_override_allowed() {
    check(
        13,
        vec![
            (
                "override_user",
                system("override_user", Change::OverrideUser),
                neutral(),
                Violation,
            ),
            (
                "another system change",
                system("update_ethics", Change::UpdateEthics),
                neutral(),
                Pass,
            ),
        ],
    );
    check_guard(
        13,
        &[
            "disable_user_override",
            "ignoreUserOverride",
            "BYPASS-USER-OVERRIDE",
            "bypassuseroverride",
            "user_override_disabled",
            "Override.User",
        ],
        &["user_override", "user_override_allowed", "allowUserOverride"],
        &["user_override_received", "record_user_override", "override_price"],
    );
}

#[test]
fn rule_14_emergency_halt_enabled() {
    let halted = || facts(|f| f.halt_active = true);
    check(
        14,
        vec![
            ("no halt", trade(|_| {}), neutral(), Pass),
            (
                "clear_halt",
                system("clear_halt", Change::ClearHalt),
                neutral(),
                Violation,
            ),
            (
                "clear_halt during a halt",
                system("clear_halt", Change::ClearHalt),
                halted(),
                Violation,
            ),
            ("a trade", trade(|_| {}), halted(), Violation),
            ("closing", close(), halted(), Violation),
            ("a message", message("log"), halted(), Violation),
            ("writing", file(FileVerb::Write, "a"), halted(), Violation),
            ("reading", file(FileVerb::Read, "a"), halted(), Pass),
            ("halting", custom("halt", "{}"), halted(), Pass),
            ("halting, long form", custom("emergency_halt", "{}"), halted(), Pass),
            ("halting in another spelling", custom("Halt", "{}"), halted(), Violation),
            (
                "halting with an attempt inside",
                custom("halt", r#"{"clear_halt":true}"#),
                halted(),
                Violation,
            ),
            (
                "reading with an attempt inside",
                with_open(file(FileVerb::Read, "a"), r#"{"ignore_halt":true}"#),
                halted(),
                Violation,
            ),
            (
                "another custom kind",
                custom("read_something", "{}"),
                halted(),
                Violation,
            ),
            (
                "an approval does not help",
                trade(|_| {}),
                facts(|f| (f.halt_active, f.approval) = (true, Approval::Human)),
                Violation,
            ),
            (
                "a claim",
                with_open(trade(|_| {}), r#"{"halt_cleared":true}"#),
                halted(),
                Violation,
            ),
        ],
    );
    check_guard(
        14,
        &[
            "clearHalt",
            "lift-emergency-halt",
            "ignore_halt",
            "resume",
            "disableEmergencyHalt",
            "cancel_the_halt",
        ],
        &["emergency_halt_enabled", "haltEnabled"],
        &["halt_requested", "clear_asphalt", "resume_upload"],
    );
}

#[test]
fn rule_15_protect_user_data() {
    let to = |destination: &str| {
        let destination = destination.to_owned();
        data(move |d| (d.contains_personal_data, d.destination) = (true, Some(destination)))
    };
    let with = |encryption, anonymized| {
        data(move |d| {
            (d.contains_personal_data, d.destination, d.encryption, d.anonymized) =
                (true, Some("x".to_owned()), encryption, anonymized);
        })
    };
    let found = || facts(|f| f.personal_data = text(&["email"]));
    check(
        15,
        vec![
            ("inside", to("internal"), neutral(), Pass),
            ("nowhere", data(|d| d.contains_personal_data = true), neutral(), Pass),
            ("outside", to("broker-x"), neutral(), Violation),
            ("encrypted", with(true, false), neutral(), Pass),
            ("anonymised", with(false, true), neutral(), Pass),
            ("no name is not inside", to(""), neutral(), Violation),
            ("nearly internal", to(" Internal"), neutral(), Violation),
            (
                "outside, not declared but found",
                data(|d| d.destination = Some("x".to_owned())),
                found(),
                Violation,
            ),
            (
                "outside, nothing personal",
                data(|d| d.destination = Some("x".to_owned())),
                neutral(),
                NotApplicable,
            ),
            (
                "external without a destination",
                but(data(|d| d.contains_personal_data = true), |a| a.external = Some(true)),
                neutral(),
                Violation,
            ),
            (
                "calling a receiver internal by the flag",
                but(to("broker-x"), |a| a.external = Some(false)),
                neutral(),
                Violation,
            ),
            (
                "consent does not help",
                to("broker-x"),
                facts(|f| f.consent = Consent::Granted),
                Violation,
            ),
            ("no data action", message("message"), found(), NotApplicable),
        ],
    );
}

#[test]
fn rule_16_require_consent() {
    let personal = || data(|d| d.contains_personal_data = true);
    let by = |consent| facts(|f| f.consent = consent);
    check(
        16,
        vec![
            ("granted", personal(), by(Consent::Granted), Pass),
            ("unknown", personal(), by(Consent::Unknown), Violation),
            ("refused", personal(), by(Consent::Refused), Violation),
            (
                "not declared but found",
                data(|_| {}),
                facts(|f| f.personal_data = text(&["phone"])),
                Violation,
            ),
            ("nothing personal", data(|_| {}), by(Consent::Refused), NotApplicable),
            (
                "refused, as the proposer says",
                data(|d| d.user_consent = Some(false)),
                by(Consent::Granted),
                Violation,
            ),
            (
                "granted, as the proposer says",
                data(|d| (d.contains_personal_data, d.user_consent) = (true, Some(true))),
                neutral(),
                Violation,
            ),
            (
                "a claim",
                with_open(personal(), r#"{"consent_granted":true}"#),
                neutral(),
                Violation,
            ),
            ("no data action", trade(|_| {}), by(Consent::Refused), NotApplicable),
        ],
    );
}

#[test]
fn rule_17_anonymize_logs() {
    let found = || facts(|f| f.personal_data = text(&["email", "phone"]));
    let mut lines: Vec<Line> = vec![
        ("nothing found", message("message"), neutral(), Pass),
        ("a trade", trade(|_| {}), found(), NotApplicable),
    ];
    lines.extend(["message", "publish", "report", "log"].map(|name| (name, message(name), found(), Violation)));
    lines.push((
        "a claim",
        with_open(message("log"), r#"{"anonymized":true}"#),
        found(),
        Violation,
    ));
    check(17, lines);
}

#[test]
fn rule_18_encrypt_credentials() {
    let delicate =
        |sensitivity, encryption| data(move |d| (d.data_sensitivity, d.encryption) = (Some(sensitivity), encryption));
    let found = || facts(|f| f.credentials = text(&["jwt"]));
    check(
        18,
        vec![
            (
                "high, in clear",
                delicate(Sensitivity::High, false),
                neutral(),
                Violation,
            ),
            ("high, encrypted", delicate(Sensitivity::High, true), neutral(), Pass),
            (
                "medium, in clear",
                delicate(Sensitivity::Medium, false),
                neutral(),
                Pass,
            ),
            ("not said", data(|_| {}), neutral(), Pass),
            (
                "a credential in encrypted data",
                delicate(Sensitivity::High, true),
                found(),
                Violation,
            ),
            ("a credential in a trade", trade(|_| {}), found(), Violation),
            ("a credential in a message", message("message"), found(), Violation),
            ("none", code("1"), neutral(), Pass),
        ],
    );
}

#[test]
fn rule_19_immutable_graveyard() {
    let mut lines: Vec<Line> = vec![
        (
            "modify_graveyard",
            system("modify_graveyard", Change::ModifyGraveyard),
            neutral(),
            Violation,
        ),
        (
            "update_ethics",
            system("update_ethics", Change::UpdateEthics),
            neutral(),
            Violation,
        ),
        (
            "change_rules",
            system("change_rules", Change::ChangeRules),
            neutral(),
            Violation,
        ),
        (
            "another system change",
            system("clear_halt", Change::ClearHalt),
            neutral(),
            Pass,
        ),
        (
            "the pin is broken",
            file(FileVerb::Read, "a"),
            facts(|f| f.pin_holds = false),
            Violation,
        ),
        (
            "reading it",
            file(FileVerb::Read, "policies/graveyard.wasm"),
            neutral(),
            Pass,
        ),
        (
            "a file that only ends so",
            file(FileVerb::Write, "notes/my-graveyard.txt"),
            neutral(),
            Pass,
        ),
        (
            "code about the lock",
            code("open('GRAVEYARD.LOCK')"),
            neutral(),
            Violation,
        ),
        (
            "code that ends with it",
            code("rm graveyard.wasm"),
            neutral(),
            Violation,
        ),
        ("code about graveyards", code("print('graveyard')"), neutral(), Pass),
        ("no code", code(""), neutral(), Pass),
        (
            "a custom kind with its path",
            custom("write_file", r#"{"path":"policies/Graveyard.wasm","data":""}"#),
            neutral(),
            Violation,
        ),
        (
            "a message that speaks of it",
            with_open(message("message"), r#"{"see":"policies/graveyard.wasm"}"#),
            neutral(),
            Pass,
        ),
        (
            "an approval does not help",
            system("change_rules", Change::ChangeRules),
            facts(|f| f.approval = Approval::Human),
            Violation,
        ),
    ];
    for verb in [FileVerb::Write, FileVerb::Delete, FileVerb::Remove, FileVerb::Destroy] {
        for path in [
            "policies/graveyard.wasm",
            "graveyard",
            "/srv/ark/GraveYard/x",
            "policies\\graveyard.lock",
            "a/ graveyard.wasm",
        ] {
            lines.push(("a file of it", file(verb, path), neutral(), Violation));
        }
    }
    check(19, lines);
    check_guard(
        19,
        &[
            "update_graveyard",
            "patchGraveyard",
            "modify-ethics",
            "bypass_graveyard",
            "disable_ethics",
            "modify_rules",
        ],
        &["graveyard_enabled", "enforce_rules"],
        &["graveyard_report", "check_ethics", "list_rules"],
    );
}

#[test]
fn rule_20_watchdog_monitoring() {
    let dead = || facts(|f| f.watchdog_beating = false);
    check(
        20,
        vec![
            (
                "disable_watchdog",
                system("disable_watchdog", Change::DisableWatchdog),
                neutral(),
                Violation,
            ),
            (
                "another system change",
                system("clear_halt", Change::ClearHalt),
                neutral(),
                Pass,
            ),
            ("no beat", message("log"), dead(), Violation),
            ("no beat, reading", file(FileVerb::Read, "a"), dead(), Violation),
            (
                "a claim",
                with_open(trade(|_| {}), r#"{"watchdog_ok":true}"#),
                dead(),
                Violation,
            ),
        ],
    );
    check_guard(
        20,
        &[
            "disableWatchdog",
            "stop-watchdog",
            "kill_the_watchdog",
            "watchdog_off",
            "bypassWatchdog",
        ],
        &["watchdog", "watchdog_enabled"],
        &["watchdog_report", "notify_watchdog"],
    );
}

#[test]
fn rule_21_validate_data_sources() {
    let sourced = || but(trade(|_| {}), |a| a.sources = text(&["feed", "rumour"]));
    check(
        21,
        vec![
            ("all validated", sourced(), neutral(), Pass),
            (
                "one is not",
                sourced(),
                facts(|f| f.unvalidated_sources = text(&["rumour"])),
                Warn,
            ),
            ("none named", trade(|_| {}), neutral(), NotApplicable),
            (
                "the fact counts, whatever is named",
                trade(|_| {}),
                facts(|f| f.unvalidated_sources = text(&["rumour"])),
                Warn,
            ),
        ],
    );
}

#[test]
fn rule_22_prevent_infinite_loops() {
    let at = |depth, identical| facts(|f| (f.causal_depth, f.identical_actions) = (depth, identical));
    let lines = |expected: RuleResult, places: &[(u32, u32)]| {
        check(
            22,
            places
                .iter()
                .map(|&(depth, identical)| ("depth and count", message("message"), at(depth, identical), expected))
                .collect(),
        );
    };
    lines(Pass, &[(0, 0), (16, 0), (0, 9), (16, 9)]);
    lines(Violation, &[(17, 0), (0, 10), (17, 10), (u32::MAX, 0), (0, u32::MAX)]);
    for (depth, identical, nearest) in [
        (17, 0, Some(16.0)),
        (0, 10, Some(10.0)),
        (17, 10, None),
        (3, 0, Some(3.0)),
    ] {
        assert_eq!(
            answer(22, &message("message"), &at(depth, identical)).nearest_passing,
            nearest,
            "{depth} {identical}"
        );
    }
}

#[test]
fn rule_23_preserve_user_autonomy() {
    let veto = || facts(|f| (f.veto, f.approval) = (Some("nothing in BTC-USD".to_owned()), Approval::Human));
    check(
        23,
        vec![
            ("no veto", trade(|_| {}), neutral(), Pass),
            ("a veto", trade(|_| {}), veto(), Violation),
            ("a veto on closing", close(), veto(), Violation),
            (
                "a veto without words",
                message("log"),
                facts(|f| f.veto = Some(String::new())),
                Violation,
            ),
        ],
    );
}

#[test]
fn rule_24_transparent_reasoning() {
    let because = |reasoning: Option<&str>| {
        let reasoning = reasoning.map(str::to_owned);
        but(trade(|_| {}), move |a| a.reasoning = reasoning)
    };
    let mut lines: Vec<Line> = ["trend", "x", "傾向"]
        .map(|r| ("a reason", because(Some(r)), neutral(), Pass))
        .into();
    lines.extend(["", "  \n", "...", "\u{200b}\u{feff}"].map(|r| ("none", because(Some(r)), neutral(), Warn)));
    lines.push(("absent", because(None), neutral(), Warn));
    check(24, lines);
}

#[test]
fn rule_25_reversible_actions() {
    let undoable = |reversible, plan: Option<&str>| {
        let plan = plan.map(str::to_owned);
        but(message("message"), move |a| {
            (a.reversible, a.rollback_plan) = (reversible, plan)
        })
    };
    check(
        25,
        vec![
            ("reversible", undoable(true, None), neutral(), Pass),
            ("irreversible", undoable(false, None), neutral(), Warn),
            (
                "with a plan",
                undoable(false, Some("send a correction")),
                neutral(),
                Pass,
            ),
            ("with a blank plan", undoable(false, Some(" - ")), neutral(), Warn),
        ],
    );
}

#[test]
fn rule_26_human_in_loop_critical() {
    let by = |approval| facts(|f| f.approval = approval);
    let graded = |criticality| but(message("message"), move |a| a.criticality = criticality);
    let fixed = |action| but(action, |a| a.reversible = false);
    let sent = |destination: &str| {
        let destination = destination.to_owned();
        fixed(data(move |d| d.destination = Some(destination)))
    };
    check(
        26,
        vec![
            (
                "high is not critical",
                graded(Criticality::High),
                neutral(),
                NotApplicable,
            ),
            ("critical", graded(Criticality::Critical), neutral(), Hold),
            (
                "critical, operator",
                graded(Criticality::Critical),
                by(Approval::Operator),
                Hold,
            ),
            (
                "critical, human",
                graded(Criticality::Critical),
                by(Approval::Human),
                Pass,
            ),
            ("reversible and external", trade(|_| {}), neutral(), NotApplicable),
            ("irreversible trade", fixed(trade(|_| {})), by(Approval::Operator), Hold),
            ("irreversible closing", fixed(close()), neutral(), Hold),
            ("irreversible code", fixed(code("1")), neutral(), Hold),
            (
                "irreversible writing",
                fixed(file(FileVerb::Write, "a")),
                neutral(),
                Hold,
            ),
            (
                "irreversible reading",
                fixed(file(FileVerb::Read, "a")),
                neutral(),
                NotApplicable,
            ),
            ("irreversible custom", fixed(custom("rebalance", "{}")), neutral(), Hold),
            ("irreversible, to somebody", sent("broker-x"), neutral(), Hold),
            ("irreversible, to nobody", sent("internal"), neutral(), NotApplicable),
            (
                "irreversible message",
                fixed(message("message")),
                neutral(),
                NotApplicable,
            ),
            (
                "irreversible message, external",
                but(fixed(message("message")), |a| a.external = Some(true)),
                neutral(),
                Hold,
            ),
            (
                "a rollback plan does not help",
                but(fixed(trade(|_| {})), |a| a.rollback_plan = Some("sell".to_owned())),
                neutral(),
                Hold,
            ),
            (
                "a claim",
                with_open(graded(Criticality::Critical), r#"{"human_approved":true}"#),
                neutral(),
                Hold,
            ),
        ],
    );
}

#[test]
fn claims_are_ignored_and_warned_of() {
    let claims = r#"{"hrm_approved":true,"humanApproved":1,"APPROVAL":"human","nested":[{"consent-granted":"yes"}],"override":{}}"#;
    let warnings = judge(&with_open(trade(|_| {}), claims), &neutral()).warnings;
    for claim in [
        "hrm_approved",
        "human_approved",
        "approval",
        "consent_granted",
        "override",
    ] {
        assert_eq!(
            warnings.iter().filter(|w| w.contains(&format!("`{claim}`"))).count(),
            1,
            "{claim}: {warnings:?}"
        );
    }
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    // Asserting nothing, or something else, is no claim.
    for quiet in [
        "{}",
        r#"{"hrm_approved":false,"approval":"none","approved":null}"#,
        r#"{"note":"approved by the board"}"#,
    ] {
        assert_eq!(
            judge(&with_open(trade(|_| {}), quiet), &neutral()).warnings,
            Vec::<String>::new(),
            "{quiet}"
        );
    }
    let consent = judge(&data(|d| d.user_consent = Some(true)), &neutral()).warnings;
    assert!(
        matches!(consent.as_slice(), [warning] if warning.contains("`user_consent: true`")),
        "{consent:?}"
    );
    let custom = judge(&custom("rebalance", claims), &neutral()).warnings;
    assert_eq!(custom.len(), 5, "{custom:?}");
}

#[test]
fn every_rule_answers_every_time_in_order() {
    use ark_graveyard::Graveyard;
    use ark_guest::policy::{Policy, Severity, Value};

    let metadata = Graveyard::metadata();
    assert_eq!(
        (metadata.name.as_str(), metadata.version.as_str()),
        ("graveyard", "1.0.0")
    );
    let numbers: Vec<u16> = metadata.rules.iter().map(|rule| rule.number).collect();
    assert_eq!(numbers, (1..=26).collect::<Vec<u16>>());

    let broken = facts(|f| {
        (f.halt_active, f.audit_writable, f.pin_holds, f.watchdog_beating) = (true, false, false, false);
        (
            f.symbol_restricted,
            f.client_order_pending,
            f.symbol_exposure,
            f.daily_loss,
        ) = (true, true, 1.0, 1.0);
        (f.opposite_trade_age, f.promotion_age, f.open_positions) = (Some(0.0), Some(0.0), 99);
        (f.personal_data, f.credentials) = (text(&["email"]), text(&["jwt"]));
        (f.causal_depth, f.identical_actions, f.veto) = (99, 99, Some("no".to_owned()));
        f.unvalidated_sources = text(&["rumour"]);
    });
    let unnumbered = facts(|f| {
        (f.symbol_exposure, f.daily_loss) = (f64::NAN, f64::NAN);
        (f.opposite_trade_age, f.promotion_age) = (Some(f64::NAN), Some(f64::NAN));
    });
    let actions = [
        trade(|_| {}),
        sale(|t| (t.position_size_pct, t.leverage, t.stop_loss) = (f64::NAN, f64::NAN, Some(f64::NAN))),
        close(),
        data(|d| d.contains_personal_data = true),
        file(FileVerb::Destroy, "graveyard.wasm"),
        code("graveyard.wasm"),
        message("log"),
        system("change_rules", Change::ChangeRules),
        custom("rebalance", "{"),
        action(
            "rebalance",
            Parameters::Message(match message("log").parameters {
                Parameters::Message(m) => m,
                _ => unreachable!(),
            }),
        ),
    ];
    for action in &actions {
        for facts in [&neutral(), &broken, &unnumbered] {
            let verdict = judge(action, facts);
            assert_eq!(
                verdict.answers.iter().map(|answer| answer.rule).collect::<Vec<_>>(),
                numbers
            );
            assert!((0.0..=1.0).contains(&verdict.compliance_score));
            for (rule, answer) in metadata.rules.iter().zip(&verdict.answers) {
                let low = rule.severity == Severity::Low;
                let fits = match answer.answer {
                    Pass | NotApplicable | Error => true,
                    Warn => low || rule.number == 9,
                    Violation => !low && !rule.hold,
                    Hold => rule.hold,
                };
                assert!(fits, "{}: {answer:?}", rule.name);
                if answer.answer == NotApplicable {
                    assert_eq!(
                        (&answer.observed, &answer.limit, answer.nearest_passing),
                        (&Value::None, &Value::None, None)
                    );
                } else if answer.answer == Error {
                    assert!(
                        matches!(&answer.observed, Value::Text(why) if !why.is_empty()),
                        "{}: {answer:?}",
                        rule.name
                    );
                } else {
                    assert_ne!(answer.limit, Value::None, "{}: {answer:?}", rule.name);
                }
            }
            assert_eq!(
                format!("{verdict:?}"),
                format!("{:?}", judge(action, facts)),
                "the same question, the same answer"
            );
        }
    }
    // A quiet trade is left alone by all of them.
    let verdict = judge(&trade(|_| {}), &neutral());
    assert!(
        verdict
            .answers
            .iter()
            .all(|answer| matches!(answer.answer, Pass | NotApplicable)),
        "{verdict:?}"
    );
    assert!((verdict.compliance_score - 1.0).abs() < f64::EPSILON);
    // One violation among the rules that applied.
    let verdict = judge(&trade(|t| t.leverage = 1.4), &facts(|f| f.veto = Some("no".to_owned())));
    let checked = verdict
        .answers
        .iter()
        .filter(|answer| answer.answer != NotApplicable)
        .count();
    let checked = f64::from(u32::try_from(checked).expect("26 at most"));
    assert!((verdict.compliance_score - (1.0 - 1.0 / checked)).abs() < 1e-12);
}
