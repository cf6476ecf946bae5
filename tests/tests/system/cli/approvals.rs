//! What a person decides and attests with the command line: approvals, lists, the account.

use std::process::Output;

use ark_tests::{Client, Host, make_token, run_ark, trade};
use serde_json::{Value, json};

/// `ark …` against the host, with a token or by name.
fn order(host: &Host, token: Option<&str>, args: &[&str]) -> Output {
    let url = format!("http://{}", host.address);
    let mut all = args.to_vec();
    all.extend(["--url", &url]);
    all.extend(token.into_iter().flat_map(|token| ["--token", token]));
    run_ark(&all)
}

fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).expect("JSON")
}

fn refused(output: &Output) -> String {
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn held(client: &mut Client, symbol: &str) -> String {
    let (_, decision) = client.post("/v1/actions", &trade(symbol, 0.09));
    assert_eq!(decision["outcome"], "held", "{decision}");
    decision["decision_id"].as_str().expect("an id").to_owned()
}

#[test]
fn held_actions_are_listed_approved_and_rejected() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    assert_eq!(printed(&order(&host, None, &["approvals", "list"])), "");
    let (first, second, third) = (
        held(&mut client, "BTC-USD"),
        held(&mut client, "ETH-USD"),
        held(&mut client, "SOL-USD"),
    );

    let list = printed(&order(&host, None, &["approvals", "list", "--limit", "2"]));
    assert!(
        list.contains(&first) && list.contains("require_hrm_approval"),
        "{list}"
    );
    for shown in [
        "trade (buy) BTC-USD for 9 % of capital",
        "because: a test",
        "held since 20",
        "until 20",
    ] {
        assert!(list.contains(shown), "{shown}: {list}");
    }
    // Anyone who approves sees all of it: the action, what fired, and the facts.
    let show = printed(&order(&host, None, &["approvals", "show", &first]));
    for shown in [
        "trade (buy) BTC-USD for 9 % of capital",
        "require_hrm_approval (graveyard, rule 11): asks for an approval",
        "observed    0.09",
        "limit       0.08",
        "stop_loss: 95",
        "symbol_exposure: 0",
    ] {
        assert!(show.contains(shown), "{shown}: {show}");
    }
    let show = json_of(&order(
        &host,
        None,
        &["approvals", "show", &first, "--json"],
    ));
    assert_eq!(show["action"]["parameters"]["symbol"], "BTC-USD", "{show}");
    assert_eq!(show["fired"][0]["rule"], "require_hrm_approval", "{show}");
    assert_eq!(show["facts"]["symbol_exposure"], json!(0.0), "{show}");
    let cursor = list.rsplit("--cursor ").next().expect("a cursor").trim();
    let rest = printed(&order(
        &host,
        None,
        &["approvals", "list", "--cursor", cursor],
    ));
    assert!(rest.contains(&third) && !rest.contains(&first), "{rest}");

    let comment = ["--comment", "the desk agrees", "--by", "ada"];
    let resolve = |how: &str, id: &str| {
        let mut args = vec!["approvals", how, id];
        args.extend(comment);
        order(&host, None, &args)
    };
    let done = printed(&resolve("approve", &first));
    assert!(done.contains(": approved\njudged again as "), "{done}");
    let done = printed(&resolve("reject", &second));
    assert!(done.contains(": rejected"), "{done}");
    let again = refused(&resolve("approve", &second));
    assert!(again.contains("409"), "{again}");

    // What is no longer allowed when it is judged again stays undone, and the command says so by its exit code.
    let restrict = [
        "lists",
        "put",
        "restricted",
        "SOL-USD",
        "--reason",
        "a deal",
        "--by",
        "ada",
    ];
    printed(&order(&host, None, &restrict));
    let late = resolve("approve", &third);
    assert!(!late.status.success());
    let late = String::from_utf8_lossy(&late.stdout).into_owned();
    assert!(
        late.contains(": denied\n") && late.contains("no_insider_trading"),
        "{late}"
    );

    let shown = json_of(&order(
        &host,
        None,
        &["approvals", "show", &second, "--json"],
    ));
    assert_eq!(
        (&shown["status"], &shown["settled_by"]),
        (&json!("rejected"), &json!("ada"))
    );
    assert_eq!(printed(&order(&host, None, &["approvals", "list"])), "");
    let all = json_of(&order(
        &host,
        None,
        &["approvals", "list", "--status", "all", "--json"],
    ));
    assert_eq!(all["approvals"].as_array().map(Vec::len), Some(3));
}

#[test]
fn lists_and_the_account_are_attested_by_the_token_that_calls() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let _admin = make_token(&data, "root", "admin", &[]);
    let desk = make_token(&data, "desk", "operator", &[]);
    let eye = make_token(&data, "eye", "reader", &[]);
    let host = Host::start(&data, &[]);
    let desk = |args: &[&str]| order(&host, Some(&desk), args);

    let put = [
        "lists",
        "put",
        "consents",
        "alice/ü",
        "--granted",
        "false",
        "--reason",
        "she wrote",
    ];
    let denied = refused(&order(&host, Some(&eye), &put));
    assert!(denied.contains("403"), "{denied}");
    printed(&desk(&put));
    let shown = json_of(&order(&host, Some(&eye), &["lists", "show", "consents"]));
    assert_eq!(
        shown["entries"][0]["entry"],
        json!({"subject": "alice/ü", "granted": false})
    );
    assert_eq!(shown["entries"][0]["by"], "desk");
    let missing = refused(&desk(&[
        "lists", "put", "vetoes", "v1", "--reason", "asked",
    ]));
    assert!(missing.contains("words"), "{missing}");
    let unknown = refused(&desk(&["lists", "show", "forbidden"]));
    assert!(unknown.contains("client_orders"), "{unknown}");
    // The command's name in earlier versions.
    printed(&desk(&[
        "lists",
        "take-off",
        "consents",
        "alice/ü",
        "--reason",
        "she wrote again",
    ]));
    let changes = json_of(&desk(&["lists", "history", "consents", "alice/ü"]));
    assert_eq!(changes["changes"].as_array().map(Vec::len), Some(2));
    assert_eq!(changes["changes"][0]["reason"], "she wrote again");

    printed(&desk(&[
        "account",
        "capital",
        "100000",
        "--reason",
        "opening balance",
    ]));
    let loss = [
        "account",
        "result",
        "-1500",
        "--reason",
        "stopped out",
        "--idempotency-key",
        "t-1",
    ];
    for _ in 0..2 {
        printed(&desk(&loss));
    }
    let account = json_of(&desk(&["account", "show"]));
    assert_eq!(account["capital"], 100_000.0);
    assert_eq!(account["daily_loss_pct"], 0.015, "{account}");
    let history = json_of(&desk(&["account", "history", "--limit", "5"]));
    assert_eq!(
        history["changes"].as_array().map(Vec::len),
        Some(2),
        "{history}"
    );
    let nothing = refused(&desk(&["account", "capital", "0", "--reason", "r"]));
    assert!(nothing.contains("amount"), "{nothing}");
}
