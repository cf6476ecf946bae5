//! What a broken host approves or holds of a validation is taken back, and named where the tokens may not do that.

use ark_tests::policies::{moody_component, moody_name, put};
use ark_tests::{Client, Host, TestDir, make_token};
use serde_json::{Value, json};

use super::{CONFIG, assert_nothing_left, cases, command, url_of, validate};
use crate::production::altering::start_altering_requests;

/// What follows the first proposal with too much leverage, the dry run, has another one: as if the host judged otherwise on record.
fn start_judging_otherwise(host: &Host, leverage: &'static str) -> String {
    start_altering_requests(&host.address, "\"leverage\":10.0", leverage, 1)
}

const VALID: &str = "\"leverage\":1.00";
/// It waits for an approval.
const HELD: &str = "\"leverage\":1.80";

/// How many orders in the market are open, and how many there are.
fn count_orders(dir: &TestDir) -> (u32, u32) {
    let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
    let count = |tables: &str| -> u32 {
        let query = format!("SELECT count(*) FROM {tables}");
        database
            .query_row(&query, [], |row| row.get(0))
            .expect("a number")
    };
    (
        count("orders WHERE state IN ('new', 'partially_filled')"),
        count("(SELECT 1 FROM orders UNION ALL SELECT 1 FROM ended_orders)"),
    )
}

/// The statuses of all approvals.
fn list_approvals(client: &mut Client) -> Vec<String> {
    let (_, page) = client.get("/v1/approvals?limit=500");
    let approvals = page["approvals"].as_array().expect("a list").iter();
    let text = |one: &Value| one["status"].as_str().expect("a status").to_owned();
    approvals.map(text).collect()
}

fn detail_of(report: &Value, name: &str) -> String {
    let mut cases = report["cases"].as_array().expect("cases").iter();
    let case = cases.find(|case| case["name"] == name);
    let detail = &case.expect("the test")["detail"];
    detail.as_str().expect("text").to_owned()
}

#[test]
fn a_trade_that_is_approved_or_held_on_record_alone_is_taken_back() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let of_ethics = ["--category", "ethics"];
    for (leverage, outcome, orders, approvals) in [
        (VALID, "approved", (0, 1), &[][..]),
        (HELD, "held", (0, 1), &["rejected"]),
    ] {
        let url = start_judging_otherwise(&host, leverage);
        let (report, output) = validate(&url, &dir, &of_ethics);
        assert_eq!(cases(&report, "failed"), ["ethics/leverage"], "{report:#}");
        assert_eq!(output.status.code(), Some(1));
        let detail = detail_of(&report, "leverage");
        assert!(
            detail.contains(&format!("was {outcome}, not denied"))
                && detail.ends_with("; it was taken back"),
            "{detail}"
        );
        assert_eq!(count_orders(&dir), orders, "{report:#}");
        let mut client = Client::new(&host);
        assert_eq!(list_approvals(&mut client), approvals, "{report:#}");
        assert_nothing_left(&mut client, &dir);
        // The journal is of the address that the run was made against.
        std::fs::remove_file(dir.path().join("validate.journal")).expect("a journal");
    }
}

#[test]
fn messages_that_a_policy_holds_are_rejected() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let mut client = Client::new(&host);
    let holds = json!({"settings": {"mood": "hold"}});
    put(&mut client, &moody_name(0), &moody_component(0, 1), &holds);
    let more = [
        "--category",
        "ethics",
        "--category",
        "flow",
        "--category",
        "beyond",
        "--patience",
        "3",
    ];
    let (report, _) = validate(&url_of(&host), &dir, &more);
    assert_eq!(
        cases(&report, "failed"),
        ["ethics/valid-proposal", "flow/end-to-end", "flow/one-trace"],
        "{report:#}"
    );
    for name in ["end-to-end", "one-trace"] {
        let detail = detail_of(&report, name);
        assert!(detail.ends_with("; it was taken back"), "{detail}");
    }
    let approvals = list_approvals(&mut client);
    assert!(
        approvals.len() >= 5 && approvals.iter().all(|status| status == "rejected"),
        "{approvals:?}"
    );
    assert_nothing_left(&mut client, &dir);
}

#[test]
fn what_the_tokens_may_not_take_back_is_named_and_what_a_kill_left_is_taken_back_by_the_next_run() {
    let dir = TestDir::new(CONFIG);
    let admin = make_token(&dir.data(), "ada", "admin", &[]);
    let operator = make_token(&dir.data(), "ops", "operator", &[]);
    let of_probe = ["--agent", "validation-probe", "--actions", "trade,message"];
    let submitter = make_token(&dir.data(), "validation", "submitter", &of_probe);
    let host = dir.start();
    let file = dir.path().join("submitter");
    std::fs::write(&file, submitter).expect("a token");
    let file = file.to_str().expect("UTF-8");
    let of_ethics = ["--category", "ethics"];
    let with_both: [&str; 4] = ["--token", &operator, "--submitter-token-file", file];
    let url = start_judging_otherwise(&host, VALID);
    let (report, output) = validate(&url, &dir, &[&of_ethics[..], &with_both].concat());
    assert_eq!(cases(&report, "failed"), ["ethics/leverage"], "{report:#}");
    let mut client = Client::with_token(&host, &admin);
    let path = "/v1/decisions?agent=validation-probe&outcome=approved&action_type=trade";
    let (_, page) = client.get(path);
    let decision = &page["decisions"][0];
    let text = |name: &str| decision[name].as_str().expect("text").to_owned();
    let detail = detail_of(&report, "leverage");
    for part in [
        format!("decision {} stays open", text("decision_id")),
        "POST /v1/executions".to_owned(),
    ] {
        assert!(detail.contains(&part), "{part}: {detail}");
    }
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        told.matches("stays open").count(),
        1,
        "the test has named it: {told}"
    );
    assert_eq!(count_orders(&dir), (1, 1));
    let journal = dir.path().join("validate.journal");
    let read_journal = || std::fs::read_to_string(&journal).expect("a journal");
    assert!(read_journal().contains(&text("trace_id")));
    // As a kill would leave the journal. With the same tokens it is named again, and stands in the way of nothing.
    let leave_run = || {
        let (address, run) = (url_of(&host), text("trace_id"));
        let lines = format!(
            "{{\"journal\":\"ark validate\",\"host\":\"{address}\"}}\n{{\"begun\":{{\"run\":\"{run}\"}}}}\n"
        );
        std::fs::write(&journal, lines).expect("a journal");
    };
    leave_run();
    let more = [&of_ethics[..], &with_both].concat();
    let (report, output) = validate(&url_of(&host), &dir, &more);
    assert!(output.status.success(), "{report:#}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("decision {} stays open", text("decision_id"));
    assert_eq!(told.matches(&expected).count(), 1, "{told}");
    assert_eq!(count_orders(&dir), (1, 1));
    // The journal names it until it is taken back.
    assert!(read_journal().contains(&text("trace_id")));
    let more = [&of_ethics[..], &["--token", admin.as_str()]].concat();
    let (report, output) = validate(&url_of(&host), &dir, &more);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(count_orders(&dir), (0, 1));
    assert_eq!(read_journal(), "");
    // What has a report is left as it is.
    leave_run();
    let output = command(&url_of(&host), &dir, &[&of_ethics[..], &with_both].concat()).output();
    let output = output.expect("ark starts");
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("stays open"), "{told}");
}
