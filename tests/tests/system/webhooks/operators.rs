//! What operators see of webhooks and do with them, by API and command line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ark_tests::{Client, Host, run_ark, wait_until};
use serde_json::{Value, json};

use super::receiver::{OK, Reaction, Receiver};
use super::{Hooks, QUICK, SECRET, propose, propose_some};

/// Makes a receiver answer with a status that can be changed; 204 is success.
fn answer_with(receiver: &Receiver, status: u16) -> Arc<AtomicU16> {
    let status = Arc::new(AtomicU16::new(status));
    let told = Arc::clone(&status);
    receiver.react(move |_| match told.load(Ordering::SeqCst) {
        204 => OK,
        status => Reaction::Status(status, Vec::new()),
    });
    status
}

fn show_webhook(host: &Host, name: &str) -> Value {
    let (status, answer) = Client::new(host).get("/v1/webhooks");
    assert_eq!(status, 200, "{answer}");
    let webhooks = answer["webhooks"].as_array().expect("webhooks");
    let found = webhooks.iter().find(|it| it["name"] == name);
    found.expect("the webhook").clone()
}

fn dead_letters(host: &Host, query: &str) -> Value {
    let path = format!("/v1/webhooks/desk/dead-letters{query}");
    let (status, answer) = Client::new(host).get(&path);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn list_dead_letters(host: &Host) -> Vec<Value> {
    let answer = dead_letters(host, "");
    answer["dead_letters"].as_array().expect("a list").clone()
}

fn post_redelivery(host: &Host, key: &str, body: &Value) -> (u16, Value) {
    let path = "/v1/webhooks/desk/redeliver";
    let headers = [("Idempotency-Key", key)];
    let sent = Client::new(host).try_send("POST", path, &headers, body);
    sent.expect("an answer")
}

/// What `ark webhooks list` prints.
fn list_webhooks(host: &Host) -> String {
    let url = format!("http://{}", host.address);
    let output = run_ark(&["webhooks", "list", "--url", &url]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn start_with_receiver(more: &str) -> (Receiver, Hooks) {
    let receiver = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    let limits = format!("events = [\"ark.decision.*\"]\n{QUICK}{more}\n");
    hooks.add("desk", receiver.port, &limits);
    (receiver, hooks)
}

#[test]
fn dead_letters_are_listed_and_delivered_again_one_or_all() {
    let (receiver, hooks) = start_with_receiver("max_attempts = 2");
    let status = answer_with(&receiver, 500);
    let host = hooks.dir.start();
    let decided = propose_some(&host, 4);
    wait_until("four dead letters", || list_dead_letters(&host).len() == 4);
    let shown = show_webhook(&host, "desk");
    assert_eq!(shown["status"], "failing", "{shown}");
    assert_eq!(shown["attempts"]["refused"], 8);
    assert_eq!(shown["dead_letters"], 4);
    assert_eq!(shown["problem"], "the receiver answered 500");
    assert!(shown["failing_since_ms"].is_u64());
    let listed = list_webhooks(&host);
    assert!(listed.contains("no attempt has succeeded yet"), "{listed}");
    assert_eq!(
        shown["origin"],
        format!("http://127.0.0.1:{}", receiver.port)
    );
    // A page at a time, newest first.
    let page = dead_letters(&host, "?limit=3");
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = dead_letters(&host, &format!("?limit=3&cursor={cursor}"));
    assert!(rest["next_cursor"].is_null());
    let pages = [&page, &rest].map(|it| it["dead_letters"].as_array().expect("a list").clone());
    let listed: Vec<Value> = pages.concat();
    let ids: Vec<&Value> = listed
        .iter()
        .map(|it| &it["event"]["data"]["decision_id"])
        .collect();
    let mut expected: Vec<&str> = decided.iter().map(String::as_str).collect();
    expected.reverse();
    assert_eq!(ids, expected);
    let oldest = &listed[3];
    assert_eq!(oldest["failed_attempts"], 2);
    assert_eq!(oldest["reason"], "the receiver answered 500");
    assert_eq!(oldest["event"]["id"], oldest["event_id"]);
    let event_id = oldest["event_id"].as_str().expect("an id");

    // One more attempt that fails leaves it a dead letter.
    let one = json!({"event_id": event_id, "reason": "a look"});
    let (code, answer) = post_redelivery(&host, "first", &one);
    assert_eq!(
        (code, &answer["dead_letters"]),
        (202, &json!(1)),
        "{answer}"
    );
    wait_until("a third attempt", || {
        list_dead_letters(&host)[3]["failed_attempts"] == 3
    });
    assert!(list_dead_letters(&host)[3]["redeliver_at_ms"].is_null());

    // The same request under its key does nothing more; another one is refused.
    status.store(204, Ordering::SeqCst);
    let before = receiver.received().len();
    let (code, again) = post_redelivery(&host, "first", &one);
    assert_eq!((code, again), (202, answer));
    assert_eq!(post_redelivery(&host, "first", &json!({})).0, 422);
    let (code, answer) = post_redelivery(&host, "second", &one);
    assert_eq!(code, 202, "{answer}");
    wait_until("it is delivered", || list_dead_letters(&host).len() == 3);
    let received = receiver.received();
    assert_eq!(received.len(), before + 1);
    assert_eq!(received[before].id, event_id);
    assert_eq!(received[before].body, received[0].body);
    // The receiver takes events again, so nothing fails any more.
    wait_until("the webhook does not fail", || {
        let shown = show_webhook(&host, "desk");
        shown["failing_since_ms"].is_null() && shown["status"] != "failing"
    });
    let (code, answer) = post_redelivery(&host, "third", &one);
    assert_eq!(code, 404, "{answer}");

    // All that are left, oldest first.
    let (code, answer) = post_redelivery(&host, "fourth", &json!({}));
    assert_eq!(
        (code, &answer["dead_letters"]),
        (202, &json!(3)),
        "{answer}"
    );
    wait_until("they are delivered", || list_dead_letters(&host).is_empty());
    let again: Vec<Value> = receiver.received()[before + 1..]
        .iter()
        .map(|it| it.event["data"]["decision_id"].clone())
        .collect();
    assert_eq!(again, decided[1..]);
    assert_eq!(show_webhook(&host, "desk")["dead_letters"], 0);
    let recorded: u64 =
        hooks.query("SELECT count(*) FROM audit_log WHERE action_type = 'webhook.redeliver'");
    assert_eq!(recorded, 3);
}

#[test]
fn a_redelivery_that_was_asked_for_is_made_after_a_kill() {
    let (receiver, hooks) = start_with_receiver("max_attempts = 1");
    let status = answer_with(&receiver, 500);
    let host = hooks.dir.start();
    let decided = propose(&host);
    wait_until("a dead letter", || list_dead_letters(&host).len() == 1);
    // The host is killed while the attempt is under way.
    let (silent, is_silent) = std::sync::mpsc::channel();
    receiver.react(move |_| {
        let _ = silent.send(());
        Reaction::Silence
    });
    assert_eq!(post_redelivery(&host, "key", &json!({})).0, 202);
    is_silent.recv().expect("an attempt");
    host.send_kill();
    status.store(204, Ordering::SeqCst);
    receiver.react(|_| OK);
    let host = hooks.dir.restart_killed(&host);
    wait_until("it is delivered", || list_dead_letters(&host).is_empty());
    let last = receiver.received().pop().expect("an event");
    assert_eq!(last.event["data"]["decision_id"], decided.as_str());
}

#[test]
fn a_webhook_that_was_disabled_goes_on_where_it_was_when_it_is_enabled() {
    let (receiver, hooks) = start_with_receiver("");
    let status = answer_with(&receiver, 410);
    let host = hooks.dir.start();
    let mut client = Client::new(&host);
    let enable = |client: &mut Client| {
        client.post(
            "/v1/webhooks/desk/enable",
            &json!({"by": "ada", "reason": "it is back"}),
        )
    };
    let (code, answer) = enable(&mut client);
    assert_eq!(
        (
            code,
            &answer["type"]
                .as_str()
                .is_some_and(|it| it.ends_with("not-disabled"))
        ),
        (409, &true),
        "{answer}"
    );
    let decided = propose_some(&host, 2);
    wait_until("it is disabled", || {
        show_webhook(&host, "desk")["status"] == "disabled"
    });
    let shown = show_webhook(&host, "desk");
    assert!(
        shown["problem"]
            .as_str()
            .is_some_and(|it| it.contains("410")),
        "{shown}"
    );
    assert!(
        shown["disabled_at_ms"].is_u64() && shown["waiting"].as_u64() >= Some(2),
        "{shown}"
    );
    assert_eq!(receiver.received().len(), 1);
    let (code, answer) = post_redelivery(&host, "key", &json!({}));
    assert_eq!(code, 409, "{answer}");
    let (_, ready) = client.get("/readyz");
    let degraded = ready["degraded"].to_string();
    assert!(
        degraded.contains("webhook desk") && degraded.contains("410"),
        "{ready}"
    );

    status.store(204, Ordering::SeqCst);
    assert_eq!(enable(&mut client).0, 200);
    receiver.wait_for_decision(&decided[1]);
    assert_eq!(receiver.decisions(), decided);
    wait_until("it delivers", || {
        show_webhook(&host, "desk")["status"] == "delivering"
    });
    let body: String =
        hooks.query("SELECT body FROM audit_log WHERE action_type = 'webhook.enable'");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (&body["by"], &body["reason"]),
        (&json!("ada"), &json!("it is back"))
    );
    assert_eq!(client.get("/v1/webhooks/none/dead-letters").0, 404);
    assert_eq!(client.post("/v1/webhooks/none/enable", &json!({})).0, 404);
    assert_eq!(
        client
            .post("/v1/webhooks/desk/redeliver", &json!({"event_id": "x"}))
            .0,
        400
    );
}

#[test]
fn the_command_line_lists_redelivers_and_enables() {
    let (receiver, hooks) = start_with_receiver("max_attempts = 1");
    let status = answer_with(&receiver, 500);
    let host = hooks.dir.start();
    let url = format!("http://{}", host.address);
    let ark = |args: &[&str]| {
        let output = run_ark(&[&["webhooks"], args, &["--url", &url]].concat());
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        told
    };
    propose(&host);
    wait_until("a dead letter", || list_dead_letters(&host).len() == 1);
    let listed = ark(&["list"]);
    assert!(
        listed.contains("desk  failing") && listed.contains("1 dead letters"),
        "{listed}"
    );
    assert!(!listed.contains("/hook"), "{listed}");
    let dead = ark(&["dead-letters", "desk"]);
    let id = list_dead_letters(&host)[0]["event_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(
        dead.contains(&id) && dead.contains("the receiver answered 500"),
        "{dead}"
    );
    status.store(204, Ordering::SeqCst);
    let told = ark(&["redeliver", "desk", &id, "--by", "ada"]);
    assert!(
        told.contains(&format!("{id} is sent to desk again")),
        "{told}"
    );
    wait_until("it is delivered", || list_dead_letters(&host).is_empty());
    assert!(ark(&["dead-letters", "desk"]).contains("nothing"));
    status.store(410, Ordering::SeqCst);
    propose(&host);
    wait_until("it is disabled", || {
        ark(&["list"]).contains("desk  disabled")
    });
    status.store(204, Ordering::SeqCst);
    assert!(ark(&["enable", "desk", "--by", "ada"]).contains("desk sends again"));
    wait_until("it delivers", || {
        ark(&["list"]).contains("desk  delivering")
    });
    assert!(ark(&["redeliver", "desk", "--all", "--by", "ada"]).contains("0 dead letters"));
}
