//! The probe: an agent of the validation's own, which is uploaded, used and removed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, ClientError, HostClient, join_path};
use ark_model::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::quarantines::VALIDATION_PROBE;

use super::CaseFailure;

/// The probe's name. No agent of an operator has it.
pub(super) const PROBE: &str = VALIDATION_PROBE;
/// The key of the probe's state that is the lease of a run.
pub(super) const LEASE_KEY: &str = "run";
/// The topic on which the probe is told what to do.
const TOPIC: &str = "validation.probe";
/// The topic of the messages that it sends itself.
const ECHO_TOPIC: &str = "validation.echo";
/// The component, as `build.rs` makes it.
const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/validation-probe.wasm"));
/// Why everything is done, for the audit log.
const REASON: &str = "ark validate";
/// How many pages of the probe's keys are read at most; it has a handful.
const MAX_PAGES: u32 = 20;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The probe in a host.
pub(super) struct ValidationProbe<'a> {
    pub(super) client: &'a HostClient,
    pub(super) submitter: &'a HostClient,
    /// How long something that must come is waited for.
    pub(super) patience: Duration,
    /// Whether the validation is to stop.
    pub(super) stop: &'a AtomicBool,
}

impl ValidationProbe<'_> {
    /// Uploads the probe, which serves from then on.
    pub(super) fn upload_probe(&self) -> Result<(), ClientError> {
        let body = json!({
            "manifest": {
                "name": PROBE,
                "version": "1.0.0",
                "component": "probe.wasm",
                "sha256": Digest::hash_bytes(COMPONENT),
                "description": "The probe of a validation, which removes it.",
                "topics": [TOPIC, ECHO_TOPIC],
                "actions": ["message", "trade"],
            },
            "component": STANDARD.encode(COMPONENT),
            "reason": REASON,
        });
        let path = join_path(&["v1", "agents", PROBE]);
        self.client
            .upload("PUT", &path, &body)?
            .into_success()
            .map(drop)
    }

    /// Takes everything back: quarantine, agent, state. What is not there is no failure. The versions of the agent, the history of its state and
    /// the audit log stay, as they do for every agent. The lease is given back last, by itself.
    pub(super) fn remove_probe(&self) -> Result<(), ClientError> {
        let ignore_missing = |answer: Answer| match answer.status {
            404 => Ok(Value::Null),
            _ => answer.into_success(),
        };
        if self.is_quarantined()? {
            ignore_missing(self.post_order("restore")?)?;
        }
        let path = join_path(&["v1", "agents", PROBE]);
        let query = format!("force=true&reason={}", ark_client::escape_query(REASON));
        ignore_missing(self.client.send_json(
            "DELETE",
            &format!("{path}?{query}"),
            &[],
            &Value::Null,
        )?)?;
        let path = join_path(&["v1", "state", PROBE]);
        if self.client.get(&path)?.status == 404 {
            return Ok(());
        }
        for line in self.client.read_list(&path, "keys", MAX_PAGES)?.rows {
            let key = text_field(&line, "key");
            if key != LEASE_KEY {
                self.delete_key(key)?;
            }
        }
        Ok(())
    }

    /// The number of the probe's version that serves; `None`: none does.
    pub(super) fn find_serving(&self) -> Result<Option<u64>, ClientError> {
        let answer = self.client.get(&join_path(&["v1", "agents", PROBE]))?;
        match answer.status {
            404 => Ok(None),
            _ => Ok(answer
                .into_success()?
                .get("serving")
                .and_then(Value::as_u64)),
        }
    }

    /// Whether a host has had the probe: it keeps the versions of an agent that was removed.
    pub(super) fn is_known(&self) -> Result<bool, ClientError> {
        let answer = self.client.get(&join_path(&["v1", "agents", PROBE]))?;
        match answer.status {
            404 => Ok(false),
            _ => answer.into_success().map(|_| true),
        }
    }

    /// The probe's quarantine, if it is in one.
    pub(super) fn find_quarantine(&self) -> Result<Option<Value>, ClientError> {
        let status = self.client.get("/v1/watchdog")?.into_success()?;
        let mut quarantines = array_field(&status, "quarantines").iter();
        let found = quarantines.find(|one| text_field(one, "agent") == PROBE);
        Ok(found.cloned())
    }

    pub(super) fn is_quarantined(&self) -> Result<bool, ClientError> {
        Ok(self.find_quarantine()?.is_some())
    }

    /// Whether the validation is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the wait of a test where the validation is to stop.
    ///
    /// # Errors
    /// [`CaseFailure::Interrupted`].
    pub(super) fn check_stop(&self) -> Result<(), CaseFailure> {
        if self.is_stopped() {
            return Err(CaseFailure::Interrupted);
        }
        Ok(())
    }

    /// Orders something of the probe: `quarantine` or `restore`.
    pub(super) fn post_order(&self, order: &str) -> Result<Answer, ClientError> {
        let path = join_path(&["v1", "agents", PROBE, order]);
        self.client
            .send_json("POST", &path, &[], &json!({"reason": REASON}))
    }

    /// Sends the probe a signal. Returns the answer: ids of signal and trace.
    pub(super) fn send_signal(&self, payload: &str) -> Result<Value, ClientError> {
        let signal = json!({"topic": TOPIC, "payload": payload});
        self.submitter
            .send_json("POST", "/v1/signals", &[], &signal)?
            .into_success()
    }

    pub(super) fn set_key(&self, key: &str, value: &Value) -> Result<Value, ClientError> {
        let path = join_path(&["v1", "state", PROBE, key]);
        self.client
            .send_json("PUT", &path, &[], &json!({"value": value}))?
            .into_success()
    }

    pub(super) fn delete_key(&self, key: &str) -> Result<(), ClientError> {
        let path = join_path(&["v1", "state", PROBE, key]);
        let answer = self.client.send_json("DELETE", &path, &[], &Value::Null)?;
        match answer.status {
            404 => Ok(()),
            _ => answer.into_success().map(drop),
        }
    }

    /// A value of the probe's state, with its revision; `None`: there is none.
    pub(super) fn read_key(&self, key: &str) -> Result<Option<Value>, ClientError> {
        let answer = self.client.get(&join_path(&["v1", "state", PROBE, key]))?;
        match answer.status {
            404 => Ok(None),
            _ => answer.into_success().map(Some),
        }
    }

    /// Repeats a look-up until it finds something or the time limit passes.
    ///
    /// # Errors
    /// The host does not answer, or the validation is to stop.
    pub(super) fn wait_for<T>(
        &self,
        mut look: impl FnMut() -> Result<Option<T>, ClientError>,
    ) -> Result<Option<T>, CaseFailure> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            self.check_stop()?;
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
        }
    }
}
