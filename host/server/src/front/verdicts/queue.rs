//! The queue of answers whose decisions are judged again, bounded in number and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use axum::http::uri::PathAndQuery;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};

use ark_model::action::Action;
use ark_model::decision::Decision;
use ark_model::ids::{DecisionId, Millis};
use ark_model::meters::{FrontMeters, UnjudgedReason};

use crate::api::view::DecisionRecord;
use crate::front::owner::Owner;

use super::judge::FrontJudge;
use super::recent::RecentDecisions;
use super::tally::{DifferingVerdict, VerdictTally};
use super::uploaded::UploadedPolicies;

/// Answers that may wait.
const MAX_WAITING: usize = 1_024;
/// Bytes of answers and requests that may wait.
const MAX_WAITING_BYTES: usize = 32 * 1024 * 1024;
/// How many answers are worked on at the same time. Each mostly waits for the owner.
const WORKERS: usize = 4;
/// How long a record is asked for while the owner is away.
const RECORD_PATIENCE: Duration = Duration::from_mins(2);
/// The pause before a record is asked for again.
const RECORD_PAUSE: Duration = Duration::from_millis(250);

/// Which call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum AnswerKind {
    /// A proposal.
    Action,
    /// A batch of proposals.
    Batch,
    /// An approval or rejection of what was held.
    Approval,
}

/// An answer with decisions.
pub(in crate::front) struct AnsweredCall {
    pub(in crate::front) kind: AnswerKind,
    /// Whether the owner gives an answer again that it gave before, to this front or to another.
    pub(in crate::front) is_replayed: bool,
    /// The body of the request.
    pub(in crate::front) request: Bytes,
    /// The body of the answer.
    pub(in crate::front) answer: Bytes,
}

impl AnsweredCall {
    const fn size(&self) -> usize {
        self.request.len() + self.answer.len()
    }
}

/// A decision as an answer names it.
#[derive(Deserialize)]
struct NamedDecision {
    decision_id: DecisionId,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct NamedDecisions {
    decisions: Vec<NamedDecision>,
}

#[derive(Deserialize)]
struct NamedResolution {
    #[serde(default)]
    decision: Option<NamedDecision>,
}

/// What the workers share.
struct WorkerShared {
    owner: Arc<Owner>,
    judge: Arc<ArcSwap<FrontJudge>>,
    uploaded: UploadedPolicies,
    tally: Arc<VerdictTally>,
    recent: RecentDecisions,
    meters: Arc<FrontMeters>,
    waiting_bytes: AtomicUsize,
    waiting: AtomicUsize,
}

/// Takes answers, whose decisions are then judged again.
pub(in crate::front) struct VerdictQueue {
    answers: mpsc::Sender<AnsweredCall>,
    work: Arc<WorkerShared>,
}

impl VerdictQueue {
    /// Starts the workers, which end with the queue.
    pub(in crate::front) fn start(
        owner: Arc<Owner>,
        judge: Arc<ArcSwap<FrontJudge>>,
        tally: Arc<VerdictTally>,
        meters: Arc<FrontMeters>,
    ) -> Self {
        let (answers, waiting) = mpsc::channel::<AnsweredCall>(MAX_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let work = Arc::new(WorkerShared {
            owner,
            judge,
            uploaded: UploadedPolicies::default(),
            tally,
            recent: RecentDecisions::default(),
            meters,
            waiting_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        });
        for _ in 0..WORKERS {
            let (waiting, work) = (Arc::clone(&waiting), Arc::clone(&work));
            tokio::spawn(async move {
                loop {
                    let next = waiting.lock().await.recv().await;
                    let Some(answered) = next else { return };
                    let size = answered.size();
                    work.judge_answer(answered).await;
                    work.count_waiting(size, false);
                }
            });
        }
        Self { answers, work }
    }

    /// Queues the decisions of an answer to be judged again. Past the bounds it is counted as unjudged.
    pub(in crate::front) fn submit(&self, answered: AnsweredCall) {
        let size = answered.size();
        let bytes = self.work.waiting_bytes.load(Ordering::Relaxed);
        if bytes + size > MAX_WAITING_BYTES {
            return self.work.count_overload();
        }
        self.work.count_waiting(size, true);
        if self.answers.try_send(answered).is_err() {
            self.work.count_waiting(size, false);
            self.work.count_overload();
        }
    }

    /// Forgets what the policies that judged until now have compiled.
    pub(in crate::front) fn forget_uploaded(&self) {
        self.work.uploaded.clear();
    }

    /// Waits until everything that was submitted is judged, for `patience` at most.
    pub(in crate::front) async fn finish(&self, patience: Duration) {
        let empty = async {
            while self.work.waiting.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            let waiting = self.work.waiting.load(Ordering::Acquire);
            tracing::warn!(waiting, "decisions were not judged again before the end");
        }
    }
}

impl WorkerShared {
    fn count_waiting(&self, size: usize, is_added: bool) {
        let waiting = if is_added {
            self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
            self.waiting.fetch_add(1, Ordering::AcqRel) + 1
        } else {
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            self.waiting.fetch_sub(1, Ordering::AcqRel) - 1
        };
        self.meters.waiting_verdicts.set(waiting as u64);
    }

    fn count_overload(&self) {
        let detail = "too many answers wait";
        self.tally.count_unjudged(UnjudgedReason::Overload, detail);
    }

