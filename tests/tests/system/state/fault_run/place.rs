//! The data directory of a run: its host, what was acknowledged, and how it is brought back after a fault.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_tests::{Client, Host, run_ark};
use rusqlite::Connection;
use serde_json::json;

use ark_tests::faults::find_faketime;

/// One data directory and what must be in it.
pub(super) struct FaultFixture {
    pub(super) data: PathBuf,
    pub(super) token: String,
    /// The acknowledged decisions of earlier rounds that are not reported lost.
    pub(super) known: Vec<String>,
    pub(super) clock: PathBuf,
}

impl FaultFixture {
    /// Makes a data directory whose host needs tokens.
    pub(super) fn new(run: &Path, number: u64) -> Self {
        let dir = run.join(format!("place-{number}"));
        std::fs::create_dir(&dir).expect("a directory");
        let data = dir.join("data");
        let clock = dir.join("clock");
        std::fs::write(&clock, "+0\n").expect("a clock");
        let mut place = Self {
            data,
            token: String::new(),
            known: Vec::new(),
            clock,
        };
        let host = place.start().expect("a host");
        let body = json!({"name": "admin", "role": "admin"});
        let (status, made) = Client::new(&host).post("/v1/tokens", &body);
        assert_eq!(status, 201, "{made}");
        made["token"]
            .as_str()
            .expect("a secret")
            .clone_into(&mut place.token);
        assert_eq!(host.terminate(), Some(0));
        place
    }

    pub(super) fn start(&self) -> Result<Host, String> {
        let library = find_faketime();
        let environment = [
            ("LD_PRELOAD", library.to_str().expect("UTF-8")),
            (
                "FAKETIME_TIMESTAMP_FILE",
                self.clock.to_str().expect("UTF-8"),
            ),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        Host::try_start_halted(&self.data, &[], &environment)
    }

    /// Runs a command on the data directory. Returns what it says when it fails.
    pub(super) fn run_command(&self, words: &[&str]) -> Result<(), String> {
        let data = self.data.to_str().expect("UTF-8");
        let output = run_ark(&[words, &["--data-dir", data]].concat());
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts a host after a fault. Where the start refuses, the database is brought back as the refusal says; returns whether what was
    /// acknowledged since `snapshot` was reported lost.
    pub(super) fn recover(&self, snapshot: &Path) -> (Host, bool) {
        let mut lost = false;
        for _ in 0..4 {
            let refused = match self.start() {
                Ok(host) => return (host, lost),
                Err(refused) => refused,
            };
            assert!(!refused.contains("panicked"), "{refused}");
            if refused.contains("is in use") {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            assert!(
                refused.contains("ark state restore"),
                "a refusal without a remedy: {refused}"
            );
            let rescued = find_rescued(&self.data);
            let from = rescued.clone().unwrap_or_else(|| {
                lost = true;
                snapshot.to_owned()
            });
            let from = from.to_str().expect("UTF-8");
            self.run_command(&["state", "restore", from, "--replace"])
                .unwrap_or_else(|error| panic!("{error}, after: {refused}"));
        }
        panic!("the host does not start again");
    }

    /// Checks that every decision is in the database.
    pub(super) fn check_present(&self, decisions: &[String], what: &str) {
        let database = Connection::open(self.data.join("ark.db")).expect("the database");
        let mut rows = database
            .prepare("SELECT id FROM audit_log")
            .expect("a query");
        let mut counts: HashMap<String, u64> = HashMap::new();
        for id in rows.query_map([], |row| row.get(0)).expect("rows") {
            *counts.entry(id.expect("an id")).or_default() += 1;
        }
        for id in decisions {
            assert_eq!(
                counts.get(id),
                Some(&1),
                "{what}: the decision {id} was acknowledged and is lost, or is there twice"
            );
        }
    }
}

/// The copy that a host made of files it had lost.
pub(super) fn find_rescued(data: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(data).ok()?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("rescued-") && !name.ends_with(".partial")
        })
        .collect();
    found.sort();
    found.pop()
}
