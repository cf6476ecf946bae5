//! A proposal after redaction. No credential and no personal data that redaction recognises passes this point.

use std::time::Instant;

use crate::hrm::redaction::{Findings, redact_action};
use ark_model::action::Parameters;
use ark_model::ids::{DecisionId, Digest, Millis};
use ark_model::instrument::{InstrumentAliases, InstrumentKey};

use super::action_digests::repetition_key;
use super::proposal::Proposal;
use super::queue_place::QueuePlace;

/// A redacted proposal, as the arbiter judges it.
pub struct RedactedProposal {
    /// The proposal; its action is redacted.
    pub proposal: Proposal,
    /// The instrument that the redacted action concerns.
    pub instrument: Option<InstrumentKey>,
    /// What redaction found.
    pub findings: Findings,
    /// How many bytes of texts were searched.
    pub text_bytes: usize,
    /// The data subject's name before redaction, for the lookup of its consent.
    pub data_subject: Option<String>,
    /// The key by which rule 22 counts repetitions, taken before redaction: see [`repetition_key`].
    pub repetition_key: Digest,
    /// Why the host itself denies the action. `None`: the policies decide.
    pub refusal: Option<String>,
    /// The approval under which a held action is judged again.
    pub approval: Option<ApprovedAction>,
    /// When the proposal was handed to the HRM.
    pub accepted_at: Instant,
    /// The place in the queue, given back once the proposal is decided.
    pub queue_place: Option<QueuePlace>,
}

/// The approval under which a held action is judged again.
pub struct ApprovedAction {
    /// The decision that held the action.
    pub held_id: DecisionId,
    /// When it was held.
    pub held_at: Millis,
    /// Who approves it now.
    pub by: String,
    /// Who approved it before, when it was held more than once.
    pub earlier_approvers: Vec<String>,
    /// Digest of the data subject's name before redaction.
    pub subject_digest: Option<Digest>,
}

impl RedactedProposal {
    /// Redacts a proposal. `aliases` are the operator's.
    pub fn new(
        mut proposal: Proposal,
        refusal: Option<String>,
        aliases: &InstrumentAliases,
    ) -> Self {
        let accepted_at = Instant::now();
        let data_subject = match &proposal.action.parameters {
            Parameters::Data(data) => data.subject.clone(),
            _ => None,
        };
        let find_key = |symbol: &str| aliases.find_key(symbol);
        let mut instrument = proposal.action.symbol().map(find_key);
        let repetition_key = repetition_key(&proposal.agent, &proposal.action, instrument.as_ref());
        let redacted = redact_action(proposal.action);
        proposal.action = redacted.action;
        // A symbol in which nothing was found names the same one still.
        if redacted.altered_identifier.is_some() {
            instrument = proposal.action.symbol().map(find_key);
        }
        // What is left of the identifier names something else, which the rules would judge in its place.
        let refusal = refusal.or_else(|| {
            let field = redacted.altered_identifier?;
            Some(format!(
                "`{field}` holds a credential: give a name without one"
            ))
        });
        Self {
            proposal,
            instrument,
            findings: redacted.findings,
            text_bytes: redacted.text_bytes,
            data_subject,
            repetition_key,
            refusal,
            approval: None,
            accepted_at,
            queue_place: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use ark_model::ids::TraceId;
    use ark_model::usage::QuotaHolder;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_instrument_is_that_of_the_redacted_symbol() {
        let aliases = InstrumentAliases::new([("XBT", "BTC")]).unwrap();
        for (symbol, is_altered) in [("XBT-USD", false), ("AKIAIOSFODNN7EXAMPLE", true)] {
            let action = json!({"action_type": "buy", "parameters": {"family": "trade", "symbol": symbol, "side": "buy", "position_size_pct": 0.01, "leverage": 1.0, "extra_json": "{}"}});
            let proposal = Proposal {
                agent: "kyle".parse().unwrap(),
                submitter: "kyle".to_owned(),
                charged_to: QuotaHolder::Local,
                trace_id: TraceId::fresh(),
                action: serde_json::from_value(action).unwrap(),
                refusal: None,
                causal_depth: 0,
                idempotency: None,
                deadline: None,
            };
            let redacted = RedactedProposal::new(proposal, None, &aliases);
            let left = redacted.proposal.action.symbol().unwrap();
            assert_eq!(left != symbol, is_altered, "{left}");
            assert_eq!(redacted.refusal.is_some(), is_altered);
            assert_eq!(redacted.instrument, Some(aliases.find_key(left)));
        }
    }
}
