//! What a front judges with: its engine, its Graveyard, its operator policies, its action types.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use ark_model::action::Action;
use ark_model::action_types::ActionTypes;
use ark_model::decision::{Decision, PolicyIdentity, PolicyVerdict};
use ark_model::ids::Digest;
use ark_model::meters::HrmMeters;
use ark_model::settings::Settings;
use ark_runtime::{Engine, Pin, PinnedGraveyard, Policy};

use crate::api::read_proposed_actions;
use crate::changes::Signers;
use crate::front::config::FrontPolicies;
use crate::front::error::FrontError;
use crate::hrm::policies_in_force::{PoliciesInForce, PolicyJudge};
use crate::hrm::redaction::{redact_action, redact_text};
use crate::hrm::rejudge::{VerdictChange, compare_verdicts};
use crate::policies::load_declared;

/// A policy that was uploaded to the owner, with the settings it judged with.
#[derive(Clone)]
pub(super) struct UploadedPolicy {
    pub(super) policy: Arc<Policy>,
    pub(super) settings: Option<Settings>,
}

/// A policy in force at the front.
#[derive(Debug, Serialize)]
pub(in crate::front) struct JudgingPolicy {
    policy: String,
    version: String,
    sha256: Digest,
}

/// Judges recorded actions, and reads requests.
pub(in crate::front) struct FrontJudge {
    engine: Engine,
    fuel: u64,
    identities: Vec<Arc<PolicyIdentity>>,
    judge: Mutex<PolicyJudge>,
    action_types: ActionTypes,
}

impl FrontJudge {
    /// Loads everything. It takes seconds: components are compiled.
    ///
    /// # Errors
    /// The engine, the Graveyard or a policy cannot be loaded.
    pub(in crate::front) fn load(policies: &FrontPolicies) -> Result<Self, FrontError> {
        let engine = Engine::new(&policies.engine)?;
        let graveyard = PinnedGraveyard::load(&engine, &policies.graveyard, Pin::compiled_in()?)?;
        let declared = (policies.declared.as_slice(), policies.directory.as_deref());
        let signers = Signers::read(&policies.signature_keys)?;
        let meters = HrmMeters::default();
        let slots = load_declared(
            &engine,
            graveyard.policy.identity(),
            policies.fuel,
            declared,
            &signers,
            &meters,
        )?;
        let in_force = PoliciesInForce::new(Arc::new(graveyard.policy), slots);
        Ok(Self {
            fuel: policies.fuel,
            identities: in_force.list_identities().cloned().collect(),
            judge: Mutex::new(in_force.new_judge()),
            action_types: policies.action_types.clone(),
            engine,
        })
    }

    /// The policies that judge.
    pub(in crate::front) fn list_policies(&self) -> Vec<JudgingPolicy> {
        let identities = self.identities.iter();
        identities
            .map(|identity| JudgingPolicy {
                policy: identity.metadata.name.clone(),
                version: identity.metadata.version.clone(),
                sha256: identity.digest,
            })
            .collect()
    }

    /// Whether a policy of this name judges here.
    pub(super) fn has_policy(&self, name: &str) -> bool {
        let mut identities = self.identities.iter();
        identities.any(|identity| identity.metadata.name == name)
    }

    /// Compiles a component of the owner.
    ///
    /// # Errors
    /// The component cannot be loaded; the error text says why.
    pub(super) fn compile(&self, component: &[u8]) -> Result<Arc<Policy>, String> {
        Policy::load(&self.engine, component)
            .map(|policy| Arc::new(policy.with_fuel(self.fuel)))
            .map_err(|error| error.to_string())
    }

    /// Judges a recorded action again, with the policies of the front and those that were uploaded to the owner. `None`: it comes out the same.
    ///
    /// # Errors
    /// A policy fails here, which says nothing of the owner: in words.
    pub(super) fn rejudge(
        &self,
        recorded: &Decision,
        uploaded: &[UploadedPolicy],
    ) -> Result<Option<VerdictChange>, String> {
        let (action, facts) = (&recorded.action, &recorded.facts);
        let mut verdicts = self.judge.lock().collect_verdicts(action, facts);
        for UploadedPolicy { policy, settings } in uploaded {
            let verdict = policy
                .new_instance()
                .and_then(|mut instance| instance.evaluate(settings.as_ref(), action, facts));
            verdicts.push(PolicyVerdict {
                policy: Arc::clone(policy.identity()),
                settings: settings.as_ref().map(Settings::digest),
                verdict: verdict.map_err(|error| error.to_string()),
            });
        }
        #[cfg(feature = "faults")]
        crate::faults::fail_rejudgement(&mut verdicts);
        for part in &verdicts {
            if let Err(problem) = &part.verdict {
                return Err(format!("{}: {problem}", part.policy.metadata.name));
            }
        }
        Ok(compare_verdicts(recorded, &verdicts))
    }

    /// Reads the actions of a request as the owner did: parsed, with the form of their declared types, redacted.
    ///
    /// # Errors
    /// The request is refused: in words, redacted.
    pub(super) fn read_actions(&self, body: &[u8], is_batch: bool) -> Result<Vec<Action>, String> {
        let requests = read_proposed_actions(body, is_batch);
        let actions = requests.and_then(|requests| {
            requests
                .into_iter()
                .map(|mut request| {
                    self.action_types.resolve(&mut request.action)?;
                    Ok(redact_action(request.action).action)
                })
                .collect()
        });
        // An error quotes the request.
        actions.map_err(|error| redact_text(&error.to_string()))
    }
}
