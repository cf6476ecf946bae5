//! Compares what is used and asked for with the quotas.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use ark_model::MinuteWindow;
use ark_model::ids::Name;
use ark_model::usage::{QuotaHolder, Usage};
use ark_runtime::{LogLine, QuotaKind, QuotasTable};
use ark_store::Store;

use super::config::QuotaConfig;
use super::demand::{Demand, count_log_bytes};

/// How much of one quota is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaUse {
    /// The quota.
    pub kind: QuotaKind,
    /// What is used of it.
    pub used: u64,
    /// The quota itself.
    pub limit: u64,
    /// How often something was refused for it since the start.
    pub refusals: u64,
}

impl QuotaUse {
    /// Returns the part of the quota that is used; above 1 where an operator has lowered it.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }
}

/// Something that a quota does not allow. Nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; {remedy}", self.describe())]
pub struct QuotaExceeded {
    /// The agent or token that asks.
    pub holder: QuotaHolder,
    /// The quota.
    pub kind: QuotaKind,
    /// What is used of it, what is not committed yet included.
    pub used: u64,
    /// What is asked for.
    pub asked: u64,
    /// The quota itself.
    pub limit: u64,
    /// What to do.
    pub remedy: &'static str,
}

const fn remedy_of(kind: QuotaKind) -> &'static str {
    match kind {
        QuotaKind::StoredBytes => {
            "store less (the history of state stays; messages until `ark state prune`), or have an operator raise the quota"
        }
        QuotaKind::Keys => "delete keys, or have an operator raise the quota",
        QuotaKind::Memories => {
            "give memories a time to live, or have an operator delete some or raise the quota"
        }
        QuotaKind::StoredBytesPerMinute
        | QuotaKind::AuditBytesPerMinute
        | QuotaKind::LogBytesPerMinute
        | QuotaKind::MessagesPerMinute => {
            "do less within a minute, or have an operator raise the quota"
        }
    }
}

/// Whether a quota is one of a minute, so that waiting helps.
const fn is_per_minute(kind: QuotaKind) -> bool {
    !matches!(
        kind,
        QuotaKind::StoredBytes | QuotaKind::Keys | QuotaKind::Memories
    )
}

impl QuotaExceeded {
    /// Returns what happened, as a sentence without the remedy.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "the quota {} of {} is used up: {} of {} are used, {} more are asked for",
            self.kind.as_str(),
            self.holder,
            self.used,
            self.limit,
            self.asked
        )
    }

    /// Returns whether the same may be allowed a minute later.
    #[must_use]
    pub const fn is_per_minute(&self) -> bool {
        is_per_minute(self.kind)
    }
}

/// Keeps the quotas. Cheap to clone.
#[derive(Clone)]
pub struct QuotaKeeper {
    inner: Arc<QuotaState>,
}

struct QuotaState {
    store: Store,
    config: ArcSwap<QuotaConfig>,
    /// What the store does not know. A holder has an entry from its first demand on, so there are as many as agents and tokens.
    holders: Mutex<HashMap<QuotaHolder, Unrecorded>>,
}

/// What a holder uses that is in no commit.
struct Unrecorded {
    /// What was asked for and is neither committed nor given up.
    pending: Demand,
    log: MinuteWindow,
    refusals: HashMap<QuotaKind, u64>,
}

impl Unrecorded {
    fn new(now: Instant) -> Self {
        Self {
            pending: Demand::default(),
            log: MinuteWindow::new(now),
            refusals: HashMap::new(),
        }
    }
}

/// What was asked for and is not committed yet. It is released when this is dropped: after the commit, when the writer has counted it.
#[must_use = "what is reserved is released when this is dropped"]
pub struct Reservation {
    inner: Arc<QuotaState>,
    holder: QuotaHolder,
    demand: Demand,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut holders = self.inner.holders.lock();
        if let Some(unrecorded) = holders.get_mut(&self.holder) {
            unrecorded.pending.subtract(&self.demand);
        }
    }
}

impl QuotaKeeper {
    /// Keeps these quotas over what the store counts.
    #[must_use]
    pub fn new(store: Store, config: QuotaConfig) -> Self {
        Self {
            inner: Arc::new(QuotaState {
                store,
                config: ArcSwap::from_pointee(config),
                holders: Mutex::default(),
            }),
        }
    }

