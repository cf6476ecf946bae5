//! What the open parameters carry of a typed family is judged by that family's rules, whatever it is called, spelled or nested in.

mod cases;

use ark_guest::policy::RuleResult::{Error, Hold, NotApplicable, Pass, Violation, Warn};
use ark_guest::policy::{Approval, Criticality, FileVerb, RuleResult};
use cases::{
    answer, but, check, close, code, custom, data, facts, file, judge, message, neutral, sale,
    trade, with_open,
};

/// A custom action with these parameters, and what rules answer about it.
fn check_all(rule: u16, cases: &[(&str, RuleResult)]) {
    for (json, expected) in cases {
        check(
            rule,
            vec![(json, custom("rebalance", json), neutral(), *expected)],
        );
    }
}

#[test]
fn a_leverage_is_found_in_every_form() {
    check_all(
        7,
        &[
            (r#"{"leverage":9}"#, Violation),
            (r#"{"Leverage":9}"#, Violation),
            (r#"{"LEVERAGE":9.0}"#, Violation),
            (r#"{"max-leverage":9}"#, Violation),
            (r#"{"ｌｅｖｅｒａｇｅ":9}"#, Violation),
            (r#"{"levеrage":9}"#, Violation),
            ("{\"lev\u{200b}erage\":9}", Violation),
            (r#"{"l e v e r a g e":9}"#, Violation),
            (r#"{"leverage":"9"}"#, Violation),
            (r#"{"leverage":"9x"}"#, Violation),
            (r#"{"leverage":"1e1"}"#, Violation),
            (r#"{"leverage":1e1}"#, Violation),
            (r#"{"leverage":"900 %"}"#, Violation),
            (r#"{"leverage":"10:1"}"#, Violation),
            (r#"{"leverage":[1,9]}"#, Violation),
            (r#"{"leverage":{"value":9}}"#, Violation),
            (r#"{"order":{"leverage":9}}"#, Violation),
            (
                r#"{"orders":[{"x":1},{"deep":{"leverage":"9"}}]}"#,
                Violation,
            ),
            (r#"{"leverage":1,"leverage":9}"#, Violation),
            (r#"{"leverage":9,"leverage":1}"#, Violation),
            (r#"{"leverage":1,"Leverage":9}"#, Violation),
            (r#"{"leverage":2}"#, Pass),
            (r#"{"leverage":"2x"}"#, Pass),
            (r#"{"leverage":null}"#, NotApplicable),
            (r#"{"leverage":false}"#, NotApplicable),
            (r#"{"leverage":"none"}"#, NotApplicable),
            (r#"{"deleverage_by":3}"#, NotApplicable),
            (r#"{"colour":9}"#, NotApplicable),
            // What names no number cannot be judged.
            (r#"{"leverage":"high"}"#, Error),
            (r#"{"leverage":true}"#, Error),
            (r#"{"leverage":0}"#, Error),
            (r#"{"leverage":-3}"#, Error),
            (r#"{"leverage":"٩"}"#, Error),
            (r#"{"leverage":"inf"}"#, Error),
        ],
    );
    check_all(
        11,
        &[
            (r#"{"leverage":1.6}"#, Hold),
            (r#"{"leverage":1.5}"#, Pass),
            (r#"{"leverage":"high"}"#, Error),
        ],
    );
}

#[test]
fn a_trade_that_states_a_field_of_its_own_in_another_spelling_is_denied() {
    for json in [
        r#"{"Leverage":9}"#,
        r#"{"x":{"LEVERAGE":9}}"#,
        r#"{"leverage":[9]}"#,
    ] {
        let action = with_open(trade(|_| {}), json);
        check(7, vec![(json, action, neutral(), Violation)]);
    }
    check(
        5,
        vec![(
            "sizes are added up",
            with_open(trade(|_| {}), r#"{"plan":{"Position-Size-Pct":0.06}}"#),
            neutral(),
            Violation,
        )],
    );
    // What may be a trade's elsewhere is its own affair here.
    for json in [
        r#"{"quantity":3}"#,
        r#"{"size":7}"#,
        r#"{"stop":1,"house":{"n":1}}"#,
    ] {
        let verdict = judge(&with_open(trade(|_| {}), json), &neutral());
        assert!(
            verdict
                .answers
                .iter()
                .all(|answer| matches!(answer.answer, Pass | NotApplicable)),
            "{json}: {verdict:?}"
        );
    }
    // Of two statements of one field nobody can say which is meant.
    for (action, json) in [
        (trade(|_| {}), r#"{"Side":"sell"}"#),
        (trade(|_| {}), r#"{"SYMBOL":"RES-USD"}"#),
        (trade(|_| {}), r#"{"stop-loss":1}"#),
        (close(), r#"{"Symbol":"RES-USD"}"#),
        (file(FileVerb::Read, "a"), r#"{"Operation":"delete"}"#),
        (file(FileVerb::Read, "a"), r#"{"PATH":"b"}"#),
        (code("1"), r#"{"Code":"rm -rf /"}"#),
        (data(|_| {}), r#"{"userConsent":false}"#),
        (message("message"), r#"{"Text":"hello"}"#),
    ] {
        check(12, vec![(json, with_open(action, json), neutral(), Error)]);
    }
}

#[test]
fn a_size_is_found_where_it_is_one() {
    check_all(
        5,
        &[
            (r#"{"size":0.9}"#, Violation),
            (r#"{"size":"0.9"}"#, Violation),
            (r#"{"size":"90%"}"#, Violation),
            (r#"{"Position-Size-Pct":0.2}"#, Violation),
            (r#"{"order":[{"size":0.06},{"size":0.06}]}"#, Violation),
            (r#"{"symbol":"X","quantity":0.5}"#, Violation),
            (r#"{"size":0.05}"#, Pass),
            (r#"{"size":0.9,"leverage":50}"#, Violation),
            // A font's, an order of something else.
            (r#"{"size":3}"#, NotApplicable),
            (r#"{"size":"XL"}"#, NotApplicable),
            (r#"{"quantity":2,"size":"large"}"#, NotApplicable),
            (r#"{"amount":250}"#, NotApplicable),
            (r#"{"quantity":0.5}"#, NotApplicable),
            // A trade's that is no fraction of capital.
            (r#"{"size":3,"symbol":"X"}"#, Error),
            (r#"{"quantity":100,"ticker":"X"}"#, Error),
            (r#"{"qty":100,"side":"buy"}"#, Error),
            (r#"{"size":3,"leverage":1}"#, Error),
            (r#"{"position_size_pct":5}"#, Error),
            (r#"{"position_size_pct":"large"}"#, Error),
            (r#"{"position_size":-0.1}"#, Error),
        ],
    );
    check_all(
        11,
        &[
            (r#"{"size":0.09}"#, Hold),
            (r#"{"size":0.08}"#, Pass),
            (r#"{"size":0.01,"code":"print(1)"}"#, Hold),
            (r#"{"size":3}"#, NotApplicable),
        ],
    );
    // By its name it is a trade's.
    check(
        5,
        vec![(
            "the name says that it trades",
            custom("buy_now", r#"{"size":3}"#),
            neutral(),
            Error,
        )],
    );
    // The account counts too.
    let sized = || {
        custom(
            "place_order",
            r#"{"size":0.05,"stop_loss":95,"entry_price":100}"#,
        )
    };
    check(
        6,
        vec![
            (
                "a day of losses",
                sized(),
                facts(|f| f.daily_loss = 0.05),
                Violation,
            ),
            (
                "no capital",
                custom("x", r#"{"leverage":1}"#),
                facts(|f| f.daily_loss = 0.05),
                NotApplicable,
            ),
        ],
    );
    check(
        10,
        vec![(
            "five are open",
            sized(),
            facts(|f| f.open_positions = 5),
            Warn,
        )],
    );
    check(
        5,
        vec![(
            "exposure, where it is attested",
            sized(),
            facts(|f| f.symbol_exposure = 0.06),
            Violation,
        )],
    );
}

#[test]
fn prices_and_marks_are_judged_as_a_trades() {
    check_all(
        8,
        &[
            (r#"{"size":0.05}"#, Violation),
            (r#"{"size":0.05,"stop_loss":95,"entry_price":100}"#, Pass),
            (r#"{"size":0.05,"StopLoss":"95","entryPrice":100}"#, Pass),
            (
                r#"{"size":0.05,"stop_loss":105,"entry_price":100}"#,
                Violation,
            ),
            (
                r#"{"size":0.05,"stop_loss":105,"entry_price":100,"side":"sell"}"#,
                Pass,
            ),
            (r#"{"size":0.05,"stop_loss":1e9}"#, Error),
            (
                r#"{"size":0.05,"stop_loss":95,"Stop-Loss":96,"entry_price":100}"#,
                Error,
            ),
            (r#"{"leverage":1.2,"symbol":"X"}"#, NotApplicable),
            (r#"{"stop_loss":95,"symbol":"X","entry_price":100}"#, Pass),
        ],
    );
    check_all(
        9,
        &[
            (
                r#"{"size":0.05,"stop_loss":95,"entry_price":100,"take_profit":101}"#,
                Violation,
            ),
            (
                r#"{"size":0.05,"stop_loss":95,"entry_price":100,"take_profit":110}"#,
                Pass,
            ),
            (r#"{"size":0.05,"take_profit":101}"#, Error),
            (r#"{"target":"staging"}"#, NotApplicable),
        ],
    );
    // The host looks up what typed parameters name: a trade in an instrument that only a custom action names cannot be judged.
    check_all(
        1,
        &[
            (r#"{"symbol":"RES-USD","size":0.01}"#, Error),
            (r#"{"order":{"Ticker":"RES-USD","qty":100}}"#, Error),
            (r#"{"symbol":"RES-USD","side":"sell"}"#, Error),
            (r#"{"symbol":"RES-USD"}"#, NotApplicable),
            (r#"{"market":"DE","side":"left"}"#, NotApplicable),
            (r#"{"leverage":1.2,"symbol":"X"}"#, Pass),
        ],
    );
    for (rule, key) in [
        (1, "material_nonpublic"),
        (2, "manipulativeIntent"),
        (4, "ahead-of-client-order"),
    ] {
        for (value, expected) in [
            ("true", Violation),
            ("1", Violation),
            ("\"yes\"", Violation),
            ("false", NotApplicable),
            ("null", NotApplicable),
        ] {
            let json = format!("{{\"{key}\":{value}}}");
            check(
                rule,
                vec![(&json, custom("rebalance", &json), neutral(), expected)],
            );
        }
    }
    let marked = with_open(sale(|_| {}), r#"{"note":{"materialNonpublic":true}}"#);
    check(
        1,
        vec![("a mark in a trade's note", marked, neutral(), Violation)],
    );
}

#[test]
fn code_and_destructive_operations_wait_for_an_approval() {
    let by = |approval| facts(|f| f.approval = approval);
    check_all(
        11,
        &[
            (r#"{"code":"print(1)"}"#, Hold),
            (r#"{"Source-Code":"x=1"}"#, Hold),
            (r#"{"cmd":["rm","-rf","/"]}"#, Hold),
            (r#"{"run":{"shell":"ls"}}"#, Hold),
            (r#"{"code":"reboot"}"#, Hold),
            (r#"{"code":"EUR"}"#, NotApplicable),
            (r#"{"code":404}"#, NotApplicable),
            (r#"{"promo_code":"print(1)"}"#, NotApplicable),
            (r#"{"path":"/srv/x","operation":"delete"}"#, Hold),
            (r#"{"Operation":"DELETE","file":"x"}"#, Hold),
            (r#"{"method":"DELETE","url":"https://a/b"}"#, Hold),
            (r#"{"delete":"/srv/x"}"#, Hold),
            (r#"{"remove":true,"path":"x"}"#, Hold),
            (r#"{"action":{"type":"wipe"},"dir":"x"}"#, Hold),
            (r#"{"path":"/srv/x","operation":"read"}"#, NotApplicable),
            (r#"{"delete":false,"path":"/srv/x"}"#, NotApplicable),
            (r#"{"operation":"delete","id":7}"#, NotApplicable),
        ],
    );
    check(
        11,
        vec![
            (
                "the name destroys",
                custom("delete_old_reports", r#"{"path":"/srv/x"}"#),
                neutral(),
                Hold,
            ),
            (
                "approved",
                custom("run", r#"{"code":"print(1)"}"#),
                by(Approval::Operator),
                Pass,
            ),
            (
                "a large trade, approved, with code",
                custom("run", r#"{"code":"print(1)","size":0.09}"#),
                by(Approval::Human),
                Pass,
            ),
            (
                "critical, whatever it carries",
                but(custom("run", "{}"), |a| {
                    a.criticality = Criticality::Critical
                }),
                neutral(),
                NotApplicable,
            ),
        ],
    );
}

#[test]
fn files_of_the_host_are_guarded_in_parameters_code_and_paths() {
    check_all(
        19,
        &[
            (r#"{"path":"ark.db","operation":"delete"}"#, Violation),
            (r#"{"x":["/var/lib/ark/ARK.DB-WAL"]}"#, Violation),
            (r#"{"file":"ark%252Etoml"}"#, Violation),
            (r#"{"glob":"*.db"}"#, Violation),
            (r#"{"cmd":"rm -f ark.db"}"#, Violation),
            (r#"{"ark.db":"drop"}"#, Violation),
            (r#"{"path":"policies/limits.wasm"}"#, Violation),
            (r#"{"path":"reports/ark.pdf"}"#, Pass),
            (r#"{"note":"a word about archives"}"#, Pass),
            (r#"{"page":"graveyard"}"#, Pass),
        ],
    );
    for path in [
        "ark.db",
        "data/ark.db-wal",
        "ark.toml",
        "anchors.jsonl",
        "restore.pending",
        "ark%2edb",
        "%2561rk.db",
        "ark.*",
        "*.db",
        "a?k.db",
        "{ark,x}.db",
        "ARK.DB",
        "x\\ark.db",
        "ark.db.",
        "ark.db  ",
        "file:///srv/ark.db",
        "policies/x.wasm",
        "agents/kyle.toml",
    ] {
        for verb in [FileVerb::Write, FileVerb::Delete, FileVerb::Destroy] {
            check(19, vec![(path, file(verb, path), neutral(), Violation)]);
        }
        check(
            19,
            vec![(path, file(FileVerb::Read, path), neutral(), Pass)],
        );
        let moved = with_open(file(FileVerb::Write, "a"), &format!(r#"{{"to":{path:?}}}"#));
        check(19, vec![(path, moved, neutral(), Violation)]);
        let sent = data(|d| d.destination = Some(path.to_owned()));
        check(19, vec![(path, sent, neutral(), Violation)]);
        let spoken = with_open(message("message"), &format!(r#"{{"see":{path:?}}}"#));
        check(19, vec![(path, spoken, neutral(), Pass)]);
    }
    check(
        19,
        vec![
            ("rm", code("rm ark.db"), neutral(), Violation),
            ("open", code("open('ark.toml','w')"), neutral(), Violation),
            ("parts", code("rm a'rk'.db"), neutral(), Violation),
            (
                "other code",
                code("y = a*b; mark.database()"),
                neutral(),
                Pass,
            ),
            (
                "deleting a directory of policies",
                file(FileVerb::Delete, "policies"),
                neutral(),
                Violation,
            ),
            (
                "writing to a file of that name",
                file(FileVerb::Write, "policies"),
                neutral(),
                Pass,
            ),
        ],
    );
}

#[test]
fn a_guard_and_a_verb_beside_each_other_are_an_attempt() {
    for (rule, json) in [
        (20, r#"{"watchdog":{"enabled":false}}"#),
        (20, r#"{"WatchDog":{"settings":{"active":0}}}"#),
        (20, r#"{"watchdog":"stop"}"#),
        (20, r#"{"watchdog":["off"]}"#),
        (20, r#"{"watchdog":[false]}"#),
        (20, r#"{"watchdog":[]}"#),
        (20, r#"{"watchdog":{"stop":true}}"#),
        (20, r#"{"stop":"watchdog"}"#),
        (20, r#"{"service":"watchdog","action":"stop"}"#),
        (20, r#"{"action":"stop","service":"watchdog"}"#),
        (20, r#"{"a":[{"op":"kill","target":"watch-dog"}]}"#),
        (12, r#"{"audit_log":{"enabled":false}}"#),
        (12, r#"{"do":"purge","what":"audit_log"}"#),
        (14, r#"{"halt":"clear"}"#),
        (19, r#"{"graveyard":{"enabled":"no"}}"#),
        (13, r#"{"user_override":{"state":"off"}}"#),
    ] {
        check(
            rule,
            vec![(json, custom("configure", json), neutral(), Violation)],
        );
    }
    check(
        20,
        vec![
            (
                "the name is the verb",
                custom("stop_service", r#"{"name":"watchdog"}"#),
                neutral(),
                Violation,
            ),
            (
                "another service",
                custom("stop_service", r#"{"name":"printer"}"#),
                neutral(),
                Pass,
            ),
            (
                "asking after it",
                custom("service", r#"{"name":"watchdog","action":"status"}"#),
                neutral(),
                Pass,
            ),
            (
                "switching it on",
                custom("configure", r#"{"watchdog":{"enabled":true}}"#),
                neutral(),
                Pass,
            ),
        ],
    );
}

#[test]
fn a_halt_that_carries_something_else_is_no_halt() {
    let halted = || facts(|f| f.halt_active = true);
    check(
        14,
        vec![
            (
                "a halt",
                custom("halt", r#"{"why":"exchange is down"}"#),
                halted(),
                Pass,
            ),
            (
                "with a trade",
                custom("halt", r#"{"size":0.01}"#),
                halted(),
                Violation,
            ),
            (
                "with leverage",
                custom("halt", r#"{"leverage":1}"#),
                halted(),
                Violation,
            ),
            (
                "with code",
                custom("emergency_halt", r#"{"code":"print(1)"}"#),
                halted(),
                Violation,
            ),
            (
                "with a deletion",
                custom("halt", r#"{"delete":"/srv/x"}"#),
                halted(),
                Violation,
            ),
        ],
    );
}

#[test]
fn what_is_said_of_data_is_judged_as_the_data_familys() {
    check_all(
        15,
        &[
            (
                r#"{"contains_personal_data":true,"destination":"ad-network"}"#,
                Violation,
            ),
            (r#"{"x":{"PII":"yes","sendTo":"ad-network"}}"#, Violation),
            (
                r#"{"personal_data":true,"destination":"x","encrypted":true}"#,
                Pass,
            ),
            (
                r#"{"personal_data":true,"destination":"x","encrypted":true,"Encryption":false}"#,
                Violation,
            ),
            (r#"{"personal_data":true,"destination":"internal"}"#, Pass),
            (r#"{"destination":"Rome"}"#, NotApplicable),
        ],
    );
    check_all(
        16,
        &[
            (r#"{"personal_data":true}"#, Violation),
            (r#"{"user_consent":false}"#, Violation),
            (r#"{"UserConsent":"no"}"#, Violation),
            (r#"{"user_consent":true}"#, NotApplicable),
            (r#"{"colour":"red"}"#, NotApplicable),
        ],
    );
    check_all(
        18,
        &[
            (r#"{"data_sensitivity":"high"}"#, Violation),
            (r#"{"sensitivity":"HIGH","encryption":true}"#, Pass),
            (r#"{"sensitivity":"low"}"#, Pass),
        ],
    );
}

/// More names than can be looked at within the fuel cannot be judged.
#[test]
fn too_many_names_about_guards_are_denied() {
    let named = |count: usize| {
        let keys: Vec<String> = (0..count).map(|n| format!("\"rule{n}\":1")).collect();
        custom("rebalance", &format!("{{{}}}", keys.join(",")))
    };
    check(12, vec![("many", named(200), neutral(), Pass)]);
    check(12, vec![("too many", named(201), neutral(), Error)]);
}

/// The observed value says what the number was, and a denial what to do.
#[test]
fn the_answers_name_what_was_carried() {
    let levered = answer(7, &custom("place_order", r#"{"leverage":50}"#), &neutral());
    assert_eq!(format!("{:?}", levered.observed), "Value::Number(50.0)");
    let large = answer(5, &custom("x", r#"{"symbol":"X","qty":100}"#), &neutral());
    assert!(
        format!("{:?}", large.observed).contains("declare the action type in the family `trade`"),
        "{large:?}"
    );
}
