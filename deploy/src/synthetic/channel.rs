//! How the signals of a run get to the host: over HTTP, or through whatever the host reads signals from.

use ark_client::members::text_field;
use ark_client::{Answer, HostClient};
use serde_json::json;

/// The signal of a tick.
#[derive(Debug, Clone, Copy)]
pub struct TickSignal<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The tick, from 0.
    pub tick: u64,
    /// What is proposed in its trace.
    pub kind: &'a str,
}

/// What is known of a signal that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentSignal {
    /// Its trace.
    pub trace_id: String,
    /// Its id; `None`: the host has not said yet, since it takes the signal later.
    pub signal_id: Option<String>,
}

/// A way by which signals get to the host.
pub trait SignalChannel {
    /// The way, as reports name it.
    fn describe(&self) -> String;

    /// Finds out whether the host takes signals from here, without sending one.
    ///
    /// # Errors
    /// It does not: what is wrong, and the remedy.
    fn check(&mut self) -> Result<(), String>;

    /// Sends a signal.
    ///
    /// # Errors
    /// It was not taken, or that is not known.
    fn send(&mut self, signal: &TickSignal<'_>) -> Result<SentSignal, String>;
}

/// Signals over the HTTP API.
pub struct HttpSignals(pub HostClient);

impl SignalChannel for HttpSignals {
    fn describe(&self) -> String {
        "HTTP".to_owned()
    }

    /// The run itself cannot begin with a host that does not answer.
    fn check(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn send(&mut self, signal: &TickSignal<'_>) -> Result<SentSignal, String> {
        let TickSignal { topic, tick, kind } = *signal;
        let body = json!({"topic": topic, "payload": {"tick": tick, "kind": kind}});
        let accepted = self
            .0
            .send_json("POST", "/v1/signals", &[], &body)
            .and_then(Answer::into_success)
            .map_err(|error| error.to_string())?;
        Ok(SentSignal {
            trace_id: text_field(&accepted, "trace_id").to_owned(),
            signal_id: Some(text_field(&accepted, "signal_id").to_owned()),
        })
    }
}
