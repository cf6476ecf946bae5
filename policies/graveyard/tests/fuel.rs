//! What an evaluation costs: the least fuel with which the pinned component answers, compared with that of the earlier release; and that the most
//! expensive actions which the host lets through are judged within a policy's fuel.

mod cases;

use std::fmt::Write as _;

use ark_guest::policy::FileVerb;
use ark_runtime::{GraveyardSource, POLICY_FUEL, Pin, PinnedGraveyard, Policy, ReleasedGraveyard};
use cases::{code, custom, file, host_action, neutral_host_facts, start_engine, trade, with_open};

/// How much more than the earlier release's an ordinary evaluation may cost.
const MOST_GROWTH: f64 = 1.5;
/// The longest open parameters and the longest code of an action, in bytes: what the host lets through.
const OPEN_JSON_BYTES: usize = 16 * 1024;
const CODE_BYTES: usize = 64 * 1024;

/// Returns whether the policy answers within this much fuel, and the policy.
fn answers(policy: Policy, action: &ark_model::action::Action, fuel: u64) -> (Policy, bool) {
    let policy = policy.with_fuel(fuel);
    let answered = policy
        .new_instance()
        .and_then(|mut instance| instance.evaluate(None, action, &neutral_host_facts()))
        .is_ok();
    (policy, answered)
}

/// Returns the least fuel with which the policy answers.
fn measure_fuel(mut policy: Policy, action: &ark_model::action::Action) -> u64 {
    let (mut too_little, mut enough) = (0, POLICY_FUEL);
    while too_little + 1 < enough {
        let fuel = u64::midpoint(too_little, enough);
        let answered;
        (policy, answered) = answers(policy, action, fuel);
        if answered {
            enough = fuel;
        } else {
            too_little = fuel;
        }
    }
    enough
}

#[test]
fn an_ordinary_trade_costs_little_more_than_it_did() {
    let engine = start_engine();
    let pin = Pin::compiled_in().expect("a pin");
    let pinned = PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin)
        .expect("the pinned Graveyard");
    let earlier = ReleasedGraveyard::list_earlier()
        .last()
        .expect("an earlier release");
    let earlier = Policy::load(&engine, earlier.component).expect("the earlier Graveyard");
    let action = host_action(&trade(|_| {}));
    let (now, then) = (
        measure_fuel(pinned.policy, &action),
        measure_fuel(earlier, &action),
    );
    println!("an ordinary trade: {now} units of fuel, {then} in the earlier release");
    let growth = now as f64 / then as f64;
    assert!(
        growth <= MOST_GROWTH,
        "{now} units, {then} before: {growth:.2} times"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn the_most_expensive_actions_are_judged_within_the_fuel() {
    let engine = start_engine();
    let pin = Pin::compiled_in().expect("a pin");
    let mut policy = PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin)
        .expect("the pinned Graveyard")
        .policy;
    let object = |entry: &dyn Fn(usize) -> String| {
        let mut json = "{".to_owned();
        for number in 0.. {
            let entry = entry(number);
            if json.len() + entry.len() + 2 > OPEN_JSON_BYTES {
                break;
            }
            write!(json, "{}{entry}", if number == 0 { "" } else { "," }).expect("a String");
        }
        json + "}"
    };
    let list = |text: &str| {
        let count = (OPEN_JSON_BYTES - 10) / (text.len() + 3);
        let items: Vec<String> = (0..count).map(|_| format!("{text:?}")).collect();
        format!("{{\"a\":[{}]}}", items.join(","))
    };
    let jsons = [
        ("attempts", object(&|n| format!("\"stop_watchdog{n}\":1"))),
        (
            "names without an attempt",
            object(&|n| format!("\"halt_rule_audit_{n}\":1")),
        ),
        (
            "keys below a guard",
            format!(
                "{{\"watchdog\":{}}}",
                object(&|n| format!("\"{n}\":1"))
                    .split_at(OPEN_JSON_BYTES / 2)
                    .0
                    .rsplit_once(',')
                    .expect("a list")
                    .0
                    .to_owned()
                    + "}"
            ),
        ),
        ("short keys", object(&|n| format!("\"{n}\":1"))),
        (
            "sizes",
            object(&|n| format!("\"size{}\":\"0.0001%\"", " ".repeat(n % 3))),
        ),
        (
            "letters of other forms",
            object(&|n| format!("\"ｓｔｏｐ＿ｗａｔｃｈ{n}\":\"ｄｏｇ\"")),
        ),
        (
            "letters that unfold",
            object(&|n| format!("\"\u{fdfa}\u{fdfa}{n}\":\"\u{fdfa}\u{fdfa}\"")),
        ),
        ("patterns", list("a*r*k?db")),
        ("braces", list("a{r,s}{k,l}{.,-}{d,e}{b,c}")),
        ("paths", list("a/b/c/../d/%61%62/x.toml")),
        (
            "one long text",
            format!("{{\"leverage\":\"{}\"}}", "\u{fdfa}".repeat(5000)),
        ),
        (
            "one long path",
            format!("{{\"p\":\"{}\"}}", "a*/".repeat(1300)),
        ),
    ];
    let mut actions: Vec<(String, ark_guest::policy::Action)> = Vec::new();
    for (name, json) in &jsons {
        assert!(json.len() <= OPEN_JSON_BYTES, "{name}: {}", json.len());
        actions.push((format!("{name}, custom"), custom("rebalance", json)));
        actions.push((format!("{name}, trade"), with_open(trade(|_| {}), json)));
        actions.push((
            format!("{name}, file"),
            with_open(file(FileVerb::Write, "a"), json),
        ));
    }
    for words in ["a*k.db ", "'ark ", "{a,b}rk ", "%61rk ", "\u{fdfa} ", "ark"] {
        actions.push((
            format!("code of {words:?}"),
            code(&words.repeat(CODE_BYTES / words.len())),
        ));
    }
    for path in [
        "*a".repeat(2048),
        "{a,b}".repeat(800),
        "a/".repeat(2048),
        "%61".repeat(1365),
    ] {
        actions.push((
            format!("a path of {}", &path[..5]),
            file(FileVerb::Write, &path),
        ));
    }
    let mut failed = Vec::new();
    for (name, action) in actions {
        let action = host_action(&action);
        let answered;
        (policy, answered) = answers(policy, &action, POLICY_FUEL);
        if !answered {
            failed.push(name);
        }
    }
    assert!(
        failed.is_empty(),
        "{POLICY_FUEL} units are not enough for {failed:#?}"
    );
}
