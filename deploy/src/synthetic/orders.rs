//! What a run proposed: each approved trade is cancelled and each held one rejected, whatever happens.
//!
//! Invariant: a proposal is in the journal until it is known that nothing of it is open. What was decided is known by its trace, which it shares with
//! no other: an idempotency key is known only to whoever used it, and the next run may have another token. Where the trace shows no decision, there
//! will be none once the deadline of the proposal is over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_client::members::text_field;
use ark_client::{ClientError, HostClient};
use ark_model::ids::Millis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::journal::{Journal, JournalError, JournalOwner, OWN_JOURNAL};

use super::SyntheticError;
use super::calls::{ANSWER_TIME, propose_action, read_decisions, take_back};

/// How long after it was announced a proposal may still be decided: its deadline counts from when the host gets it, which is soon.
/// Nothing shorter is sound where its trace shows nothing: a run that was killed may have sent it or not. To propose it once more under its key would tell
/// at once, but only with the token that used the key. The journal has the moment, so that what has passed of this time is not waited for again.
const LIFETIME: Duration = ANSWER_TIME.saturating_add(Duration::from_secs(5));
/// A trace that shows nothing is looked at again, this much later: a host that was stopped with a proposal unread decides it while it answers the
/// first look.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// After how many settlements the journal is emptied, where nothing is open: then it stays below some hundred thousand bytes, and the file is not
/// made and given up on disk at each tick.
const CLEAR_EVERY: u32 = 100;

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderEntry {
    /// It is about to be proposed.
    Proposing {
        /// The idempotency key.
        key: String,
        /// The request form.
        action: Value,
        /// When; `None`: an earlier version wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Millis>,
    },
    /// Nothing of it is open.
    Settled {
        /// The idempotency key.
        key: String,
    },
}

/// What may be open.
struct OpenOrder {
    /// The request form.
    action: Value,
    /// From when on it is not decided any more.
    over_at: Instant,
    /// When its trace showed nothing first.
    unseen_since: Option<Instant>,
}

impl OpenOrder {
    /// `age`: how long ago it was announced.
    fn new(action: Value, age: Duration) -> Self {
        Self {
            action,
            over_at: Instant::now() + LIFETIME.saturating_sub(age),
            unseen_since: None,
        }
    }

    /// How much longer its trace has to be looked at, if that shows nothing at `now` either.
    fn time_left(&self, now: Instant) -> Duration {
        let since = self.unseen_since.unwrap_or(now);
        let until = self.over_at.max(since + SECOND_LOOK);
        until.saturating_duration_since(now)
    }
}

/// What was proposed and may be open.
pub(super) struct MarketOrders {
    journal: Journal,
    /// The start of this run's idempotency keys.
    run: String,
    open: BTreeMap<String, OpenOrder>,
    /// Settlements since the journal was empty.
    settled: u32,
}

impl MarketOrders {
    /// Opens the journal. What an earlier run left open is to be settled, by [`Self::settle_open`].
    pub(super) fn open(
        client: &HostClient,
        path: &Path,
        agent: &str,
    ) -> Result<Self, SyntheticError> {
        let owner = JournalOwner {
            command: "ark synthetic",
            host: ark_client::normalize_address(client.url()),
            option: OWN_JOURNAL,
        };
        let (journal, entries) = Journal::open::<OrderEntry>(path, &owner)?;
        let now = Millis::now();
        let mut open = BTreeMap::new();
        for entry in entries {
            match entry {
                OrderEntry::Proposing { key, action, at } => {
                    let age = at.map_or(0, |at| now.0.saturating_sub(at.0));
                    open.insert(key, OpenOrder::new(action, Duration::from_millis(age)));
                }
                OrderEntry::Settled { key } => {
                    open.remove(&key);
                }
            }
        }
        Ok(Self {
            journal,
            run: format!("ark-synthetic-{agent}-{}", now.0),
            open,
            settled: 0,
        })
    }

    /// How many proposals may be open.
    pub(super) fn count_open(&self) -> usize {
        self.open.len()
    }

    /// Notes that an action is about to be proposed. `name`: what tells it from the others of the run. Returns the idempotency key to propose it
    /// under.
    pub(super) fn announce_order(
        &mut self,
        name: &str,
        action: &Value,
    ) -> Result<String, JournalError> {
        let key = format!("{}-{name}", self.run);
        self.journal.record_entry(&OrderEntry::Proposing {
            key: key.clone(),
            action: action.clone(),
            at: Some(Millis::now()),
        })?;
        let order = OpenOrder::new(action.clone(), Duration::ZERO);
        self.open.insert(key.clone(), order);
        Ok(key)
    }

    /// Notes that nothing of a proposal is open.
    pub(super) fn note_settled(&mut self, key: &str) -> Result<(), JournalError> {
        let is_last = self.open.keys().all(|open| open == key);
        if is_last && self.settled + 1 >= CLEAR_EVERY {
            self.journal.clear_entries()?;
            self.settled = 0;
        } else {
            self.journal.record_entry(&OrderEntry::Settled {
                key: key.to_owned(),
            })?;
            self.settled = self.settled.saturating_add(1);
        }
        self.open.remove(key);
        Ok(())
    }

