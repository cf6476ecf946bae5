//! Operator policies that files declare, those of `policies/` at work, and what can be proved of what they judged.

use std::path::{Path, PathBuf};

use ark_tests::artefacts::replay_decisions;
use ark_tests::policies::{moody_component, moody_name, put, read_policy, send, upload_of};
use ark_tests::{Client, Host, run_ark, sha256, trade, wait_for};
use serde_json::{Value, json};

fn propose_trade(client: &mut Client, symbol: &str) -> Value {
    let (status, answer) = client.post("/v1/actions", &trade(symbol, 0.01));
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Waits until a policy is as expected, and returns it.
fn wait_for_policy(client: &mut Client, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{name} is as expected"), || {
        let (_, shown) = client.get(&format!("/v1/policies/{name}"));
        holds(&shown).then_some(shown)
    })
}

fn write_component(path: &Path, bytes: impl AsRef<[u8]>) -> String {
    std::fs::write(path, bytes).expect("a file");
    path.display().to_string()
}

fn write_manifest(dir: &Path, number: u8, component: &[u8], rest: &str) -> PathBuf {
    let name = moody_name(number);
    write_component(&dir.join(format!("{name}.wasm")), component);
    let path = dir.join(format!("{name}.toml"));
    let digest = sha256(component);
    let text =
        format!("name = \"{name}\"\ncomponent = \"{name}.wasm\"\nsha256 = \"{digest}\"\n{rest}");
    write_component(&path, text);
    path
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn what_files_declare_is_in_force_and_theirs_alone_and_is_exchanged_on_sighup() {
    let dir = tempfile::tempdir().expect("a directory");
    let policies = dir.path().join("policies");
    std::fs::create_dir(&policies).expect("a directory");
    let data = dir.path().join("data");
    let configured = moody_component(1, 1);
    let file = write_component(&dir.path().join("house.wasm"), &configured);
    let config = |settings: &str| {
        let digest = sha256(&configured);
        let text = format!(
            "policies_dir = \"{}\"\n[[policies]]\nfile = \"{file}\"\nsha256 = \"{digest}\"\nsettings = {settings}\n",
            policies.display()
        );
        write_component(&dir.path().join("ark.toml"), text)
    };
    let config_file = config("{ mood = \"deny\", symbol = \"XYZ\" }");
    write_manifest(
        &policies,
        2,
        &moody_component(2, 1),
        "order = 5\n[settings]\nmood = \"warn\"\n",
    );
    write_manifest(
        &policies,
        3,
        &moody_component(3, 1),
        "mode = \"shadow\"\n[settings]\nmood = \"deny\"\n",
    );
    let host = Host::start(&data, &["--config", &config_file]);
    let mut client = Client::new(&host);
    let listed = client.get("/v1/policies").1;
    let rows: Vec<(Value, Value, Value)> = listed["policies"]
        .as_array()
        .expect("policies")
        .iter()
        .map(|row| {
            (
                row["name"].clone(),
                row["order"].clone(),
                row["source"].clone(),
            )
        })
        .collect();
    let row =
        |number, order: u32, source: &str| (json!(moody_name(number)), json!(order), json!(source));
    assert_eq!(
        rows,
        [
            row(2, 5, "directory"),
            row(1, 10, "configuration"),
            row(3, 1_000_000, "directory")
        ],
        "{listed}"
    );
    let decision = propose_trade(&mut client, "ABC");
    assert_eq!(decision["outcome"], "approved", "{decision}");
    assert_eq!(decision["shadows"][0]["outcome"], "denied", "{decision}");
    assert_eq!(propose_trade(&mut client, "XYZ")["outcome"], "denied");
    // The API cannot change what files say.
    for (number, component, owner) in [
        (1, moody_component(1, 2), "[[policies]]"),
        (2, moody_component(2, 2), "policies_dir"),
    ] {
        let name = moody_name(number);
        for (method, body) in [
            ("PUT", upload_of(&component, &json!({}))),
            ("PATCH", json!({"order": 1})),
            ("DELETE", Value::Null),
        ] {
            let (status, answer) = send(&mut client, method, &name, &body);
            assert_eq!(
                (status, &answer["field"]),
                (409, &json!("name")),
                "{answer}"
            );
            let remedy = answer["remedy"].as_str().unwrap_or_default();
            assert!(
                remedy.contains(owner) && remedy.contains("SIGHUP"),
                "{answer}"
            );
        }
    }
    // An uploaded one stands beside them.
    put(
        &mut client,
        &moody_name(4),
        &moody_component(4, 1),
        &json!({}),
    );
    // Read again: other settings, another component, one with bad settings, one taken away, and one that is new.
    config("{ mood = \"deny\", symbol = \"QQQ\" }");
    write_manifest(&policies, 2, &moody_component(2, 2), "order = 5\n");
    write_manifest(
        &policies,
        3,
        &moody_component(3, 1),
        "mode = \"shadow\"\n[settings]\nmood = \"glum\"\n",
    );
    write_manifest(&policies, 5, &moody_component(5, 1), "");
    host.hang_up();
    let new = sha256(&moody_component(2, 2));
    wait_for_policy(&mut client, &moody_name(2), |shown| {
        shown["enforced"]["sha256"] == *new
    });
    assert_eq!(propose_trade(&mut client, "XYZ")["outcome"], "approved");
    assert_eq!(propose_trade(&mut client, "QQQ")["outcome"], "denied");
    let refused = wait_for_policy(&mut client, &moody_name(3), |shown| {
        shown["last_refused"]["reason"].is_string()
    });
    let reason = refused["last_refused"]["reason"]
        .as_str()
        .unwrap_or_default();
    assert!(reason.contains("mood"), "{refused}");
    assert_eq!(refused["shadow"]["settings"]["mood"], "deny", "{refused}");
    wait_for_policy(&mut client, &moody_name(5), |shown| {
        shown["enforced"]["number"] == 1
    });
    std::fs::remove_file(policies.join(format!("{}.toml", moody_name(2)))).expect("a removal");
    host.hang_up();
    wait_for_policy(&mut client, &moody_name(2), |shown| {
        shown["revision"].is_u64() && shown["enforced"].is_null()
    });
    let decision = propose_trade(&mut client, "ABD");
    let parts = decision["policies"].as_array().map(Vec::len);
    assert_eq!(parts, Some(4), "the Graveyard, 1, 4 and 5: {decision}");
    assert_eq!(host.terminate(), Some(0));
    // A start refuses what a reload left as it was.
    let refused = Host::try_start(&data, &["--config", &config_file]);
    let output = refused.err().expect("a refusal");
    assert!(
        output.contains("operator policy") && output.contains("mood"),
        "{output}"
    );
    write_manifest(&policies, 3, &moody_component(3, 1), "");
    let host = Host::start(&data, &["--config", &config_file]);
    let decision = propose_trade(&mut Client::new(&host), "ABE");
    assert_eq!(
        decision["policies"].as_array().map(Vec::len),
        Some(5),
        "{decision}"
    );
    assert_eq!(host.terminate(), Some(0));
    let report = replay_decisions(&data);
    assert_eq!(
        (&report["decisions"], &report["identical"]),
        (&json!(6), &json!(6)),
        "{report}"
    );
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn the_policies_of_the_house_judge_as_they_are_set_up_and_can_be_proved() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    let (hours, allowlist) = (read_policy("market-hours"), read_policy("symbol-allowlist"));
    let open = json!([{"name": "always", "symbols": ["*"], "zone": "UTC", "sessions": [{"open": "00:00", "close": "24:00"}]}]);
    let answer = put(
        &mut client,
        "market-hours",
        &hours,
        &json!({"settings": {"calendars": open}}),
    );
    assert!(answer["vectors"].as_u64() > Some(1), "{answer}");
    put(
        &mut client,
        "symbol-allowlist",
        &allowlist,
        &json!({"order": 1, "settings": {"allowed": ["BTC-*", "ETH-USD"]}}),
    );
    let approved = propose_trade(&mut client, "BTC-USD");
    assert_eq!(approved["outcome"], "approved", "{approved}");
    let order: Vec<&Value> = approved["policies"]
        .as_array()
        .expect("policies")
        .iter()
        .map(|part| &part["policy"])
        .collect();
    assert_eq!(order, ["graveyard", "symbol-allowlist", "market-hours"]);
    let denied = propose_trade(&mut client, "DOGE-USD");
    assert_eq!(denied["outcome"], "denied", "{denied}");
    let reason = denied["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.contains("symbol_allowed"), "{denied}");
    // Settings that do not make sense name their field.
    for (name, settings, field) in [
        (
            "market-hours",
            json!({"calendars": [{"name": "x", "zone": "Mars/Base", "sessions": []}]}),
            "settings.calendars[0]",
        ),
        ("symbol-allowlist", json!({"alowed": []}), "settings.alowed"),
    ] {
        let (status, answer) = send(&mut client, "PATCH", name, &json!({"settings": settings}));
        let found = answer["field"].as_str().unwrap_or_default();
        assert!(status == 422 && found.starts_with(field), "{answer}");
        assert!(answer["problems"][0]["remedy"].is_string(), "{answer}");
    }
    // Closed on every day, in shadow mode first.
    let closed = json!([{"name": "never", "symbols": ["*"], "zone": "UTC", "sessions": [{"days": ["mon"], "open": "00:00", "close": "00:01"}],
        "holidays": count_mondays()}]);
    let (status, answer) = send(
        &mut client,
        "PATCH",
        "market-hours",
        &json!({"settings": {"calendars": closed}, "mode": "shadow"}),
    );
    assert_eq!(status, 200, "{answer}");
    let watched = propose_trade(&mut client, "ETH-USD");
    assert_eq!(watched["outcome"], "approved", "{watched}");
    assert_ne!(watched["shadows"][0]["outcome"], "approved", "{watched}");
    assert_eq!(
        send(
            &mut client,
            "PATCH",
            "market-hours",
            &json!({"mode": "enforce"})
        )
        .0,
        200
    );
    assert_ne!(propose_trade(&mut client, "BTC-EUR")["outcome"], "approved");
    assert_eq!(host.terminate(), Some(0));
    // Everything that judged is found in the database.
    let data_dir = data.display().to_string();
    let report = replay_decisions(&data);
    assert_eq!(
        (&report["decisions"], &report["identical"]),
        (&json!(4), &json!(4)),
        "{report}"
    );
    // Evidence holds the settings; with the components it can be checked anywhere.
    let id = watched["decision_id"].as_str().expect("an id");
    let output = run_ark(&["audit", "export", "--decision", id, "--data-dir", &data_dir]);
    let evidence: Value = serde_json::from_slice(&output.stdout).expect("evidence");
    assert_eq!(
        evidence["settings"].as_object().map(serde_json::Map::len),
        Some(3),
        "{evidence}"
    );
    assert_eq!(
        evidence["policies"].as_array().map(Vec::len),
        Some(4),
        "{evidence}"
    );
    let file = write_component(&dir.path().join("evidence.json"), &output.stdout);
    let hours = write_component(&dir.path().join("hours.wasm"), &hours);
    let allowlist = write_component(&dir.path().join("allowlist.wasm"), &allowlist);
    let verify = |file: &str| {
        let args = [
            "audit", "verify", file, "--policy", &hours, "--policy", &allowlist,
        ];
        run_ark(&args).status.success()
    };
    assert!(verify(&file));
    let missing = run_ark(&["audit", "verify", &file, "--policy", &hours]);
    assert!(!missing.status.success());
    let mut forged = evidence.clone();
    for settings in forged["settings"]
        .as_object_mut()
        .expect("settings")
        .values_mut()
    {
        if settings["allowed"].is_array() {
            settings["allowed"] = json!(["*"]);
        }
    }
    let forged = write_component(&dir.path().join("forged.json"), forged.to_string());
    assert!(!verify(&forged));
    // A snapshot holds all of it.
    let snapshot = dir.path().join("snapshot");
    let taken = run_ark(&[
        "state",
        "snapshot",
        &snapshot.display().to_string(),
        "--data-dir",
        &data_dir,
    ]);
    assert!(
        taken.status.success(),
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
    let restored = dir.path().join("restored").display().to_string();
    let output = run_ark(&[
        "state",
        "restore",
        &snapshot.display().to_string(),
        "--data-dir",
        &restored,
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = replay_decisions(Path::new(&restored));
    assert_eq!(report["identical"], 4, "{report}");
    let host = Host::start(Path::new(&restored), &[]);
    assert_ne!(
        propose_trade(&mut Client::new(&host), "BTC-USD")["outcome"],
        "approved"
    );
}

/// Yesterday, today and tomorrow: whichever of them is a Monday, nothing is open.
fn count_mondays() -> Value {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time")
        .as_secs()
        / 86_400;
    (now - 1..=now + 1)
        .map(|day| json!(format_date(day)))
        .collect()
}

/// The date of a day since 1970 (days from civil, Howard Hinnant).
fn format_date(day: u64) -> String {
    let days = day + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 {
        (month + 3, era * 400 + year)
    } else {
        (month - 9, era * 400 + year + 1)
    };
    format!("{year:04}-{month:02}-{day:02}")
}

#[test]
fn the_command_line_does_what_the_api_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let url = format!("http://{}", host.address);
    let ark = |args: &[&str]| {
        let mut all = vec!["policy"];
        all.extend(args);
        all.extend(["--url", &url]);
        let output = run_ark(&all);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), text, errors)
    };
    let done = |args: &[&str]| {
        let (success, text, errors) = ark(args);
        assert!(success, "{args:?}: {errors}");
        text
    };
    let name = moody_name(1);
    let component = write_component(&dir.path().join("one.wasm"), moody_component(1, 1));
    let settings = write_component(&dir.path().join("settings.json"), r#"{"mood": "hold"}"#);
    let told = done(&[
        "upload",
        &component,
        "--settings",
        &settings,
        "--order",
        "7",
        "--reason",
        "a test",
    ]);
    assert!(
        told.contains("version 1 enforced") && told.contains("place 7"),
        "{told}"
    );
    let manifest = write_manifest(dir.path(), 1, &moody_component(1, 2), "mode = \"shadow\"\n");
    let manifest = manifest.display().to_string();
    let (success, _, errors) = ark(&["upload", &manifest]);
    assert!(
        !success && errors.contains("version 1 of") && errors.contains("--no-settings"),
        "{errors}"
    );
    let told = done(&["upload", &manifest, "--no-settings"]);
    assert!(
        told.contains("version 1 enforced, version 2 on trial"),
        "{told}"
    );
    assert!(done(&["enforce", &name]).contains("version 2 enforced, none on trial"));
    assert!(done(&["rollback", &name]).contains("version 1 enforced"));
    assert!(done(&["shadow", &name, "2"]).contains("version 2 on trial"));
    assert!(done(&["delete", &name, "--shadow"]).contains("none on trial"));
    assert!(done(&["settings", &name, "--none"]).contains("version 3 enforced"));
    assert!(done(&["settings", &name, &settings, "--shadow"]).contains("version 1 on trial"));
    assert!(done(&["rollout", &name, "2"]).contains("version 2 enforced"));
    assert!(done(&["order", &name, "3"]).contains("place 3"));
    let listed = done(&["list"]);
    assert!(listed.contains(&name) && listed.contains("api"), "{listed}");
    let shown: Value = serde_json::from_str(&done(&["show", &name])).expect("JSON");
    assert_eq!(shown["enforced"]["number"], 2, "{shown}");
    let (success, _, errors) = ark(&["delete", &name, "--expected-revision", "1"]);
    assert!(!success && errors.contains("revision"), "{errors}");
    let bad = write_component(&dir.path().join("bad.json"), r#"{"symbol": "low"}"#);
    let (success, _, errors) = ark(&["settings", &name, &bad]);
    assert!(!success && errors.contains("upper case"), "{errors}");
    done(&["delete", &name, "--reason", "over"]);
    let (success, _, errors) = ark(&["delete", &name]);
    assert!(
        !success && errors.contains("no operator policy"),
        "{errors}"
    );
}
