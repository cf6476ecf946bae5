//! What tests of several modules are given.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_client::{Endpoint, HostClient};
use ark_model::ids::{AuditId, Millis};
use ark_store::{AuditEntry, AuditKind, Store, StoreConfig, Unit};
use serde::Serialize;
use serde_json::Value;

use crate::durable::place_file;
use crate::exchange::HostControl;
use crate::exclusion::ExchangeKind;
use crate::haproxy::ServerStatus;
use crate::journal::Journal;
use crate::rollback::RollbackPlan;
use crate::synthetic::SyntheticOptions;

/// A client of a host that nobody asks.
pub(crate) fn build_client() -> HostClient {
    let endpoint = Endpoint {
        url: "http://127.0.0.1:9".to_owned(),
        token: None,
        ca: None,
    };
    HostClient::new(&endpoint).unwrap()
}

/// Writes a journal of the client's host with these entries, as a command leaves it that has ended.
pub(crate) fn write_journal(
    client: &HostClient,
    kind: ExchangeKind,
    path: &Path,
    entries: &[impl Serialize],
) {
    let (mut journal, _) = Journal::open::<Value>(path, &kind.owner_for(client)).unwrap();
    for entry in entries {
        journal.record_entry(entry).unwrap();
    }
}

/// A load of 40 ticks, each fifth with a violation.
pub(crate) fn build_synthetic() -> SyntheticOptions {
    SyntheticOptions {
        agent: "synthetic".to_owned(),
        topic: "synthetic.tick".to_owned(),
        duration: Duration::from_secs(80),
        hz: 0.5,
        violation_every: 5,
        journal: "journal".into(),
    }
}

/// A rollback in a directory, to a program that is not there, so that none can begin.
pub(crate) fn build_rollback(dir: &Path) -> RollbackPlan {
    RollbackPlan {
        version: "1".to_owned(),
        reason: "it is slow".to_owned(),
        upgrade: None,
        binary: dir.join("ark-1"),
        data_dir: dir.join("data"),
        snapshots: dir.join("snapshots"),
        snapshot: None,
        control: HostControl::Commands {
            stop: "true".to_owned(),
            start: "true".to_owned(),
        },
        timeout: Duration::from_secs(1),
        tries: 1,
        pause: Duration::from_millis(1),
        traffic: None,
        validation: None,
        canary_journal: dir.join("canary"),
        upgrade_journal: None,
    }
}

/// A server of `HAProxy` with a weight: it is up, and no request was sent to it.
pub(crate) fn build_server(name: &str, weight: u32) -> ServerStatus {
    ServerStatus {
        name: name.to_owned(),
        status: "UP".to_owned(),
        weight,
        is_backup: false,
        sessions: 0,
        current: 0,
        connection_errors: 0,
        response_errors: 0,
        server_errors: 0,
        repeated: 0,
        redispatched: 0,
        failed_checks: 0,
        times_down: 0,
        check: "L7OK".to_owned(),
    }
}

/// Appends so many decisions to the audit log of a data directory.
pub(crate) fn record_decisions(data_dir: &Path, count: usize) {
    let store = Store::open(&StoreConfig::in_dir(data_dir)).unwrap();
    let decision = || AuditEntry {
        kind: AuditKind::Decision,
        id: AuditId::fresh(),
        trace_id: None,
        agent: None,
        action_type: Some("trade".to_owned()),
        outcome: None,
        at: Millis(1),
        body: "{}".to_owned(),
        subject: None,
    };
    let unit = Unit {
        audit: std::iter::repeat_with(decision).take(count).collect(),
        ..Unit::default()
    };
    store.commit(unit).unwrap();
    store.close();
}

/// A program that prints a text, whatever it is asked.
pub(crate) fn write_printer(dir: &Path, prints: &str) -> PathBuf {
    write_program(dir, &format!("echo '{prints}'"))
}

/// A program that is a script of the shell.
pub(crate) fn write_program(dir: &Path, script: &str) -> PathBuf {
    let program = dir.join("ark");
    place_file(&program, |file| {
        file.write_all(format!("#!/bin/sh\n{script}\n").as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o755))
    })
    .unwrap();
    program
}