    /// Sets the quotas from now on.
    pub fn set_config(&self, config: QuotaConfig) {
        self.inner.config.store(Arc::new(config));
    }

    /// Reserves what a holder asks for, until the reservation is dropped. `tighter`: the quotas of an agent's manifest.
    ///
    /// # Errors
    /// The first quota that does not allow it. Nothing is reserved then.
    pub fn reserve(
        &self,
        holder: QuotaHolder,
        demand: Demand,
        tighter: &QuotasTable,
    ) -> Result<Reservation, QuotaExceeded> {
        self.list_and_reserve(holder, demand, tighter).1
    }

    /// As [`Self::reserve`]. Also returns how much of each of its quotas the holder used before, as [`Self::list_uses`] does.
    pub fn list_and_reserve(
        &self,
        holder: QuotaHolder,
        demand: Demand,
        tighter: &QuotasTable,
    ) -> (Vec<QuotaUse>, Result<Reservation, QuotaExceeded>) {
        let config = self.inner.config.load();
        let now = Instant::now();
        // The lock is held while the store is read, so that another demand of this holder sees either the commit or its reservation.
        let mut holders = self.inner.holders.lock();
        let usage = self.inner.store.read_usage(&holder);
        let unrecorded = holders
            .entry(holder.clone())
            .or_insert_with(|| Unrecorded::new(now));
        let uses = list_quotas(&config, &holder, tighter, &usage, unrecorded, now);
        let exceeded = uses.iter().find_map(|quota| {
            let asked = demand.asked(quota.kind)?;
            let pending = unrecorded.pending.asked(quota.kind).unwrap_or(0);
            let used = quota.used.saturating_add(pending);
            let exceeds = used.saturating_add(asked) > quota.limit;
            exceeds.then_some((quota.kind, used, asked, quota.limit))
        });
        if let Some((kind, used, asked, limit)) = exceeded {
            let error = exceeded_quota(unrecorded, holder, kind, used, asked, limit);
            return (uses, Err(error));
        }
        unrecorded.pending.add(&demand);
        drop(holders);
        let reservation = Reservation {
            inner: Arc::clone(&self.inner),
            holder,
            demand,
        };
        (uses, Ok(reservation))
    }

    /// Counts the lines that an invocation logged.
    ///
    /// # Errors
    /// They pass the agent's quota. They are not counted then, and must not be written.
    pub fn count_log(
        &self,
        agent: &Name,
        lines: &[LogLine],
        tighter: &QuotasTable,
    ) -> Result<(), QuotaExceeded> {
        const KIND: QuotaKind = QuotaKind::LogBytesPerMinute;
        let asked = count_log_bytes(lines);
        if asked == 0 {
            return Ok(());
        }
        let holder = QuotaHolder::Agent(agent.clone());
        let limit = self.inner.config.load().limit_of(&holder, KIND, tighter);
        let now = Instant::now();
        let mut holders = self.inner.holders.lock();
        let unrecorded = holders
            .entry(holder.clone())
            .or_insert_with(|| Unrecorded::new(now));
        let used = unrecorded.log.sum(now);
        if let Some(limit) = limit.filter(|limit| used.saturating_add(asked) > *limit) {
            return Err(exceeded_quota(unrecorded, holder, KIND, used, asked, limit));
        }
        unrecorded.log.add(asked, now);
        Ok(())
    }

    /// Returns how much of each of its quotas a holder uses. `tighter`: the quotas of an agent's manifest.
    #[must_use]
    pub fn list_uses(&self, holder: &QuotaHolder, tighter: &QuotasTable) -> Vec<QuotaUse> {
        let config = self.inner.config.load();
        let usage = self.inner.store.read_usage(holder);
        let now = Instant::now();
        let mut holders = self.inner.holders.lock();
        match holders.get_mut(holder) {
            Some(unrecorded) => list_quotas(&config, holder, tighter, &usage, unrecorded, now),
            None => {
                let mut unrecorded = Unrecorded::new(now);
                list_quotas(&config, holder, tighter, &usage, &mut unrecorded, now)
            }
        }
    }
}

