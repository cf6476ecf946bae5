//! `ark doctor`: it collects what a report needs, and no secret that is planted anywhere.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use ark_tests::{Client, TestDir, ark_program, make_token, trade};

const REDIS_PASSWORD: &str = "planted-redis-1";
const FILE_PASSWORD: &str = "planted-file-2";
const SECRET_KEY: &str = "5ec2e7005ec2e7005ec2e7005ec2e7005ec2e7005ec2e7005ec2e7005ec2e700";
const LOGGED_PASSWORD: &str = "planted-log-3";
const STATE_SECRET: &str = "planted-state-4";
const PAYLOAD_SECRET: &str = "planted-payload-5";
const WEBHOOK_PATH: &str = "planted-path-6";
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn a_report_has_what_is_needed_and_no_secret() {
    // Nobody answers there: the host serves all the same.
    let url = format!("redis://ark:{REDIS_PASSWORD}@127.0.0.1:1/0");
    let dir = TestDir::new("");
    let webhook = format!("https://consumer.invalid/{WEBHOOK_PATH}");
    let webhook_secret = dir.path().join("webhook");
    std::fs::write(&webhook_secret, WEBHOOK_SECRET).expect("a file");
    let mode = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(&webhook_secret, mode).expect("a mode");
    dir.configure(&format!(
        "submitters = [\"api\"]\n[redis]\nurl = \"{url}\"\n[capacity]\nworkers = 7\n\
         [[webhooks]]\nname = \"desk\"\nurl = \"{webhook}\"\nsecret_file = \"{}\"\n",
        webhook_secret.display()
    ));
    let token = make_token(&dir.data(), "root", "admin", &[]);
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, FILE_PASSWORD).expect("a file");
    let host = dir.start();
    let mut client = Client::with_token(&host, &token);
    let mut action = trade("BTC-USD", 0.01);
    action["reasoning"] = PAYLOAD_SECRET.into();
    assert_eq!(client.post("/v1/actions", &action).0, 200);
    let state = serde_json::json!({"value": STATE_SECRET});
    assert_eq!(client.send("PUT", "/v1/state/kyle/secret", &state).0, 200);

    let log = dir.path().join("ark.log");
    let lines = [
        "a line that says nothing".to_owned(),
        format!("connecting to {url}"),
        format!("posting to {webhook}, signed with {WEBHOOK_SECRET}"),
        format!("Authorization: Bearer {token}"),
        format!("the key is {SECRET_KEY}, the password {FILE_PASSWORD}"),
        format!("login failed: password={LOGGED_PASSWORD}"),
    ];
    std::fs::write(&log, lines.join("\n")).expect("a file");
    let report = dir.path().join("report.md");
    let path = |path: &std::path::Path| path.display().to_string();
    let run = || {
        Command::new(ark_program())
            .args(["doctor", "--config", &path(&dir.config())])
            .args(["--data-dir", &path(&dir.data())])
            .args(["--log", &path(&log), "--output", &path(&report)])
            .args(["--url", &format!("http://{}", host.address)])
            .args([
                "--telemetry-listen",
                host.telemetry.as_deref().expect("telemetry"),
            ])
            .env("ARK_TOKEN", &token)
            .env("ARK_SECRET_KEY", SECRET_KEY)
            .env("OTHER_PASSWORD_FILE", &password_file)
            .output()
            .expect("ark starts")
    };
    let output = run();
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&report).expect("the report");
    for secret in [
        REDIS_PASSWORD,
        FILE_PASSWORD,
        SECRET_KEY,
        LOGGED_PASSWORD,
        STATE_SECRET,
        PAYLOAD_SECRET,
        WEBHOOK_PATH,
        WEBHOOK_SECRET,
        &token,
    ] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    for wanted in [
        concat!("ark ", env!("CARGO_PKG_VERSION")),
        "schema 16",
        "capacity.workers = 7",
        "ark.db",
        "GET /readyz",
        "\"ready\": true",
        "GET /v1/watchdog",
        "ark_store_check_runs_total {} ",
        "configuration     ",
        "a line that says nothing",
        "login failed",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    let mode = std::fs::metadata(&report)
        .expect("the report")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // A report that is there is not replaced.
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--output"), "{told}");
}
