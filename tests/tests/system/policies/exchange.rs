//! Operator policies on the real binary: uploading, trying out, setting up, ordering, rolling back and taking out, while actions are judged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_tests::artefacts::{replace_once, replay_decisions};
use ark_tests::policies::{moody_component, moody_name, put, send, upload_of};
use ark_tests::{Client, TestDir, base64, make_token, sha256, take_turn, trade};
use serde_json::{Value, json};

/// Judges every recorded decision again, all of which must come out the same. Returns the report.
pub(super) fn replay(place: &TestDir) -> Value {
    replay_decisions(&place.data())
}

pub(super) fn propose(client: &mut Client, symbol: &str) -> Value {
    let (status, answer) = client.post("/v1/actions", &trade(symbol, 0.01));
    assert_eq!(status, 200, "{answer}");
    answer
}

pub(super) fn show(client: &mut Client, name: &str) -> Value {
    let (status, answer) = client.get(&format!("/v1/policies/{name}"));
    assert_eq!(status, 200, "{answer}");
    answer
}

/// An operator policy's part of a decision.
pub(super) fn part<'a>(decision: &'a Value, name: &str) -> &'a Value {
    let parts = decision["policies"].as_array().expect("policies");
    let found = parts.iter().find(|part| part["policy"] == name);
    found.unwrap_or_else(|| panic!("{name} has no part in {decision}"))
}

