//! Rules 19 to 22 against a table each: fires, does not fire, the exact limit, just past it, and hostile forms.

mod cases;

use ark_guest::policy::RuleResult::{NotApplicable, Pass, Violation, Warn};
use ark_guest::policy::{Approval, Change, FileVerb, RuleResult};
use cases::{
    Line, answer, but, check, check_guard, code, custom, facts, file, message, neutral, system,
    text, trade, with_open,
};

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
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
        (
            "code about graveyards",
            code("print('graveyard')"),
            neutral(),
            Pass,
        ),
        ("no code", code(""), neutral(), Pass),
        (
            "a custom kind with its path",
            custom(
                "write_file",
                r#"{"path":"policies/Graveyard.wasm","data":""}"#,
            ),
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
    for verb in [
        FileVerb::Write,
        FileVerb::Delete,
        FileVerb::Remove,
        FileVerb::Destroy,
    ] {
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
}

#[test]
fn rule_19_immutable_graveyard_by_name() {
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
            (
                "no beat, reading",
                file(FileVerb::Read, "a"),
                dead(),
                Violation,
            ),
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
    let at =
        |depth, identical| facts(|f| (f.causal_depth, f.identical_actions) = (depth, identical));
    let lines = |expected: RuleResult, places: &[(u32, u32)]| {
        check(
            22,
            places
                .iter()
                .map(|&(depth, identical)| {
                    (
                        "depth and count",
                        message("message"),
                        at(depth, identical),
                        expected,
                    )
                })
                .collect(),
        );
    };
    lines(Pass, &[(0, 0), (16, 0), (0, 9), (16, 9)]);
    lines(
        Violation,
        &[(17, 0), (0, 10), (17, 10), (u32::MAX, 0), (0, u32::MAX)],
    );
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
