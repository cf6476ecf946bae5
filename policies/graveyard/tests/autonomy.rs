//! Rules 23 to 26 against a table each: fires, does not fire, the exact limit, just past it, and hostile forms.

mod cases;

use ark_guest::policy::RuleResult::{Hold, NotApplicable, Pass, Violation, Warn};
use ark_guest::policy::{Approval, Criticality, FileVerb};
use cases::{
    Line, but, check, close, code, custom, data, facts, file, message, neutral, trade, with_open,
};

#[test]
fn rule_23_preserve_user_autonomy() {
    let veto = || {
        facts(|f| (f.veto, f.approval) = (Some("nothing in BTC-USD".to_owned()), Approval::Human))
    };
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
    let mut lines: Vec<Line> = ["trend", "x", "傾向", "हिन्दी", "\u{3164}7"]
        .map(|r| ("a reason", because(Some(r)), neutral(), Pass))
        .into();
    lines.extend(
        [
            "",
            "  \n",
            "...",
            "\u{200b}\u{feff}",
            "\u{115f}\u{1160}",
            "\u{3164}",
            "\u{ffa0}\u{2060}",
            "\u{301}\u{94d}\u{93e}",
            "\u{2800}\u{2800}",
            "\u{e0061}\u{e0062}",
        ]
        .map(|r| ("none", because(Some(r)), neutral(), Warn)),
    );
    lines.push(("absent", because(None), neutral(), Warn));
    check(24, lines);
}

#[test]
fn rule_25_reversible_actions() {
    let undoable = |reversible, plan: Option<&str>| {
        let plan = plan.map(str::to_owned);
        but(message("message"), move |a| {
            (a.reversible, a.rollback_plan) = (reversible, plan);
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
            (
                "with a blank plan",
                undoable(false, Some(" - ")),
                neutral(),
                Warn,
            ),
            (
                "with a plan that nobody can see",
                undoable(false, Some("\u{3164}\u{200d}\u{2800}")),
                neutral(),
                Warn,
            ),
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
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
            (
                "reversible and external",
                trade(|_| {}),
                neutral(),
                NotApplicable,
            ),
            (
                "irreversible trade",
                fixed(trade(|_| {})),
                by(Approval::Operator),
                Hold,
            ),
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
            (
                "irreversible custom",
                fixed(custom("rebalance", "{}")),
                neutral(),
                Hold,
            ),
            (
                "irreversible, to somebody",
                sent("broker-x"),
                neutral(),
                Hold,
            ),
            (
                "irreversible, to nobody",
                sent("internal"),
                neutral(),
                NotApplicable,
            ),
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
                but(fixed(trade(|_| {})), |a| {
                    a.rollback_plan = Some("sell".to_owned());
                }),
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
