//! What the arbiter owns, and how it is loaded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::hrm::config::HrmConfig;
use crate::hrm::error::{HrmError, RecordFailure};
use crate::hrm::guards::Guards;
use crate::hrm::ledger::{IDENTICAL_WINDOW, Ledger};
use crate::hrm::policies_in_force::{PoliciesInForce, PolicyJudge};
use crate::hrm::record::{RecordEncoder, decode_action};
use crate::hrm::request::{HrmRequest, repetition_key};
use ark_model::action_types::ActionTypes;
use ark_model::ids::{Millis, Name};
use ark_store::{AuditKind, Store};

use super::feedback::CommitFeedback;
use super::held_actions::HeldActions;
use super::pending_swaps::PendingSwaps;
use super::recent_keys::RecentKeys;
use super::unrecorded_orders::UnrecordedOrders;

/// Number of decisions that violated rules, by agent.
pub(in crate::hrm) type ViolationCounts = Arc<Mutex<HashMap<Name, u32>>>;

/// The state of the arbiter.
pub(in crate::hrm) struct Arbiter {
    pub(super) judge: PolicyJudge,
    pub(super) config: HrmConfig,
    pub(super) guards: Arc<Guards>,
    pub(super) store: Store,
    pub(super) ledger: Ledger,
    pub(super) recent_keys: RecentKeys,
    pub(super) held_actions: HeldActions,
    pub(super) pending_swaps: PendingSwaps,
    /// The declared action types, which a reload of the configuration replaces.
    pub(super) action_types: Arc<ArcSwap<ActionTypes>>,
    /// Encodes decisions for the audit log.
    pub(super) records: RecordEncoder,
    /// What commits tell the arbiter.
    pub(super) feedback: Arc<CommitFeedback>,
    /// Whether decisions and executions are announced as signals.
    pub(super) announcing: Arc<AtomicBool>,
    pub(super) violations: ViolationCounts,
    /// The orders that are in force and not on disk yet.
    pub(super) unrecorded_orders: Arc<UnrecordedOrders>,
}

impl Arbiter {
    /// Loads the ledger and the held actions from the store.
    ///
    /// # Errors
    /// [`HrmError::NotRecorded`] when the store cannot be read.
    pub(in crate::hrm) fn new(
        config: HrmConfig,
        policies: &PoliciesInForce,
        guards: Arc<Guards>,
        store: Store,
        action_types: Arc<ArcSwap<ActionTypes>>,
        announcing: Arc<AtomicBool>,
        violations: ViolationCounts,
    ) -> Result<Self, HrmError> {
        Ok(Self {
            judge: policies.new_judge(),
            ledger: load_ledger(&config, &store)?,
            unrecorded_orders: Arc::new(UnrecordedOrders::new(Arc::clone(&guards))),
            held_actions: HeldActions::load_open(&store)?,
            feedback: Arc::new(CommitFeedback::new(Arc::clone(&config.meters))),
            config,
            guards,
            store,
            recent_keys: RecentKeys::default(),
            pending_swaps: PendingSwaps::default(),
            action_types,
            records: RecordEncoder::default(),
            announcing,
            violations,
        })
    }

    /// After a failed commit, replaces everything that was built on it by what is on disk.
    ///
    /// All units submitted before are completed first: those built on the failed one fail with it.
    pub(super) fn reload_if_stale(&mut self) -> Result<(), HrmError> {
        if !self.feedback.is_ledger_stale.load(Ordering::Acquire) {
            return Ok(());
        }
        self.store.recover_writer().map_err(RecordFailure::Commit)?;
        self.ledger = load_ledger(&self.config, &self.store)?;
        self.held_actions = HeldActions::load_open(&self.store)?;
        self.recent_keys = RecentKeys::default();
        self.revert_failed_swaps();
        self.feedback
            .is_ledger_stale
            .store(false, Ordering::Release);
        // The writer says why, once for a spell of failures.
        tracing::debug!("a commit failed: the ledger was loaded again from the database");
        Ok(())
    }

    /// Whether a request is served within some ten microseconds, so that whoever asks may serve it: it is small and needs no reading of the
    /// database, only the Graveyard is asked, the ledger has hardly anything to move on, and the store has room for the unit.
    pub(in crate::hrm) fn is_quick_to_serve(&self, request: &HrmRequest) -> bool {
        request.is_small()
            && self.judge.policies().operator_slots().is_empty()
            && !self.feedback.is_ledger_stale.load(Ordering::Acquire)
            && self.guards.unrecorded_orders() == 0
            && !self.store.is_reserve_only()
            && !self.store.is_backlogged()
            && self.ledger.is_current(Millis::now())
    }

    /// Marks the ledger to be loaded again before the next request, since it contains what will not be committed.
    pub(super) fn mark_ledger_stale(&self) {
        self.feedback.is_ledger_stale.store(true, Ordering::Release);
    }

    /// Takes back the policy swaps whose commit failed. Everything submitted is completed when this is called.
    fn revert_failed_swaps(&mut self) {
        if let Some(previous) = self.pending_swaps.take_oldest_failed() {
            self.judge.replace_operator_slots(previous);
            self.judge.policies().report_in_force(&self.config.meters);
            tracing::warn!(
                "a change of the operator policies was not recorded: the previous ones are in force"
            );
        }
    }
}

fn load_ledger(config: &HrmConfig, store: &Store) -> Result<Ledger, HrmError> {
    let now = Millis::now();
    let rows = store.load_ledger()?;
    let window = u64::try_from(IDENTICAL_WINDOW.as_millis()).unwrap_or(u64::MAX);
    let since = Millis(now.0.saturating_sub(window));
    let mut recent = Vec::new();
    for row in store.audit_since(since, AuditKind::Decision)? {
        if let Some(agent) = &row.agent {
            let action = decode_action(&row.body)?;
            let symbol = action.symbol();
            let instrument = symbol.map(|symbol| config.aliases.find_key(symbol));
            let key = repetition_key(agent, &action, instrument.as_ref());
            recent.push((row.at, key));
        }
    }
    Ok(Ledger::from_rows(
        rows,
        recent,
        config.aliases.clone(),
        config.reservation_ttl,
        now,
    ))
}
