//! What a front judges again, and what it finds.

use std::path::{Path, PathBuf};

use ark_tests::policies::{moody_component, moody_name, put};
use ark_tests::{Client, Host, JSON, TestDir, header, make_token, sha256, trade, wait_until};
use serde_json::{Value, json};

use super::{counts, empty_config, front_before, settled_verdicts, token_file, write};

/// A configuration that declares the moody policy with this number under settings.
fn moody_config(dir: &TestDir, name: &str, component: &[u8], settings: &str) -> PathBuf {
    let digest = sha256(component);
    let file = write(dir, &format!("{name}-{digest:.8}.wasm"), component);
    let text = format!(
        "[[policies]]\nfile = \"{}\"\nsha256 = \"{digest}\"\nsettings = {settings}\n",
        file.display()
    );
    write(dir, &format!("{name}.toml"), text)
}

#[test]
fn a_front_with_other_policies_counts_what_differs_and_one_with_the_same_nothing() {
    let dir = TestDir::new("");
    let one = moody_component(1, 1);
    let config = |name: &str, component: &[u8], settings: &str| {
        moody_config(&dir, name, component, settings)
    };
    let same = config("same", &one, "{ mood = \"deny\", symbol = \"XYZ\" }");
    // Another build that answers alike, other settings, and no policy at all.
    let rebuilt = config(
        "rebuilt",
        &moody_component(1, 2),
        "{ mood = \"deny\", symbol = \"XYZ\" }",
    );
    let stricter = config("stricter", &one, "{ mood = \"deny\" }");
    let without = empty_config(&dir);
    let path = |path: &Path| path.display().to_string();
    let owner = Host::start(&dir.data(), &["--config", &path(&same)]);
    // Uploaded to the owner alone: every front judges with it too.
    put(
        &mut Client::new(&owner),
        &moody_name(2),
        &moody_component(2, 1),
        &json!({"mode": "enforce", "reason": "a test", "settings": {"mood": "deny", "symbol": "UPL"}}),
    );
    for (front, expected) in [
        (front_before(&owner, &same, &[]), [3, 0, 0]),
        (front_before(&owner, &rebuilt, &[]), [3, 0, 0]),
        (front_before(&owner, &stricter, &[]), [1, 2, 0]),
        (front_before(&owner, &without, &[]), [0, 3, 0]),
    ] {
        let mut client = Client::new(&front);
        let outcomes: Vec<Value> = ["XYZ", "ABC", "UPL"]
            .iter()
            .map(|symbol| client.post("/v1/actions", &trade(symbol, 0.01)).1["outcome"].clone())
            .collect();
        assert_eq!(
            outcomes,
            ["denied", "approved", "denied"],
            "the owner decides"
        );
        let verdicts = settled_verdicts(&front, 3);
        assert_eq!(counts(&verdicts), expected, "{verdicts:#}");
        for differing in verdicts["latest_different"].as_array().expect("a list") {
            let policies = differing["verdicts"]["policies"]
                .as_array()
                .expect("policies");
            assert_eq!(policies.len(), 1, "{differing:#}");
            assert_eq!(policies[0]["policy"], json!(moody_name(1)));
        }
        if expected == [1, 2, 0] {
            let change = verdicts["latest_different"].as_array().and_then(|list| {
                list.iter()
                    .find(|it| it["verdicts"]["recorded"] == "approved")
            });
            let change = &change.expect("the one on ABC")["verdicts"];
            assert_eq!(change["now"], "denied");
            assert_eq!(change["policies"][0]["recorded"]["fired"], json!([]));
        }
    }
    // Read again on SIGHUP.
    let changing = write(
        &dir,
        "changing.toml",
        std::fs::read(&stricter).expect("a file"),
    );
    let front = front_before(&owner, &changing, &[]);
    std::fs::copy(&same, &changing).expect("a copy");
    front.hang_up();
    let mut sent = 0;
    wait_until("the front judges by the new settings", || {
        let before = settled_verdicts(&front, sent)["same"].clone();
        Client::new(&front).post("/v1/actions", &trade("ABC", 0.001));
        sent += 1;
        settled_verdicts(&front, sent)["same"] != before
    });
}