#[test]
fn a_thousand_hot_swaps_under_load_fail_nothing_and_replay_identically() {
    let _turn = take_turn();
    let swaps = std::env::var("ARK_SWAPS")
        .map_or(1000, |swaps| swaps.parse().expect("ARK_SWAPS: a number"));
    let place = TestDir::new("");
    let host = place.start();
    let name = moody_name(0);
    let mut client = Client::new(&host);
    // The two are told apart by what they say, by their components and by their settings.
    let (first, second) = (moody_component(0, 1), moody_component(0, 2));
    let warns = json!({"settings": {"mood": "warn"}, "by": "ada"});
    assert_eq!(put(&mut client, &name, &first, &warns)["number"], 1);
    assert_eq!(
        put(&mut client, &name, &second, &json!({"by": "ada"}))["number"],
        2
    );
    let over = AtomicBool::new(false);
    let decided = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let mut took = Vec::with_capacity(swaps);
    let mut elapsed = Duration::ZERO;
    std::thread::scope(|scope| {
        let (host, over, decided, name) = (&host, &over, &decided, &name);
        let digests = [sha256(&first), sha256(&second)];
        let consumers: Vec<_> = (0..3)
            .map(|consumer| {
                let digests = digests.clone();
                scope.spawn(move || {
                    let mut client = Client::new(host);
                    let mut number = 0;
                    while !over.load(Ordering::Relaxed) {
                        number += 1;
                        let decision = propose(&mut client, &format!("S{consumer}N{number}"));
                        assert_eq!(decision["outcome"], "approved", "{decision}");
                        let parts = decision["policies"].as_array().expect("policies");
                        assert_eq!(parts.len(), 2, "{decision}");
                        let part = part(&decision, name);
                        let by = digests.iter().position(|digest| part["sha256"] == **digest);
                        let by = by.expect("one of the two");
                        let said = &part["rules"][2]["answer"];
                        assert_eq!(said, ["warn", "pass"][by], "{decision}");
                        assert_eq!(part["settings_sha256"].is_string(), by == 0, "{decision}");
                        decided[by].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let started = Instant::now();
        for swap in 0..swaps {
            let before = Instant::now();
            let number = swap % 2 + 1;
            // Every tenth is an upload of bytes that are known already.
            let answer = match (swap % 10 == 9, number) {
                (true, 1) => put(&mut client, name, &first, &warns),
                (true, _) => put(&mut client, name, &second, &json!({"by": "ada"})),
                (false, number) => {
                    let order = json!({"number": number, "by": "ada"});
                    let (status, answer) =
                        client.post(&format!("/v1/policies/{name}/rollout"), &order);
                    assert_eq!(status, 200, "{answer}");
                    answer
                }
            };
            assert_eq!(answer["enforced"], number, "{answer}");
            took.push(before.elapsed());
        }
        elapsed = started.elapsed();
        over.store(true, Ordering::Relaxed);
        for consumer in consumers {
            consumer.join().expect("a consumer");
        }
    });
    let decided = decided.map(|count| count.load(Ordering::Relaxed));
    took.sort_unstable();
    println!(
        "{swaps} swaps in {elapsed:.1?} beside {decided:?} decisions by each version: median {:.1?}, P99 {:.1?}, slowest {:.1?}",
        took[swaps / 2],
        took[swaps * 99 / 100],
        took[swaps - 1],
    );
    assert!(decided.iter().all(|count| *count > 0), "{decided:?}");
    let shown = show(&mut client, &name);
    assert_eq!(shown["revision"], swaps + 2, "{shown}");
    assert_eq!(shown["versions"].as_array().expect("versions").len(), 2);
    assert_eq!(host.terminate(), Some(0));
    let report = replay(&place);
    let all = decided[0] + decided[1];
    assert_eq!(
        (&report["decisions"], &report["identical"]),
        (&json!(all), &json!(all)),
        "{report}"
    );
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let changes: usize = database
        .query_row(
            "SELECT count(*) FROM audit_log WHERE kind = 'operator' AND action_type IN ('policy.upload', 'policy.rollout') AND json_extract(body, '$.by') = 'ada'",
            [],
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(changes, swaps + 2);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of uploads")]
fn a_bad_upload_is_refused_with_its_field_and_what_was_in_force_stays() {
    let place = TestDir::new("[capacity]\npolicies = 2\n");
    let host = place.start();
    let mut client = Client::new(&host);
    let name = moody_name(0);
    let first = put(
        &mut client,
        &name,
        &moody_component(0, 1),
        &json!({"settings": {"mood": "warn"}}),
    );
    let good = moody_component(0, 2);
    let agent =
        std::fs::read(ark_tests::hostile_guests_dir().join("chaos.wasm")).expect("a component");
    let failing = replace_once(
        &good,
        "\"expect\": \"violation\"",
        "\"expect\": \"hold\"     ",
    );
    let with = |more: Value| upload_of(&good, &more);
    let settings = |settings: Value| with(json!({"settings": settings}));
    let too_large = json!({"component": "A".repeat(89 << 20), "sha256": "0".repeat(64)});
    for (what, body, status, field) in [
        (
            "wrong hash",
            with(json!({"sha256": "0".repeat(64)})),
            422,
            "sha256",
        ),
        (
            "no hash",
            json!({"component": base64(&good)}),
            400,
            "sha256",
        ),
        ("an agent", upload_of(&agent, &json!({})), 422, "component"),
        (
            "truncated",
            upload_of(&good[..good.len() / 2], &json!({})),
            422,
            "component",
        ),
        (
            "no component at all",
            upload_of(b"hello", &json!({})),
            422,
            "component",
        ),
        (
            "too large as a component",
            upload_of(&vec![0; (64 << 20) + 1], &json!({})),
            422,
            "component",
        ),
        ("too large as a body", too_large, 413, "body"),
        (
            "another policy",
            upload_of(&moody_component(7, 2), &json!({})),
            422,
            "name",
        ),
        (
            "fails its vectors",
            upload_of(&failing, &json!({})),
            422,
            "component",
        ),
        (
            "malformed vectors",
            upload_of(
                &replace_once(&good, "denies: in the mood", "denies: in the \"ood"),
                &json!({}),
            ),
            422,
            "component",
        ),
        (
            "settings of an unknown field",
            settings(json!({"moood": "pass"})),
            422,
            "settings.moood",
        ),
        (
            "settings that the policy refuses",
            settings(json!({"symbol": "btc"})),
            422,
            "settings.symbol",
        ),
        (
            "settings that are no object",
            settings(json!([1])),
            400,
            "settings",
        ),
        (
            "traps with its settings",
            settings(json!({"mood": "trap"})),
            422,
            "component",
        ),
        (
            "never returns with its settings",
            settings(json!({"mood": "loop"})),
            422,
            "component",
        ),
        (
            "takes all memory with its settings",
            settings(json!({"mood": "grow"})),
            422,
            "component",
        ),
        ("unknown mode", with(json!({"mode": "audit"})), 400, "mode"),
        ("no place", with(json!({"order": 2_000_000})), 400, "order"),
        (
            "unknown field",
            with(json!({"rollout": true})),
            400,
            "rollout",
        ),
        (
            "no base64",
            json!({"component": "*", "sha256": sha256(b"")}),
            400,
            "component",
        ),
        (
            "another revision",
            with(json!({"expected_revision": 9})),
            409,
            "expected_revision",
        ),
    ] {
        let (answered, answer) = send(&mut client, "PUT", &name, &body);
        assert_eq!(answered, status, "{what}: {answer}");
        assert_eq!(answer["field"], json!(field), "{what}: {answer}");
        assert!(answer["remedy"].is_string(), "{what}: {answer}");
        let shown = show(&mut client, &name);
        if status == 422 {
            assert!(
                shown["last_refused"]["reason"].is_string(),
                "{what}: {shown}"
            );
        }
        assert_eq!(
            (&shown["enforced"]["sha256"], &shown["revision"]),
            (&first["sha256"], &json!(1)),
            "{what}: {shown}"
        );
    }
    // Everything that is wrong with settings is told at once.
    let (_, answer) = send(
        &mut client,
        "PATCH",
        &name,
        &json!({"settings": {"symbol": ""}}),
    );
    assert_eq!(answer["problems"][0]["field"], "symbol", "{answer}");
    let (_, answer) = send(&mut client, "PATCH", &name, &json!({}));
    assert_eq!(answer["field"], "body", "{answer}");
    let unknown = send(&mut client, "PATCH", &moody_name(5), &json!({"order": 1}));
    assert_eq!(unknown.0, 404, "{}", unknown.1);
    // What was never in force can be asked after too.
    let nobody = moody_name(9);
    assert_eq!(client.get(&format!("/v1/policies/{nobody}")).0, 404);
    assert_eq!(
        send(
            &mut client,
            "PUT",
            &nobody,
            &upload_of(b"hello", &json!({}))
        )
        .0,
        422
    );
    assert!(show(&mut client, &nobody)["last_refused"]["reason"].is_string());
    put(
        &mut client,
        &moody_name(1),
        &moody_component(1, 1),
        &json!({}),
    );
    let third = send(
        &mut client,
        "PUT",
        &moody_name(2),
        &upload_of(&moody_component(2, 1), &json!({})),
    );
    assert_eq!(
        (third.0, &third.1["type"]),
        (409, &json!("urn:ark:problem:too-many-policies"))
    );
    let decision = propose(&mut client, "S1");
    assert_eq!(part(&decision, &name)["rules"][2]["answer"], "warn");
    assert_eq!(host.terminate(), Some(0));
    assert_eq!(replay(&place)["identical"], 1);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn the_order_is_explicit_and_so_are_keys_and_revisions() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    for (number, order) in [(1, 30), (2, 10), (3, 20)] {
        put(
            &mut client,
            &moody_name(number),
            &moody_component(number, 1),
            &json!({"order": order}),
        );
    }
    let asked = |client: &mut Client| -> Vec<String> {
        let decision = propose(client, "S1");
        let parts = decision["policies"].as_array().expect("policies").iter();
        parts
            .skip(1)
            .map(|part| part["policy"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let named = |numbers: [u8; 3]| numbers.map(moody_name).to_vec();
    assert_eq!(asked(&mut client), named([2, 3, 1]));
    let (status, answer) = send(&mut client, "PATCH", &moody_name(1), &json!({"order": 5}));
    assert_eq!((status, &answer["revision"]), (200, &json!(2)), "{answer}");
    assert_eq!(asked(&mut client), named([1, 2, 3]));
    let listed = client.get("/v1/policies?limit=2").1;
    let names: Vec<&Value> = listed["policies"]
        .as_array()
        .expect("policies")
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(
        names,
        [&json!(moody_name(1)), &json!(moody_name(2))],
        "{listed}"
    );
    let cursor = listed["next_cursor"].as_str().expect("a cursor");
    let rest = client.get(&format!("/v1/policies?cursor={cursor}")).1;
    assert_eq!(rest["policies"].as_array().map(Vec::len), Some(1), "{rest}");
    // A revision that is not the policy's, in a header and in the body.
    let name = moody_name(1);
    let path = format!("/v1/policies/{name}");
    let json_type = ("Content-Type", "application/json");
    let (status, headers, _) = client
        .request(
            "PATCH",
            &path,
            &[json_type, ("If-Match", "\"2\"")],
            br#"{"order": 6}"#,
        )
        .expect("an answer");
    let tag = headers
        .iter()
        .find(|(name, _)| name == "etag")
        .map(|(_, tag)| tag.as_str());
    assert_eq!((status, tag), (200, Some("\"3\"")));
    let stale = client
        .request(
            "PATCH",
            &path,
            &[json_type, ("If-Match", "\"2\"")],
            br#"{"order": 7}"#,
        )
        .expect("an answer");
    assert_eq!(stale.0, 412);
    let there = client
        .request("DELETE", &path, &[("If-None-Match", "*")], b"")
        .expect("an answer");
    assert_eq!(there.0, 412);
    // The same key is carried out once, and another request under it is refused.
    put(&mut client, &name, &moody_component(1, 2), &json!({}));
    let keyed = |client: &mut Client, body: &str| {
        let headers = [json_type, ("Idempotency-Key", "k-1")];
        let path = format!("{path}/rollout");
        let (status, _, answer) = client
            .request("POST", &path, &headers, body.as_bytes())
            .expect("an answer");
        (
            status,
            serde_json::from_slice::<Value>(&answer).expect("JSON"),
        )
    };
    let first = keyed(&mut client, r#"{"number": 1}"#);
    assert_eq!(
        (first.0, &first.1["revision"]),
        (200, &json!(5)),
        "{}",
        first.1
    );
    assert_eq!(keyed(&mut client, r#"{"number": 1}"#), first);
    assert_eq!(keyed(&mut client, r#"{"number": 2}"#).0, 422);
    assert_eq!(show(&mut client, &name)["revision"], 5);
    let (status, answer) = client.post(&format!("{path}/rollback"), &json!({}));
    assert_eq!((status, &answer["enforced"]), (200, &json!(2)), "{answer}");
    let (status, answer) = client.post(&format!("{path}/rollout"), &json!({"number": 77}));
    assert_eq!(
        (status, &answer["field"]),
        (404, &json!("number")),
        "{answer}"
    );
    let (status, _, bytes) = client
        .request("GET", &format!("{path}/versions/2/component"), &[], b"")
        .expect("an answer");
    assert_eq!((status, bytes), (200, moody_component(1, 2)));
    assert_eq!(
        client.get(&format!("{path}/versions/1")).1["sha256"],
        sha256(&moody_component(1, 1))
    );
    // Taken out, it is not asked; its versions stay.
    let (status, answer) = send(
        &mut client,
        "DELETE",
        &format!("{name}?by=ada&reason=gone"),
        &Value::Null,
    );
    assert_eq!(
        (status, &answer["enforced"]),
        (200, &Value::Null),
        "{answer}"
    );
    assert_eq!(asked(&mut client).len(), 2);
    assert_eq!(send(&mut client, "DELETE", &name, &Value::Null).0, 404);
    let (status, answer) = client.post(&format!("{path}/rollout"), &json!({"number": 1}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(asked(&mut client).len(), 3);
}

#[test]
fn a_change_is_the_tokens_that_made_it_and_needs_its_role() {
    let place = TestDir::new("");
    let _ = make_token(&place.data(), "root", "admin", &[]);
    let token = make_token(&place.data(), "olga", "operator", &[]);
    let reader = make_token(&place.data(), "rita", "reader", &[]);
    let host = place.start();
    let call = |token: &str, method: &str, path: &str, body: &Value| {
        Client::with_token(&host, token).send(method, path, body)
    };
    let path = format!("/v1/policies/{}", moody_name(0));
    let mut body = upload_of(&moody_component(0, 1), &json!({}));
    assert_eq!(call(&reader, "PUT", &path, &body).0, 403);
    assert_eq!(call(&token, "PUT", &path, &body).0, 200);
    body["by"] = json!("ada");
    let (status, answer) = call(&token, "PUT", &path, &body);
    assert_eq!((status, &answer["field"]), (403, &json!("by")), "{answer}");
    let (_, shown) = call(&reader, "GET", &path, &Value::Null);
    assert_eq!(shown["changed_by"], "olga", "{shown}");
    assert_eq!(call(&reader, "DELETE", &path, &Value::Null).0, 403);
    assert_eq!(call(&token, "DELETE", &path, &Value::Null).0, 200);
}