    async fn judge_answer(&self, answered: AnsweredCall) {
        let named = match read_decisions(&answered) {
            Ok(named) => named,
            Err(error) => {
                let error = error.to_string();
                return self
                    .tally
                    .count_unjudged(UnjudgedReason::UnknownForm, &error);
            }
        };
        let judge = self.judge.load_full();
        let readings = read_request(&judge, &answered).await;
        for (index, named) in named.into_iter().enumerate() {
            if named.dry_run {
                self.tally.count_unjudged(UnjudgedReason::DryRun, "");
                continue;
            }
            // A caller that repeats one request would make many decisions of one.
            if !self.recent.insert(named.decision_id) && answered.is_replayed {
                continue;
            }
            let reading = readings
                .as_ref()
                .map(|read| read.as_ref().map(|actions| actions.get(index)));
            self.judge_decision(&judge, named.decision_id, reading)
                .await;
        }
    }

    /// Judges one decision again. `reading`: what the front reads in the request, if it is one with actions.
    async fn judge_decision(
        &self,
        judge: &Arc<FrontJudge>,
        id: DecisionId,
        reading: Option<Result<Option<&Action>, &String>>,
    ) {
        let unjudged = |reason, detail: &str| self.tally.count_unjudged(reason, detail);
        let recorded = match self.read_record(id).await {
            Ok(recorded) => recorded,
            Err((reason, detail)) => return unjudged(reason, &detail),
        };
        if recorded.verdicts.iter().any(|part| part.verdict.is_err()) {
            return unjudged(UnjudgedReason::PolicyFailed, "");
        }
        let mut uploaded = Vec::new();
        // The first verdict is the Graveyard's.
        for part in recorded.verdicts.iter().skip(1) {
            if judge.has_policy(&part.policy.metadata.name) {
                continue;
            }
            match self.uploaded.find(&self.owner, judge, part).await {
                Ok(found) => uploaded.extend(found),
                Err((reason, problem)) => return unjudged(reason, &problem),
            }
        }
        let reading = match reading {
            None => None,
            Some(Err(problem)) => Some(format!("the front refuses the request: {problem}")),
            Some(Ok(None)) => Some("the front reads fewer actions in the request".to_owned()),
            Some(Ok(Some(action))) if *action == recorded.action => None,
            Some(Ok(Some(_))) => Some(
                "the front reads another action in the request, or redacts it otherwise".to_owned(),
            ),
        };
        let outcome = recorded.outcome;
        let judging = Arc::clone(judge);
        let judged = tokio::task::spawn_blocking(move || judging.rejudge(&recorded, &uploaded));
        let judged = judged.await.unwrap_or_else(|error| Err(error.to_string()));
        let verdicts = match judged {
            Ok(verdicts) => verdicts,
            // What the request is read as differs, whatever the policies say.
            Err(_) if reading.is_some() => None,
            Err(problem) => return unjudged(UnjudgedReason::FailedHere, &problem),
        };
        let outcome = verdicts.as_ref().map_or(outcome, |change| change.now);
        self.meters.count_judged(outcome);
        if verdicts.is_none() && reading.is_none() {
            return self.tally.count_same();
        }
        self.tally.add_different(DifferingVerdict {
            found_at_ms: Millis::now(),
            decision_id: id,
            verdicts,
            reading,
        });
    }

    /// Reads a decision's record from the owner, again while the owner is away or busy.
    async fn read_record(&self, id: DecisionId) -> Result<Decision, (UnjudgedReason, String)> {
        let path: PathAndQuery = format!("/v1/decisions/{id}")
            .parse()
            .map_err(|_| (UnjudgedReason::UnknownForm, "no id".to_owned()))?;
        let ends = tokio::time::Instant::now() + RECORD_PATIENCE;
        loop {
            let problem = match self.owner.read(path.clone()).await {
                Ok((StatusCode::OK, body)) => return parse_record(&body),
                Ok((status, _))
                    if status != StatusCode::TOO_MANY_REQUESTS
                        && status != StatusCode::SERVICE_UNAVAILABLE =>
                {
                    let detail = format!("the owner answers {status}");
                    return Err((UnjudgedReason::NoRecord, detail));
                }
                Ok((status, _)) => format!("the owner answers {status}"),
                Err(problem) => problem,
            };
            if tokio::time::Instant::now() > ends {
                return Err((UnjudgedReason::NoRecord, problem));
            }
            tokio::time::sleep(RECORD_PAUSE).await;
        }
    }
}

fn parse_record(body: &[u8]) -> Result<Decision, (UnjudgedReason, String)> {
    let record: DecisionRecord<'_> = serde_json::from_slice(body)
        .map_err(|error| (UnjudgedReason::UnknownForm, error.to_string()))?;
    record.decision.into_decision().ok_or_else(|| {
        let detail = "it lacks the action or the facts".to_owned();
        (UnjudgedReason::NoRecord, detail)
    })
}

fn read_decisions(answered: &AnsweredCall) -> Result<Vec<NamedDecision>, serde_json::Error> {
    let answer = &answered.answer;
    Ok(match answered.kind {
        AnswerKind::Action => vec![serde_json::from_slice(answer)?],
        AnswerKind::Batch => serde_json::from_slice::<NamedDecisions>(answer)?.decisions,
        AnswerKind::Approval => {
            let resolution: NamedResolution = serde_json::from_slice(answer)?;
            resolution.decision.into_iter().collect()
        }
    })
}

/// Reads the actions of a request with the front's own parser and redaction; `None`: it holds none.
async fn read_request(
    judge: &Arc<FrontJudge>,
    answered: &AnsweredCall,
) -> Option<Result<Vec<Action>, String>> {
    let is_batch = match answered.kind {
        AnswerKind::Action => false,
        AnswerKind::Batch => true,
        AnswerKind::Approval => return None,
    };
    let (judge, request) = (Arc::clone(judge), answered.request.clone());
    let read = tokio::task::spawn_blocking(move || judge.read_actions(&request, is_batch));
    Some(read.await.unwrap_or_else(|error| Err(error.to_string())))
}