#[test]
fn a_front_that_reads_a_request_otherwise_counts_it() {
    let declared = |symbol: &str| {
        format!(
            "[action_types.place_order]\nfamily = \"trade\"\nfields = {{ quantity = \"position_size_pct\", {symbol} = \"symbol\" }}\n"
        )
    };
    let dir = TestDir::new(&declared("ticker"));
    let owner = dir.start();
    let same = write(&dir, "same.toml", declared("ticker"));
    let other = write(&dir, "other.toml", declared("instrument"));
    for (config, expected) in [(&same, [1, 0, 0]), (&other, [0, 1, 0])] {
        let front = front_before(&owner, config, &[]);
        let order = json!({"agent": "api", "action_type": "place_order", "reasoning": "a test",
            "parameters": {"ticker": "BTC-USD", "quantity": 0.01, "side": "buy", "entry_price": 100.0, "stop_loss": 95.0}});
        let (status, answer) = Client::new(&front).post("/v1/actions", &order);
        assert_eq!(status, 200, "{answer}");
        let verdicts = settled_verdicts(&front, 1);
        assert_eq!(counts(&verdicts), expected, "{verdicts:#}");
    }
}

#[test]
fn a_token_that_was_wrong_is_read_again_on_hangup() {
    let dir = TestDir::new("");
    let root = make_token(&dir.data(), "root", "admin", &[]);
    let reader = make_token(&dir.data(), "front", "reader", &[]);
    let owner = dir.start();
    let file = token_file(&dir, "reader", "ark_wrong");
    let front = front_before(&owner, &empty_config(&dir), &["--token-file", &file]);
    let mut client = Client::with_token(&front, &root);
    for symbol in ["A", "B"] {
        client.post("/v1/actions", &trade(symbol, 0.001));
    }
    let verdicts = settled_verdicts(&front, 2);
    assert_eq!(counts(&verdicts), [0, 0, 2], "{verdicts:#}");
    assert_eq!(verdicts["unjudged_reasons"], json!({"no_record": 2}));
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(token_file(&dir, "reader", &reader), file);
    front.hang_up();
    let mut sent = 2;
    wait_until("the front reads records", || {
        client.post("/v1/actions", &trade("C", 0.001));
        sent += 1;
        counts(&settled_verdicts(&front, sent))[0] > 0
    });
    let log = front.terminate_for_log();
    let warned = log.matches("could not be judged again").count();
    assert_eq!(warned, 1, "one line a reason and minute: {log}");
}

#[test]
fn an_answer_that_is_given_again_is_no_further_decision() {
    let dir = TestDir::new("");
    let config = empty_config(&dir);
    let owner = Host::start(&dir.data(), &[]);
    let fronts = [(); 2].map(|()| front_before(&owner, &config, &[]));
    let body = trade("ABC", 0.01).to_string();
    let propose = |front: &Host, key: &str| {
        let headers = [JSON, ("Idempotency-Key", key)];
        let (status, headers, _) = Client::new(front)
            .request("POST", "/v1/actions", &headers, body.as_bytes())
            .expect("an answer");
        assert_eq!(status, 200);
        header(&headers, "idempotent-replayed").is_some()
    };
    let replayed = [(); 5].map(|()| propose(&fronts[0], "order-1"));
    assert_eq!(replayed, [false, true, true, true, true]);
    assert!(!propose(&fronts[0], "order-2"));
    assert_eq!(counts(&settled_verdicts(&fronts[0], 2)), [2, 0, 0]);
    // What another front passed on is new to this one, once.
    assert!(propose(&fronts[1], "order-1") && propose(&fronts[1], "order-1"));
    assert!(!propose(&fronts[1], "order-3"));
    assert_eq!(counts(&settled_verdicts(&fronts[1], 2)), [2, 0, 0]);
}
