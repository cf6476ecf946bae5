//! What users of the command line get wrong is answered with what to do, in the words of the command line; and what they look for is shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ark_tests::{
    TestDir, copy_agent, guests_dir, mark_component, policies_dir, sha256, wait_until,
};
use serde_json::{Value, json};

use super::{ark, printed, said};

fn path_text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of slips")]
fn mistakes_are_answered_with_the_remedy() {
    let dir = TestDir::new("");
    let host = dir.start();
    let url = format!("http://{}", host.address);
    let agent = guests_dir().join("kyle.wasm");
    let agent = path_text(&agent);
    let policy = policies_dir().join("symbol-allowlist.wasm");
    let policy = path_text(&policy);
    for (args, told) in [
        (
            &["webhooks", "redeliver", "desk"][..],
            &["give EVENT", "--all"][..],
        ),
        (
            &["webhooks", "dead-letters", "desk"],
            &["`ark webhooks list`"],
        ),
        (
            &["signals", "redeliver", "--agent", "kyle"],
            &["give SIGNAL", "--all"],
        ),
        (&["agent", "canary", "kyle"], &["give NUMBER", "--end"]),
        (&["policy", "settings", "size"], &["give FILE", "--none"]),
        (
            &["policy", "order", "size", "abc"],
            &["'abc'", "give a whole number"],
        ),
        (
            &["policy", "upload", "none.wasm"],
            &["none.wasm: there is no such file; give the component of a policy"],
        ),
        (
            &["policy", "upload", policy, "--settings", "none.json"],
            &["--settings none.json: there is no such file; give a file with the settings"],
        ),
        (
            &["agent", "upload", "none.toml"],
            &["none.toml", "give the manifest of an agent"],
        ),
        (
            &["agent", "list", "--token-file", "none"],
            &[
                "--token-file none: there is no such file; give the file that holds the bearer token",
            ],
        ),
        (
            &["agent", "list", "--url", ""],
            &["--url \"\": give the address of a host"],
        ),
        (
            &["agent", "list", "--url", "localhost:8000"],
            &["give the address of a host with http:// or https://"],
        ),
        (
            &["agent", "upload", agent],
            &["it is a component; give the manifest", "`ark agent add`"],
        ),
        (
            &["agent", "run", agent, "--topic", "market.tick"],
            &["it is a component; give the manifest"],
        ),
        (
            &["policy", "upload", agent],
            &["it is an agent", "not a policy", "`ark agent upload`"],
        ),
        (
            &["agent", "add", policy, "--topic", "x", "--grant", "none"],
            &["it is a policy", "not an agent", "`ark policy upload FILE`"],
        ),
        (
            &[
                "token",
                "create",
                "--role",
                "reader",
                "--name",
                "x",
                "--expires",
                "2000-01-01T00:00:00Z",
            ],
            &["this moment is past"],
        ),
        (
            &["policy", "diff", "none", policy, "--since", "yesterday"],
            &["--since yesterday: give milliseconds since 1970, RFC 3339"],
        ),
    ] {
        let output = ark(dir.path(), &url, args, &[]);
        assert!(!output.status.success(), "{args:?}");
        for words in told {
            assert!(
                said(&output).contains(words),
                "{args:?}: {words}\n{}",
                said(&output)
            );
        }
    }
    let history = ["rollback", "--journal", "journal", "history"];
    let history = ark(dir.path(), &url, &history, &[]);
    assert!(history.status.success(), "{}", said(&history));
    assert_eq!(printed(&history), "");
    assert_eq!(
        said(&history),
        "ark: no rollback of this host has been recorded\n"
    );
    let synthetic = [
        "synthetic",
        "--journal",
        "synthetic",
        "--agent",
        "nobody",
        "--dry-run",
    ];
    let synthetic = said(&ark(dir.path(), &url, &synthetic, &[]));
    assert_eq!(
        synthetic.matches("`submitters` in ark.toml").count(),
        1,
        "{synthetic}"
    );
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn trials_and_alerts_are_shown() {
    let dir = TestDir::new("");
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let url = format!("http://{}", host.address);
    let done = |args: &[&str]| {
        let output = ark(dir.path(), &url, args, &[]);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        printed(&output)
    };
    let component = fs::read(guests_dir().join("kyle.wasm")).expect("a component");
    let component = mark_component(component, 1);
    let manifest: String = fs::read_to_string(guests_dir().join("kyle.toml"))
        .expect("a manifest")
        .lines()
        .map(|line| {
            if line.starts_with("sha256") {
                format!("sha256 = \"{}\"\n", sha256(&component))
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    fs::write(dir.path().join("kyle.wasm"), &component).expect("a file");
    fs::write(dir.path().join("kyle.toml"), manifest).expect("a file");
    fs::write(
        dir.path().join("allowed.json"),
        "{\"allowed\": [\"BTC-*\"]}",
    )
    .expect("a file");
    done(&["agent", "upload", "kyle.toml", "--no-rollout"]);
    done(&["agent", "canary", "kyle", "1", "--share", "0.5"]);
    let policy = policies_dir().join("symbol-allowlist.wasm");
    let policy = path_text(&policy);
    let upload = ["policy", "upload", policy, "--shadow"];
    done(&[&upload[..], &["--settings", "allowed.json"]].concat());

    let status = ["canary", "--journal", "journal", "status"];
    let json: Value = serde_json::from_str(&done(&[&status[..], &["--json"]].concat()))
        .expect("JSON for programs");
    let trial = &json["agents"][0];
    assert_eq!(
        (&trial["name"], &trial["canary"]["number"]),
        (&json!("kyle"), &json!(1)),
        "{json}"
    );
    let text = done(&status);
    assert!(
        text.contains("agent     kyle: version 1 (0.1.0) is on trial with a share of 0.5"),
        "{text}"
    );
    assert!(
        text.contains("policy    symbol-allowlist: version 1 ("),
        "{text}"
    );
    let listed = done(&["agent", "list"]);
    assert!(
        listed.contains("version 1 (0.1.0) on trial with a share of 0.5"),
        "{listed}"
    );

    // What is on trial alone has settings to lose, too.
    let dropped = ark(dir.path(), &url, &upload, &[]);
    assert!(
        said(&dropped).contains("version 1 of symbol-allowlist has settings")
            && said(&dropped).contains(".shadow.settings"),
        "{}",
        said(&dropped)
    );

    done(&["watchdog", "quarantine", "kyle", "--reason", "a test"]);
    wait_until("the quarantine is an alert", || {
        let alerts = done(&["watchdog", "alerts", "--agent", "kyle"]);
        alerts.contains("quarantined")
    });
    let alerts = ["watchdog", "alerts", "--kind", "quarantined"];
    let table = done(&alerts);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(
        table.starts_with("at ") && table.contains("critical"),
        "{table}"
    );
    let json: Value = serde_json::from_str(&done(&[&alerts[..], &["--json"]].concat()))
        .expect("JSON for programs");
    assert_eq!(json["alerts"][0]["agent"], "kyle", "{json}");
    let none = ark(
        dir.path(),
        &url,
        &["watchdog", "alerts", "--kind", "overfill"],
        &[],
    );
    assert_eq!(printed(&none), "");
    assert!(said(&none).starts_with("ark: no such alerts"));
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn compiled_modules_are_kept_for_their_user_and_a_run_shows_the_agent_alone() {
    let dir = TestDir::new("");
    let manifest = guests_dir().join("kyle.toml");
    let payload = json!({"symbol": "BTC-USD", "price": 64_000.0, "volume": 1.0, "at": 0});
    let payload = payload.to_string();
    let run = |cache: &str| {
        let args = [
            "agent",
            "run",
            path_text(&manifest),
            "--topic",
            "market.tick",
            "--payload",
            &payload,
        ];
        let output = ark(dir.path(), "", &args, &[("XDG_CACHE_HOME", cache)]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(
            !said(&output).contains("audit log anchored"),
            "{}",
            said(&output)
        );
    };
    // Without a cache it is compiled each time, which is no error.
    run("/dev/null");
    let cache = dir.path().join("cache");
    run(path_text(&cache));
    let modules = cache.join("ark/modules");
    let mode = fs::metadata(&modules).expect("a directory").permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    let kept = count_modules(&modules);
    assert!(kept > 0, "no module is kept");
    run(path_text(&cache));
    assert_eq!(count_modules(&modules), kept, "a module was compiled again");
}

/// The number of compiled modules below a directory.
fn count_modules(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .map(|path| {
            if path.is_dir() {
                count_modules(&path)
            } else {
                // The cache writes how often a module was used beside it.
                usize::from(path.extension().is_none())
            }
        })
        .sum()
}