    /// Takes back whatever may be open, each proposal once. Returns how much longer has to be waited for those that may still be decided; zero: there
    /// are none.
    ///
    /// # Errors
    /// What failed first; the others were tried all the same, unless the host does not answer.
    fn settle_once(&mut self, client: &HostClient) -> Result<Duration, SyntheticError> {
        let keys: Vec<String> = self.open.keys().cloned().collect();
        let (mut left, mut failed) = (Duration::ZERO, None);
        for key in keys {
            match self.find_and_settle(client, &key) {
                Ok(time) => left = left.max(time),
                Err(error @ SyntheticError::Client(ClientError::NoAnswer { .. })) => {
                    return Err(error);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if self.open.is_empty() {
            self.journal.clear_entries()?;
            self.settled = 0;
        }
        match failed {
            Some(error) if left.is_zero() => Err(error),
            _ => Ok(left),
        }
    }

    /// Takes back whatever may be open, and waits for what may still be decided, unless `stop` is set. `on_wait` is told how many proposals are
    /// waited for, and for how long at most. Afterwards nothing is open, or `stop` is set.
    ///
    /// # Errors
    /// Something cannot be taken back.
    pub(super) fn settle_open(
        &mut self,
        client: &HostClient,
        stop: &AtomicBool,
        on_wait: &mut dyn FnMut(usize, Duration),
    ) -> Result<(), SyntheticError> {
        let mut is_told = false;
        loop {
            let left = self.settle_once(client)?;
            if left.is_zero() || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if !is_told {
                is_told = true;
                on_wait(self.open.len(), left);
            }
            std::thread::sleep(left.min(PAUSE));
        }
    }

    /// As [`Self::settle_open`], without waiting: what fails is counted at the end of the run, and tried again then and by the next run.
    pub(super) fn settle_decided(&mut self, client: &HostClient) {
        let _ = self.settle_once(client);
    }

    /// Takes back what was decided on a proposal. Returns how much longer it may still be decided; zero: it is settled.
    fn find_and_settle(
        &mut self,
        client: &HostClient,
        key: &str,
    ) -> Result<Duration, SyntheticError> {
        let Some(order) = self.open.get_mut(key) else {
            return Ok(Duration::ZERO);
        };
        let agent = text_field(&order.action, "agent");
        let trace = text_field(&order.action, "trace_id");
        let looked = Instant::now();
        let settled = if trace.is_empty() {
            repeat_and_settle(client, key, &order.action)
        } else {
            settle_trace(client, trace, agent, order.time_left(looked))
        };
        let left = settled.map_err(|error| match error {
            // Without an answer nothing is known of the proposal.
            SettleError::Client(error) if !matches!(error, ClientError::Problem { .. }) => {
                SyntheticError::Client(error)
            }
            error => SyntheticError::Left {
                journal: self.journal.path().to_owned(),
                proposal: describe_proposal(agent, trace),
                problem: error.to_string(),
            },
        })?;
        if left.is_zero() {
            self.note_settled(key)?;
        } else {
            order.unseen_since.get_or_insert(looked);
        }
        Ok(left)
    }
}

/// Why a proposal cannot be settled.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the host does not show all of its trace, which has too many rows")]
    Truncated,
}

/// Takes back what was decided in a trace. Returns `left`, how much longer something may be decided, if nothing was, and zero otherwise.
fn settle_trace(
    client: &HostClient,
    trace: &str,
    agent: &str,
    left: Duration,
) -> Result<Duration, SettleError> {
    let found = read_decisions(client, trace, agent)?;
    for (id, outcome) in &found.open {
        take_back(client, id, outcome)?;
    }
    match (found.is_truncated, found.is_decided) {
        (true, _) => Err(SettleError::Truncated),
        (false, true) => Ok(Duration::ZERO),
        (false, false) => Ok(left),
    }
}

/// Proposes again what has no trace of its own, as the last proposal of a run of earlier versions: the same key gets the first answer, or makes the
/// proposal now. Then takes it back.
fn repeat_and_settle(
    client: &HostClient,
    key: &str,
    action: &Value,
) -> Result<Duration, SettleError> {
    let decision = propose_action(client, key, action)?;
    let id = text_field(&decision, "decision_id");
    take_back(client, id, text_field(&decision, "outcome"))?;
    Ok(Duration::ZERO)
}

fn describe_proposal(agent: &str, trace: &str) -> String {
    if trace.is_empty() {
        format!("`{agent}`")
    } else {
        format!("`{agent}` (trace {trace})")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use ark_client::Endpoint;
    use serde_json::json;

    use crate::scripted_host::start_scripted_host;

    use super::*;

    fn open_orders(path: &Path) -> MarketOrders {
        let client = HostClient::new(&Endpoint {
            url: "http://127.0.0.1:9".to_owned(),
            token: None,
            ca: None,
        });
        MarketOrders::open(&client.unwrap(), path, "synthetic").unwrap()
    }

    #[test]
    fn the_journal_stays_small_however_long_a_run_is_and_keeps_what_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut orders = open_orders(&path);
        let action = json!({"agent": "synthetic", "trace_id": "t", "reasoning": "x".repeat(300)});
        let (mut longest, mut last) = (0, 0);
        for tick in 0..CLEAR_EVERY * 5 {
            let key = orders.announce_order(&tick.to_string(), &action).unwrap();
            orders.note_settled(&key).unwrap();
            last = std::fs::metadata(&path).unwrap().len();
            longest = longest.max(last);
        }
        assert_eq!(last, 0, "it was emptied with the last one");
        assert!((1..200_000).contains(&longest), "{longest}");
        // While something is open, it is kept.
        let open = orders.announce_order("open", &action).unwrap();
        for tick in 0..CLEAR_EVERY * 2 {
            let key = orders.announce_order(&tick.to_string(), &action).unwrap();
            orders.note_settled(&key).unwrap();
        }
        drop(orders);
        let orders = open_orders(&path);
        assert_eq!(orders.open.keys().collect::<Vec<_>>(), [&open]);
        assert_eq!(orders.count_open(), 1);
    }

    #[test]
    fn a_proposal_whose_trace_shows_nothing_is_waited_for_as_long_as_it_may_be_decided() {
        let now = Instant::now();
        let mut new = OpenOrder::new(Value::Null, Duration::ZERO);
        assert!(new.time_left(now) > ANSWER_TIME);
        new.unseen_since = Some(now);
        assert_eq!(new.time_left(new.over_at + SECOND_LOOK), Duration::ZERO);
        // One from long ago is looked at twice.
        let mut old = OpenOrder::new(Value::Null, LIFETIME * 2);
        let now = Instant::now();
        assert_eq!(old.time_left(now), SECOND_LOOK);
        old.unseen_since = Some(now);
        assert_eq!(old.time_left(now + SECOND_LOOK), Duration::ZERO);
    }

    #[test]
    fn a_proposal_that_is_decided_after_the_first_look_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, asked) = channel();
        let mut looks = 0;
        let client = start_scripted_host(move |request| {
            let _ = sender.send(request.clone());
            if request.method == "POST" {
                return (200, json!({}));
            }
            looks += 1;
            if looks < 3 {
                return (404, json!({"detail": "there is no trace t"}));
            }
            let step = json!({"step": "decision", "agent": "synthetic", "decision_id": "d", "outcome": "approved"});
            (200, json!({"steps": [step], "truncated": false}))
        });
        let path = dir.path().join("journal");
        let mut orders = MarketOrders::open(&client, &path, "synthetic").unwrap();
        let action = json!({"agent": "synthetic", "trace_id": "t"});
        orders.announce_order("0", &action).unwrap();
        let mut waits = Vec::new();
        let stop = AtomicBool::new(true);
        let mut settle = |orders: &mut MarketOrders| {
            orders.settle_open(&client, &stop, &mut |proposals, longest| {
                assert!(longest <= LIFETIME);
                waits.push(proposals);
            })
        };
        settle(&mut orders).unwrap();
        assert_eq!(
            orders.count_open(),
            1,
            "a run that is to stop does not wait"
        );
        stop.store(false, Ordering::Relaxed);
        settle(&mut orders).unwrap();
        assert_eq!(orders.count_open(), 0);
        assert_eq!(waits, [1], "it is told once");
        let asked: Vec<_> = asked.try_iter().collect();
        assert!(
            asked
                .iter()
                .all(|one| one.path == "/v1/traces/t" || one.path == "/v1/executions"),
            "nothing is proposed again: {asked:?}"
        );
        let mut reports = asked.iter().filter(|one| one.method == "POST");
        let report = reports.next().map(|one| &one.body);
        assert!(
            reports.next().is_none()
                && report.is_some_and(|report| {
                    report["decision_id"] == "d" && report["status"] == "cancelled"
                }),
            "{asked:?}"
        );
    }

    #[test]
    fn entries_of_earlier_versions_are_read_and_may_be_decided_still() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let header = r#"{"journal":"ark synthetic","host":"http://127.0.0.1:9"}"#;
        let lines = [
            header,
            r#"{"proposing":{"key":"a","action":{"agent":"synthetic"}}}"#,
            r#"{"proposing":{"key":"b","action":{"agent":"synthetic"},"at":1}}"#,
            r#"{"proposing":{"key":"c","action":{"agent":"synthetic"},"at":1}}"#,
            r#"{"settled":{"key":"c"}}"#,
        ];
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let orders = open_orders(&path);
        assert_eq!(orders.open.keys().collect::<Vec<_>>(), ["a", "b"]);
        let left = |key: &str| orders.open[key].time_left(Instant::now());
        assert!(left("a") > SECOND_LOOK);
        assert!(left("b") <= SECOND_LOOK);
    }
}
