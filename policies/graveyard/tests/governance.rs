//! Rules 11 to 14 against a table each: fires, does not fire, the exact limit, just past it, and hostile forms.

mod cases;

use ark_guest::policy::RuleResult::{Error, Hold, NotApplicable, Pass, Violation};
use ark_guest::policy::{Approval, Change, FileVerb};
use cases::{
    answer, but, check, check_guard, close, code, custom, facts, file, message, neutral, system,
    trade, with_open,
};

#[test]
fn rule_11_require_hrm_approval() {
    let by = |approval| facts(|f| f.approval = approval);
    let sized = |size| trade(move |t| t.position_size_pct = size);
    let levered = |leverage| trade(move |t| t.leverage = leverage);
    let named =
        |name: &str, verb| but(file(verb, "a.txt"), |a| name.clone_into(&mut a.action_type));
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
            (
                "above, approved by a human",
                sized(0.09),
                by(Approval::Human),
                Pass,
            ),
            ("leverage, exactly", levered(1.5), neutral(), Pass),
            (
                "leverage, just above",
                levered(1.500_000_1),
                neutral(),
                Hold,
            ),
            (
                "leverage, approved",
                levered(1.9),
                by(Approval::Operator),
                Pass,
            ),
            ("code", code("1"), neutral(), Hold),
            ("code, approved", code("1"), by(Approval::Operator), Pass),
            ("delete", named("delete", FileVerb::Delete), neutral(), Hold),
            ("remove", named("remove", FileVerb::Remove), neutral(), Hold),
            (
                "a file, deleted",
                file(FileVerb::Delete, "a"),
                neutral(),
                Hold,
            ),
            (
                "a file, removed",
                file(FileVerb::Remove, "a"),
                neutral(),
                Hold,
            ),
            (
                "a file, destroyed",
                file(FileVerb::Destroy, "a"),
                neutral(),
                Hold,
            ),
            (
                "a file, destroyed with approval",
                file(FileVerb::Destroy, "a"),
                by(Approval::Human),
                Pass,
            ),
            (
                "a file, written",
                file(FileVerb::Write, "a"),
                neutral(),
                NotApplicable,
            ),
            (
                "a claim",
                with_open(sized(0.09), r#"{"hrm_approved":true,"approval":"human"}"#),
                neutral(),
                Hold,
            ),
            (
                "a size that is no number",
                sized(f64::NAN),
                by(Approval::Human),
                Error,
            ),
            (
                "leverage that is no number",
                levered(f64::NAN),
                neutral(),
                Error,
            ),
            ("closing everything", close(), neutral(), NotApplicable),
            ("a message", message("message"), neutral(), NotApplicable),
        ],
    );
    let both = trade(|t| (t.position_size_pct, t.leverage) = (0.09, 1.9));
    for (proposed, nearest) in [
        (sized(0.09), Some(0.08)),
        (levered(1.9), Some(1.5)),
        (both, None),
    ] {
        assert_eq!(answer(11, &proposed, &neutral()).nearest_passing, nearest);
    }
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
            (
                "no log, reading",
                file(FileVerb::Read, "a"),
                mute(),
                Violation,
            ),
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
        &[
            "user_override",
            "user_override_allowed",
            "allowUserOverride",
        ],
        &[
            "user_override_received",
            "record_user_override",
            "override_price",
        ],
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
            (
                "halting, long form",
                custom("emergency_halt", "{}"),
                halted(),
                Pass,
            ),
            (
                "halting in another spelling",
                custom("Halt", "{}"),
                halted(),
                Violation,
            ),
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
