//! The table that the rules over a guard of the system share.

use ark_guest::policy::RuleResult::{Error, Pass, Violation};
use ark_guest::policy::{Change, DataOperation, FileVerb};

use super::{
    action, but, check, close, code, custom, data, file, message, neutral, sale, system, trade,
    with_open,
};

/// A rule over a fact about a guard, the name of an attempt on it, and what only resembles one.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn check_guard(rule: u16, attempts: &[&str], off: &[&str], harmless: &[&str]) {
    for kind in attempts {
        let keyed = |value: &str| format!("{{\"note\":1,\"{kind}\":{value}}}");
        check(
            rule,
            vec![
                (kind, custom(kind, "{}"), neutral(), Violation),
                // No operator declares a type with the name of a system change.
                (
                    kind,
                    but(message("message"), |a| {
                        (*kind).clone_into(&mut a.action_type);
                    }),
                    neutral(),
                    if names_a_system_change(kind) {
                        Error
                    } else {
                        Violation
                    },
                ),
                (
                    kind,
                    with_open(trade(|_| {}), &keyed("true")),
                    neutral(),
                    Violation,
                ),
                (
                    kind,
                    with_open(message("message"), &keyed("1")),
                    neutral(),
                    Violation,
                ),
                (
                    kind,
                    with_open(close(), &keyed("\"yes\"")),
                    neutral(),
                    Violation,
                ),
                (
                    kind,
                    custom("rebalance", &keyed("{}")),
                    neutral(),
                    Violation,
                ),
                (
                    kind,
                    custom("rebalance", &format!("{{\"do\":[{{\"it\":\"{kind}\"}}]}}")),
                    neutral(),
                    Violation,
                ),
                (
                    kind,
                    custom(
                        "rebalance",
                        &format!("{{\"a\":{{\"b\":[{}]}}}}", keyed("true")),
                    ),
                    neutral(),
                    Violation,
                ),
                // The first of two equal keys counts as much as the last.
                (
                    kind,
                    custom(
                        "rebalance",
                        &format!("{{\"{kind}\":true,\"{kind}\":false}}"),
                    ),
                    neutral(),
                    Violation,
                ),
                (
                    kind,
                    with_open(data(|_| {}), &keyed("false")),
                    neutral(),
                    Pass,
                ),
                (
                    kind,
                    with_open(code("1"), &keyed("\"off\"")),
                    neutral(),
                    Pass,
                ),
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
    check_unreadable(rule);
}

fn names_a_system_change(kind: &str) -> bool {
    let letters: String = kind.chars().filter(|c| c.is_alphanumeric()).collect();
    [
        "modifygraveyard",
        "updateethics",
        "changerules",
        "disablewatchdog",
        "disableaudit",
        "clearhalt",
        "overrideuser",
    ]
    .contains(&letters.to_lowercase().as_str())
}

/// What the rule cannot judge: open parameters that are no JSON object, and an action that is not what its type says.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn check_unreadable(rule: u16) {
    for unreadable in [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{} {}",
        "{\"a\":1e999}",
        &format!("{{\"{}\":1}}", "k".repeat(129)),
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
                but(custom("rebalance", "{}"), |a| {
                    "tidy".clone_into(&mut a.action_type);
                }),
                neutral(),
                Error,
            ),
            (
                "a custom kind that imitates code",
                custom("Execute-Code", "{}"),
                neutral(),
                Error,
            ),
            (
                "a custom kind with a known name",
                custom("buy", "{}"),
                neutral(),
                Error,
            ),
            (
                "a deletion that says it reads",
                but(file(FileVerb::Read, "a"), |a| {
                    "delete".clone_into(&mut a.action_type);
                }),
                neutral(),
                Error,
            ),
            (
                "sharing that says it stores",
                but(data(|d| d.operation = DataOperation::Share), |a| {
                    "store_data".clone_into(&mut a.action_type);
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
            (
                "a system change under a name that an operator could declare",
                system("tidy_up", Change::ClearHalt),
                neutral(),
                Error,
            ),
        ],
    );
    for (name, expected) in [
        ("place_order", Pass),
        ("rebalance", Pass),
        ("Trade", Error),
        ("execute-code", Error),
        ("closePosition", Error),
        ("modify_graveyard", Error),
        ("Disable-Audit", Error),
        ("___", Error),
        ("", Error),
    ] {
        for action in [
            trade(|_| {}),
            close(),
            data(|_| {}),
            file(FileVerb::Read, "a"),
            code("1"),
            message("message"),
        ] {
            let named = but(action, |a| name.clone_into(&mut a.action_type));
            check(
                rule,
                vec![(
                    "typed parameters under another name",
                    named,
                    neutral(),
                    expected,
                )],
            );
        }
    }
}
