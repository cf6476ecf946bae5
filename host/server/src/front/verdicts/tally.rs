//! The results of judging decisions again: counts, and the last that differed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use ark_model::ids::{DecisionId, Millis};
use ark_model::meters::{FrontMeters, UnjudgedReason, VerdictResult};

use crate::hrm::rejudge::VerdictChange;

/// How often a reason is a warning in the log.
const WARNING_PAUSE: Duration = Duration::from_mins(1);
/// Differing decisions that are kept, the last ones.
const MAX_KEPT: usize = 100;

/// A decision that differs.
#[derive(Debug, Clone, Serialize)]
pub(in crate::front) struct DifferingVerdict {
    /// When it was found.
    pub(in crate::front) found_at_ms: Millis,
    /// The decision.
    pub(in crate::front) decision_id: DecisionId,
    /// How its verdicts differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::front) verdicts: Option<VerdictChange>,
    /// How the front reads the request otherwise than the owner did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::front) reading: Option<String>,
}

/// The results so far.
#[derive(Debug, Serialize)]
pub(in crate::front) struct TallyReport {
    same: u64,
    different: u64,
    unjudged: u64,
    unjudged_reasons: BTreeMap<UnjudgedReason, u64>,
    /// Answers whose decisions wait.
    waiting: u64,
    /// The last that differed, newest first.
    latest_different: Vec<DifferingVerdict>,
}

/// How often a reason occurred.
#[derive(Default)]
struct ReasonTally {
    count: u64,
    /// Those since the last warning.
    unwarned: u64,
    warned_at: Option<Instant>,
}

/// Counts the results of judging again.
pub(in crate::front) struct VerdictTally {
    meters: Arc<FrontMeters>,
    reasons: Mutex<BTreeMap<UnjudgedReason, ReasonTally>>,
    kept: Mutex<VecDeque<DifferingVerdict>>,
}

impl VerdictTally {
    pub(in crate::front) fn new(meters: Arc<FrontMeters>) -> Self {
        Self {
            meters,
            reasons: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    pub(super) fn count_same(&self) {
        self.meters.count_verdict(VerdictResult::Same);
    }

    /// Counts a decision that was not judged again. The log has a line for each reason but a dry run, once a minute at most.
    pub(in crate::front) fn count_unjudged(&self, reason: UnjudgedReason, detail: &str) {
        self.meters.count_unjudged(reason);
        let mut reasons = self.reasons.lock();
        let tally = reasons.entry(reason).or_default();
        tally.count += 1;
        tally.unwarned += 1;
        let is_due = tally
            .warned_at
            .is_none_or(|warned_at| warned_at.elapsed() >= WARNING_PAUSE);
        if reason == UnjudgedReason::DryRun || !is_due {
            return;
        }
        tally.warned_at = Some(Instant::now());
        let decisions = std::mem::take(&mut tally.unwarned);
        drop(reasons);
        tracing::warn!(
            reason = reason.as_str(),
            decisions,
            detail,
            "decisions could not be judged again"
        );
    }

    pub(super) fn add_different(&self, differing: DifferingVerdict) {
        let change = differing.verdicts.as_ref();
        tracing::warn!(
            decision = %differing.decision_id,
            recorded = change.map(|change| change.recorded.as_str()),
            now = change.map(|change| change.now.as_str()),
            policies = change.map(|change| {
                let names = change.policies.iter().map(|policy| policy.policy.as_str());
                names.collect::<Vec<_>>().join(", ")
            }),
            reading = differing.reading,
            "the front judges a decision of the owner otherwise"
        );
        let mut kept = self.kept.lock();
        kept.truncate(MAX_KEPT - 1);
        kept.push_front(differing);
        drop(kept);
        self.meters.count_verdict(VerdictResult::Different);
    }

    pub(in crate::front) fn report(&self) -> TallyReport {
        let [same, different, unjudged] = [
            VerdictResult::Same,
            VerdictResult::Different,
            VerdictResult::Unjudged,
        ]
        .map(|result| {
            let count = self.meters.verdicts.get(result as usize);
            count.map_or(0, ark_model::meters::Counter::get)
        });
        TallyReport {
            same,
            different,
            unjudged,
            unjudged_reasons: self
                .reasons
                .lock()
                .iter()
                .map(|(reason, tally)| (*reason, tally.count))
                .collect(),
            waiting: self.meters.waiting_verdicts.get(),
            latest_different: self.kept.lock().iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_differing_verdicts_are_kept() {
        let tally = VerdictTally::new(Arc::default());
        let ids: Vec<DecisionId> = (0..MAX_KEPT + 5).map(|_| DecisionId::fresh()).collect();
        for id in &ids {
            tally.add_different(DifferingVerdict {
                found_at_ms: Millis(1),
                decision_id: *id,
                verdicts: None,
                reading: Some("another action".to_owned()),
            });
        }
        tally.count_unjudged(UnjudgedReason::DryRun, "");
        let report = tally.report();
        assert_eq!(report.different, MAX_KEPT as u64 + 5);
        assert_eq!(report.latest_different.len(), MAX_KEPT);
        assert_eq!(Some(&report.latest_different[0].decision_id), ids.last());
        assert_eq!(report.unjudged_reasons[&UnjudgedReason::DryRun], 1);
    }
}
