//! Webhooks: events arrive signed at receivers that do not play by the rules, and nothing is lost.

mod check;
mod delivery;
mod hostile;
mod kill;
mod operators;
mod receiver;
mod status;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use ark_tests::{Client, Host, TestDir, base64, trade, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// A secret that was drawn.
const SECRET: &[u8; 32] = b"\x02\x97\xf1kQ8\x1c\xd9\xe0z\x55\x8aTq\xb3\x0e\x6f\xc1,\xaa\x10\x99\x3d\xe7w\x81\x22\xfbE\x60\xcd\x13";
/// Another one.
const OTHER: &[u8; 32] = b"\xb2\x07\xe1\x1bQ8\x2c\xd8\xf0z\x45\x8bTr\xa3\x1e\x6e\xd1,\xab\x20\x98\x2d\xf7w\x91\x23\xf9E\x61\xbd\x23";
/// Short waits, so that a test waits for no back-off.
const QUICK: &str = "retry_ms = 10\nmax_retry_ms = 50\n";

/// A host's directory and configuration with webhooks.
struct Hooks {
    dir: TestDir,
    config: String,
}

impl Hooks {
    fn new() -> Self {
        Self {
            dir: TestDir::new(""),
            config: String::new(),
        }
    }

    /// Adds a webhook to a receiver on this machine, signed with [`SECRET`].
    fn add(&mut self, name: &str, port: u16, more: &str) {
        let url = format!("http://127.0.0.1:{port}/hook");
        let allowed = format!("allow_networks = [\"127.0.0.0/8\"]\n{more}");
        self.add_to(name, &url, &allowed);
    }

    fn add_to(&mut self, name: &str, url: &str, more: &str) {
        self.write_secrets(name, &[SECRET]);
        let _ = write!(
            self.config,
            "[[webhooks]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"{}\"\n{more}\n",
            self.secret_file(name).display()
        );
        self.dir.configure(&self.config);
    }

    fn secret_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.secret"))
    }

    /// Writes the secrets of a webhook, in one step as an operator does who replaces a file.
    fn write_secrets(&self, name: &str, secrets: &[&[u8]]) {
        let lines = secrets.iter().map(|it| format!("whsec_{}\n", base64(it)));
        let new = self.dir.path().join(format!("{name}.new"));
        std::fs::write(&new, lines.collect::<String>()).expect("a file");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o400)).expect("a mode");
        std::fs::rename(&new, self.secret_file(name)).expect("a file");
    }

    /// A number or a text of the database.
    fn query<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        wait_for(sql, || {
            let path = self.dir.data().join("ark.db");
            let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
            database.ok()?.query_row(sql, [], |row| row.get(0)).ok()
        })
    }
}

/// Makes a decision. Returns its id.
fn propose(host: &Host) -> String {
    let (status, answer) = Client::new(host).post("/v1/actions", &trade("BTC-USD", 0.0001));
    assert_eq!(status, 200, "{answer}");
    answer["decision_id"].as_str().expect("an id").to_owned()
}

fn propose_some(host: &Host, count: usize) -> Vec<String> {
    (0..count).map(|_| propose(host)).collect()
}

/// The part of an event that only events about decisions have.
fn is_decision(event: &Value) -> bool {
    let event_type = event["type"].as_str();
    event_type.is_some_and(|it| it.starts_with("ark.decision."))
}
