//! Rules 5 to 10 against a table each: fires, does not fire, the exact limit, just past it, and hostile forms.

mod cases;

use ark_guest::policy::RuleResult::{Error, NotApplicable, Pass, Violation, Warn};
use cases::{Line, NOT_NUMBERS, answer, check, close, code, facts, message, neutral, sale, trade};

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
        (
            "a sum past the limit",
            sized(0.05),
            held(0.050_000_01),
            Violation,
        ),
        ("closing", close(), held(0.5), NotApplicable),
        ("no trade", code("1"), held(0.5), NotApplicable),
        ("out of range", sized(1.000_1), neutral(), Error),
        ("negative", sized(-0.01), neutral(), Error),
        (
            "a negative size cannot make room",
            sized(-0.01),
            held(0.105),
            Error,
        ),
        (
            "exposure that is no number",
            sized(0.01),
            held(f64::NAN),
            Error,
        ),
        ("negative exposure", sized(0.2), held(-0.15), Error),
    ];
    lines.extend(NOT_NUMBERS.map(|n| ("not a number", sized(n), neutral(), Error)));
    check(5, lines);
    // Sums that meet the limit in decimals pass, whatever binary makes of them.
    for hundredths in 0..=100_u32 {
        let (size, exposure) = (
            f64::from(hundredths) / 1000.0,
            f64::from(100 - hundredths) / 1000.0,
        );
        check(5, vec![("a sum of 0.1", sized(size), held(exposure), Pass)]);
    }
    // Three slices, as a ledger adds them up.
    check(
        5,
        vec![
            ("the last slice", sized(0.04), held(0.03 + 0.03), Pass),
            (
                "one more",
                sized(0.000_001),
                held(0.03 + 0.03 + 0.04),
                Violation,
            ),
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
                assert!(
                    (is - should).abs() < 1e-12,
                    "{size} beside {exposure}: {is}"
                );
                check(
                    5,
                    vec![(
                        "the nearest passing value passes",
                        sized(is),
                        held(exposure),
                        Pass,
                    )],
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
        (
            "the next number",
            levered(2.0_f64.next_up()),
            neutral(),
            Violation,
        ),
        ("none at all", levered(0.0), neutral(), Error),
        ("negative", levered(-3.0), neutral(), Error),
        ("closing", close(), neutral(), NotApplicable),
    ];
    lines.extend(NOT_NUMBERS.map(|n| ("not a number", levered(n), neutral(), Error)));
    check(7, lines);
    assert_eq!(
        answer(7, &levered(3.0), &neutral()).nearest_passing,
        Some(2.0)
    );
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
            (
                "a hair below",
                stop(Some(100.0_f64.next_down())),
                neutral(),
                Pass,
            ),
            ("at the entry", stop(Some(100.0)), neutral(), Violation),
            ("above", stop(Some(105.0)), neutral(), Violation),
            ("none", stop(None), neutral(), Violation),
            ("zero", stop(Some(0.0)), neutral(), Violation),
            ("minus zero", stop(Some(-0.0)), neutral(), Violation),
            ("negative", stop(Some(-5.0)), neutral(), Violation),
            ("a sale's, above", sale_stop(Some(105.0)), neutral(), Pass),
            (
                "a sale's, at the entry",
                sale_stop(Some(100.0)),
                neutral(),
                Violation,
            ),
            (
                "a sale's, below",
                sale_stop(Some(95.0)),
                neutral(),
                Violation,
            ),
            ("no entry price", blind(Some(95.0)), neutral(), Error),
            (
                "no entry price, a stop far above any",
                blind(Some(1e9)),
                neutral(),
                Error,
            ),
            (
                "no entry price, a sale",
                sale(|t| (t.entry_price, t.stop_loss) = (None, Some(0.01))),
                neutral(),
                Error,
            ),
            ("no entry price, no stop", blind(None), neutral(), Violation),
            (
                "no entry price and zero",
                blind(Some(0.0)),
                neutral(),
                Violation,
            ),
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
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn rule_9_min_risk_reward() {
    let prices =
        |stop, target| trade(move |t| (t.stop_loss, t.take_profit) = (Some(stop), Some(target)));
    let stated = |ratio| trade(move |t| (t.take_profit, t.risk_reward_ratio) = (None, Some(ratio)));
    let both = |ratio| {
        trade(move |t| {
            (t.stop_loss, t.take_profit, t.risk_reward_ratio) =
                (Some(90.0), Some(118.0), Some(ratio));
        })
    };
    check(
        9,
        vec![
            ("computed, exactly", prices(90.0, 115.0), neutral(), Pass),
            (
                "computed, just below",
                prices(90.0, 114.999_99),
                neutral(),
                Violation,
            ),
            (
                "computed, 0.3 / 0.2",
                trade(|t| {
                    (t.entry_price, t.stop_loss, t.take_profit) = (Some(1.0), Some(0.8), Some(1.3));
                }),
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
            (
                "stated, just below",
                stated(1.499_999),
                neutral(),
                Violation,
            ),
            ("stated, negative", stated(-2.0), neutral(), Violation),
            (
                "a target without an entry price",
                trade(|t| (t.entry_price, t.risk_reward_ratio) = (None, Some(9.0))),
                neutral(),
                Error,
            ),
            (
                "stated, without prices",
                trade(|t| {
                    (t.entry_price, t.take_profit, t.risk_reward_ratio) = (None, None, Some(2.0));
                }),
                neutral(),
                Pass,
            ),
            (
                "a target without a stop",
                trade(|t| t.stop_loss = None),
                neutral(),
                Warn,
            ),
            (
                "both, the stated one is lower",
                both(1.4),
                neutral(),
                Violation,
            ),
            ("both are enough", both(1.6), neutral(), Pass),
            (
                "a claim does not beat arithmetic",
                trade(|t| (t.take_profit, t.risk_reward_ratio) = (Some(101.0), Some(99.0))),
                neutral(),
                Violation,
            ),
            (
                "a target on the losing side",
                prices(95.0, 90.0),
                neutral(),
                Violation,
            ),
            (
                "a target at the entry",
                prices(95.0, 100.0),
                neutral(),
                Violation,
            ),
            (
                "a sale's target below 0 would be a ratio without bound",
                sale(|t| t.take_profit = Some(-1000.0)),
                neutral(),
                Error,
            ),
            (
                "a wrong stop gives no ratio",
                prices(105.0, 110.0),
                neutral(),
                Warn,
            ),
            (
                "nothing to go by",
                trade(|t| t.take_profit = None),
                neutral(),
                Warn,
            ),
            (
                "the tiniest risk",
                prices(100.0_f64.next_down(), 110.0),
                neutral(),
                Pass,
            ),
            ("stated, not a number", stated(f64::NAN), neutral(), Error),
            ("stated, infinite", stated(f64::INFINITY), neutral(), Error),
            (
                "a target that is no number",
                prices(95.0, f64::NAN),
                neutral(),
                Error,
            ),
            ("closing", close(), neutral(), NotApplicable),
        ],
    );
    assert_eq!(
        answer(9, &stated(1.0), &neutral()).nearest_passing,
        Some(1.5)
    );
}

#[test]
fn a_missing_entry_price_is_named() {
    let blind = trade(|t| (t.entry_price, t.take_profit) = (None, Some(110.0)));
    for rule in [8, 9] {
        let told = format!("{:?}", answer(rule, &blind, &neutral()).observed);
        assert!(
            told.contains("entry_price is missing") && told.contains("state it"),
            "{told}"
        );
    }
}

#[test]
fn leverage_does_not_multiply_the_size() {
    let levered = trade(|t| (t.position_size_pct, t.leverage) = (0.08, 1.5));
    check(
        5,
        vec![
            ("below the limit by itself", levered, neutral(), Pass),
            (
                "a low leverage makes no room",
                trade(|t| (t.position_size_pct, t.leverage) = (0.11, 0.5)),
                neutral(),
                Violation,
            ),
        ],
    );
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
    assert_eq!(
        answer(10, &trade(|_| {}), &open(7)).nearest_passing,
        Some(4.0)
    );
}