fn list_quotas(
    config: &QuotaConfig,
    holder: &QuotaHolder,
    tighter: &QuotasTable,
    usage: &Usage,
    unrecorded: &mut Unrecorded,
    now: Instant,
) -> Vec<QuotaUse> {
    QuotaKind::ALL
        .iter()
        .filter_map(|kind| {
            let limit = config.limit_of(holder, *kind, tighter)?;
            Some(QuotaUse {
                kind: *kind,
                used: used_of(*kind, usage, unrecorded, now),
                limit,
                refusals: unrecorded.refusals.get(kind).copied().unwrap_or(0),
            })
        })
        .collect()
}

fn used_of(kind: QuotaKind, usage: &Usage, unrecorded: &mut Unrecorded, now: Instant) -> u64 {
    match kind {
        QuotaKind::StoredBytes => usage.totals.stored_bytes,
        QuotaKind::StoredBytesPerMinute => usage.stored_bytes_per_minute,
        QuotaKind::Keys => usage.totals.keys,
        QuotaKind::Memories => usage.totals.memories,
        QuotaKind::AuditBytesPerMinute => usage.audit_bytes_per_minute,
        QuotaKind::LogBytesPerMinute => unrecorded.log.sum(now),
        QuotaKind::MessagesPerMinute => usage.messages_per_minute,
    }
}

