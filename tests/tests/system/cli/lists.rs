//! Lists that the host answers in several pages are printed whole.

use ark_tests::policies;
use ark_tests::{Client, TestDir, copy_agent, guests_dir, make_token, run_ark};
use serde_json::{Value, json};

use crate::production::altering::start_altering_requests;

/// Prints a list by `ark`, as JSON. Every page of the host has one row: a proxy asks for no more.
fn list_by_ones(address: &str, words: [&str; 2], token: &str) -> Value {
    let url = start_altering_requests(address, "limit=500", "limit=%31", 0);
    let output = run_ark(&[
        words[0], words[1], "--json", "--url", &url, "--token", token,
    ]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn names_of(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn agents_policies_and_tokens_are_listed_beyond_the_first_page() {
    let dir = TestDir::new("");
    let admin = make_token(&dir.data(), "ada", "admin", &[]);
    for name in ["ben", "cem"] {
        let _ = make_token(&dir.data(), name, "reader", &[]);
    }
    for agent in ["joey", "kenny", "kyle"] {
        copy_agent(&guests_dir(), agent, &dir.agents());
    }
    let host = dir.start();
    let mut client = Client::with_token(&host, &admin);
    for number in 0..3 {
        let policy = policies::moody_component(number, 1);
        let shadow = json!({"mode": "shadow", "settings": {"mood": "pass"}, "by": "ada"});
        policies::put(&mut client, &policies::moody_name(number), &policy, &shadow);
    }
    let tokens = list_by_ones(&host.address, ["token", "list"], &admin);
    assert_eq!(names_of(&tokens), ["ada", "ben", "cem"]);
    for (command, list) in [("agent", "agents"), ("policy", "policies")] {
        let (_, whole) = client.get(&format!("/v1/{list}?limit=500"));
        let wanted = names_of(&whole[list]);
        assert!(wanted.len() > 2, "{whole}");
        let printed = list_by_ones(&host.address, [command, "list"], &admin);
        assert_eq!(names_of(&printed[list]), wanted);
        assert_eq!(printed["next_cursor"], Value::Null, "{printed}");
        // What else the answer says is there still.
        for (member, value) in whole.as_object().expect("an object") {
            assert!(
                member == list || printed[member] == *value,
                "{member}: {printed}"
            );
        }
    }
}
