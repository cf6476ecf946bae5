//! Operator policies after a kill, and where a component cannot be loaded.

use std::time::Duration;

use ark_tests::policies::{moody_component, moody_name, put, upload_of};
use ark_tests::{Client, JSON, TestDir, sha256, wait_for};
use serde_json::json;

use super::exchange::{part, propose, replay, show};

#[test]
fn a_kill_during_a_change_leaves_the_old_or_the_new() {
    let place = TestDir::new("");
    let mut host = place.start();
    let name = moody_name(0);
    put(
        &mut Client::new(&host),
        &name,
        &moody_component(0, 0),
        &json!({}),
    );
    for round in 1..=10_u8 {
        let old = show(&mut Client::new(&host), &name)["enforced"]["sha256"].clone();
        let component = moody_component(0, round);
        let new = json!(sha256(&component));
        let body = upload_of(&component, &json!({"settings": {"mood": "warn"}})).to_string();
        let address = host.address.clone();
        let path = format!("/v1/policies/{name}");
        let changing = std::thread::spawn(move || {
            let _ = Client::at(&address).request("PUT", &path, &[JSON], body.as_bytes());
        });
        // Another moment of the change in each round; which one is as it comes.
        std::thread::sleep(Duration::from_millis(u64::from(round) * 15));
        host = place.restart_killed(&host);
        changing.join().expect("an upload");
        let mut client = Client::new(&host);
        let decision = propose(&mut client, &format!("S{round}"));
        let judged = &part(&decision, &name)["sha256"];
        assert!(
            *judged == old || *judged == new,
            "round {round}: {decision}"
        );
        assert_eq!(show(&mut client, &name)["enforced"]["sha256"], *judged);
    }
    assert_eq!(host.terminate(), Some(0));
    assert_eq!(replay(&place)["identical"], 10);
}

#[test]
fn an_uploaded_policy_that_cannot_be_loaded_denies_everything_until_it_is_exchanged() {
    let place = TestDir::new("");
    let host = place.start();
    let name = moody_name(0);
    put(
        &mut Client::new(&host),
        &name,
        &moody_component(0, 1),
        &json!({}),
    );
    assert_eq!(
        propose(&mut Client::new(&host), "S1")["outcome"],
        "approved"
    );
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let broken = database.execute(
        "UPDATE policy_components SET bytes = substr(bytes, 1, 1000)",
        [],
    );
    assert_eq!(broken.expect("a change"), 1);
    drop(database);
    let host = place.start_halted();
    let mut client = Client::new(&host);
    let problems = wait_for("the policy is the only problem", || {
        let (status, ready) = client.get("/readyz");
        assert_eq!(status, 503, "{ready}");
        let problems = ready["problems"].as_array().expect("problems").clone();
        (problems.len() == 1).then_some(problems)
    });
    let problem = problems[0].as_str().unwrap_or_default();
    assert!(
        problem.contains(&name) && problem.contains("PUT /v1/policies/"),
        "{problem}"
    );
    let decision = propose(&mut client, "S2");
    assert_eq!(decision["outcome"], "denied", "{decision}");
    let reason = decision["reasons"][0].as_str().unwrap_or_default();
    assert!(
        reason.contains(&name) && reason.contains("changed on disk"),
        "{decision}"
    );
    assert!(show(&mut client, &name)["broken"].is_string());
    // The same bytes again are the same version, and put right what was broken on disk.
    assert_eq!(
        put(&mut client, &name, &moody_component(0, 1), &json!({}))["number"],
        1
    );
    assert_eq!(propose(&mut client, "S3")["outcome"], "approved");
    assert_eq!(client.get("/readyz").0, 200);
    assert_eq!(host.terminate(), Some(0));
    let host = place.start();
    assert_eq!(
        propose(&mut Client::new(&host), "S4")["outcome"],
        "approved"
    );
    assert_eq!(host.terminate(), Some(0));
    let report = replay(&place);
    assert_eq!(
        (&report["decisions"], &report["failures"]),
        (&json!(4), &json!(1)),
        "{report}"
    );
}