fn exceeded_quota(
    unrecorded: &mut Unrecorded,
    holder: QuotaHolder,
    kind: QuotaKind,
    used: u64,
    asked: u64,
    limit: u64,
) -> QuotaExceeded {
    *unrecorded.refusals.entry(kind).or_default() += 1;
    QuotaExceeded {
        holder,
        kind,
        used,
        asked,
        limit,
        remedy: remedy_of(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quotas::TokenQuotas;
    use ark_model::ids::Millis;
    use ark_model::state::StateWrite;
    use ark_runtime::{LogLevel, Quotas};
    use ark_store::{AttributedChange, OperatorChange, StoreConfig, Unit};

    fn make_keeper(store: &Store, agents: Quotas) -> QuotaKeeper {
        let tokens = TokenQuotas {
            stored_bytes: 1000,
            stored_bytes_per_minute: 500,
            audit_bytes_per_minute: 1,
        };
        QuotaKeeper::new(store.clone(), QuotaConfig { agents, tokens })
    }

    fn make_demand(stored_bytes: u64, keys: u64, messages: u64) -> Demand {
        Demand {
            stored_bytes,
            keys,
            messages,
            ..Demand::default()
        }
    }

    #[test]
    fn reservations_count_until_they_are_released() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::in_dir(dir.path())).unwrap();
        let quotas = Quotas {
            stored_bytes: 1000,
            keys: 3,
            messages_per_minute: 2,
            ..Quotas::default()
        };
        let keeper = make_keeper(&store, quotas);
        let name: Name = "kyle".parse().unwrap();
        let agent = QuotaHolder::Agent(name.clone());
        let none = QuotasTable::default();
        let held = keeper
            .reserve(agent.clone(), make_demand(600, 2, 0), &none)
            .unwrap();
        for (demand, refused) in [
            (make_demand(401, 0, 0), Some(QuotaKind::StoredBytes)),
            (make_demand(400, 2, 0), Some(QuotaKind::Keys)),
            (make_demand(400, 1, 3), Some(QuotaKind::MessagesPerMinute)),
            (make_demand(400, 1, 2), None),
        ] {
            let found = keeper.reserve(agent.clone(), demand, &none);
            assert_eq!(found.err().map(|error| error.kind), refused, "{demand:?}");
        }
        drop(held);
        // What was committed counts in its place, also after the reservation is gone.
        let unit = Unit {
            agent: Some(name.clone()),
            at: Millis(1),
            state: vec![StateWrite {
                key: "k".to_owned(),
                value_json: Some("x".repeat(100)),
                expected: 0,
                was_live: false,
            }],
            ..Unit::default()
        };
        store.commit(unit).unwrap();
        let error = keeper
            .reserve(agent.clone(), make_demand(0, 3, 0), &none)
            .err()
            .unwrap();
        assert_eq!((error.used, error.asked, error.limit), (1, 3, 3));
        let said = error.to_string();
        assert!(
            said.contains("keys of agent:kyle") && said.contains("delete keys"),
            "{said}"
        );
        // A manifest tightens, and another agent has quotas of its own.
        let tighter = QuotasTable {
            keys: Some(1),
            ..QuotasTable::default()
        };
        assert!(
            keeper
                .reserve(agent.clone(), make_demand(0, 1, 0), &tighter)
                .is_err()
        );
        let other = QuotaHolder::Agent("joey".parse().unwrap());
        assert!(
            keeper
                .reserve(other, make_demand(1000, 3, 2), &none)
                .is_ok()
        );
        let uses = keeper.list_uses(&agent, &none);
        assert_eq!(uses.len(), QuotaKind::ALL.len());
        let stored = uses[0];
        assert_eq!((stored.used, stored.limit, stored.refusals), (329, 1000, 1));
        store.close();
        drop((keeper, store));
        let store = Store::open(&StoreConfig::in_dir(dir.path())).unwrap();
        assert_eq!(store.read_usage(&agent).totals.stored_bytes, 329);
        assert_eq!(store.read_usage(&agent).totals.keys, 1);
        assert_eq!(store.read_usage(&agent).stored_bytes_per_minute, 0);
    }

    #[test]
    fn log_lines_past_the_quota_are_refused_and_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::in_dir(dir.path())).unwrap();
        let quotas = Quotas {
            log_bytes_per_minute: 250,
            ..Quotas::default()
        };
        let keeper = make_keeper(&store, quotas);
        let agent: Name = "kyle".parse().unwrap();
        let line = LogLine {
            level: LogLevel::Info,
            text: "1234".to_owned(),
        };
        let log = |count: usize| {
            let lines = vec![line.clone(); count];
            keeper.count_log(&agent, &lines, &QuotasTable::default())
        };
        assert_eq!(log(0), Ok(()));
        assert_eq!(log(2), Ok(()));
        let error = log(1).unwrap_err();
        assert_eq!((error.used, error.asked, error.limit), (200, 100, 250));
        assert_eq!(log(1).unwrap_err().used, 200);
    }

    #[test]
    fn a_caller_is_bounded_by_each_token_quota_and_by_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::in_dir(dir.path())).unwrap();
        let keeper = make_keeper(&store, Quotas::default());
        let none = QuotasTable::default();
        let ask = |caller: &QuotaHolder, demand: Demand| {
            let found = keeper.reserve(caller.clone(), demand, &none);
            found.err().map(|error| error.kind)
        };
        let write = |caller: &QuotaHolder, key: &str, bytes: usize| {
            let change = OperatorChange::Config {
                key: key.to_owned(),
                value_json: Some("1".repeat(bytes)),
                description: None,
                expected: None,
            };
            let unit = Unit {
                operator_changes: vec![AttributedChange {
                    by: "desk".to_owned(),
                    change,
                }],
                charged_to: Some(caller.clone()),
                ..Unit::default()
            };
            store.commit(unit).unwrap();
        };
        let desk = QuotaHolder::Token("desk".to_owned());
        assert_eq!(ask(&desk, make_demand(500, u64::MAX, u64::MAX)), None);
        assert_eq!(
            ask(&desk, make_demand(501, 0, 0)),
            Some(QuotaKind::StoredBytesPerMinute)
        );
        assert_eq!(
            ask(&desk, make_demand(1001, 0, 0)),
            Some(QuotaKind::StoredBytes)
        );
        // A row of the audit log uses up the one byte there is.
        assert_eq!(ask(&desk, Demand::of_request(10)), None);
        write(&desk, "k", 100);
        assert_eq!(
            ask(&desk, Demand::of_request(10)),
            Some(QuotaKind::AuditBytesPerMinute)
        );
        let before = keeper.list_uses(&desk, &none);
        assert_eq!(before.len(), 3);
        let (uses, reserved) = keeper.list_and_reserve(desk.clone(), Demand::of_request(10), &none);
        assert_eq!(uses, before);
        assert!(reserved.is_err());
        // What an admitted call reserves is not among the uses that it is told.
        let other = QuotaHolder::Token("third".to_owned());
        let before = keeper.list_uses(&other, &none);
        let (uses, reserved) = keeper.list_and_reserve(other, Demand::of_request(10), &none);
        assert_eq!(uses, before);
        assert!(reserved.is_ok());
        // Callers without a token have a quota together, and another token has its own.
        for other in [QuotaHolder::Local, QuotaHolder::Token("other".to_owned())] {
            assert_eq!(ask(&other, Demand::of_request(10)), None);
        }
    }
}
