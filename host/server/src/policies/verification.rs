//! What a component must be to be put in force as an operator policy.

use std::path::Path;
use std::sync::Arc;

use crate::changes::{Signers, read_component_file};
use ark_model::check::FieldError;
use ark_model::decision::PolicyIdentity;
use ark_model::facts::Facts;
use ark_model::form::{parse_action, parse_json};
use ark_model::ids::{Digest, Name};
use ark_model::settings::Settings;
use ark_runtime::{Engine, LoadError, Policy, run_vectors};

use super::error::InvalidPolicy;

/// The proposal a policy is asked about before it is put in force.
const TEST_TRADE: &[u8] = br#"{"agent":"api","action_type":"trade","parameters":{"symbol":"BTC-USD","position_size_pct":0.01,"entry_price":100,"stop_loss":95,"take_profit":115},"reasoning":"a trial"}"#;

/// A policy that may be put in force with its settings.
pub(super) struct VerifiedPolicy {
    pub(super) policy: Arc<Policy>,
    pub(super) settings: Option<Settings>,
    /// How many test vectors it carries and passed.
    pub(super) vectors: u32,
}

/// Verifies components before they are put in force.
#[derive(Clone)]
pub(super) struct PolicyVerifier {
    pub(super) engine: Engine,
    /// Fuel of one evaluation.
    pub(super) fuel: u64,
    /// The Graveyard's name, which no operator policy may have.
    pub(super) reserved_name: String,
    /// Who may have signed a component that comes in. One that is kept was checked when it came.
    pub(super) signers: Signers,
}

impl PolicyVerifier {
    /// `graveyard`: the policy whose name no other may have. `fuel`: the fuel of one evaluation (`capacity.policy_fuel`).
    pub(super) fn new(
        engine: &Engine,
        graveyard: &PolicyIdentity,
        fuel: u64,
        signers: &Signers,
    ) -> Self {
        Self {
            engine: engine.clone(),
            fuel,
            reserved_name: graveyard.metadata.name.clone(),
            signers: signers.clone(),
        }
    }

    /// Loads a component (imports, metadata), asks it whether it takes the settings, runs its test vectors, and has it judge a plain trade
    /// with the settings. `name`: the name its metadata must have.
    pub(super) fn verify(
        &self,
        component: &[u8],
        name: Option<&Name>,
        settings: Option<Settings>,
    ) -> Result<VerifiedPolicy, InvalidPolicy> {
        let policy = Policy::load(&self.engine, component)?.with_fuel(self.fuel);
        let found = &policy.identity().metadata.name;
        if *found == self.reserved_name {
            return Err(InvalidPolicy::ReservedName(found.clone()));
        }
        if let Some(expected) = name.filter(|name| name.as_str() != found) {
            return Err(InvalidPolicy::NameMismatch {
                expected: expected.clone(),
                found: found.clone(),
            });
        }
        if let Some(settings) = &settings {
            policy.validate_settings(settings)?;
        }
        // A component without vectors is taken too: an operator policy can only tighten. The receipt says so.
        let vectors = match policy.vectors() {
            Some(_) => run_vectors(&policy)?,
            None => 0,
        };
        let trade = parse_json(TEST_TRADE).and_then(parse_action);
        let trade = trade.map_err(|error: FieldError| LoadError::Failed(error.to_string()))?;
        policy
            .new_instance()
            .and_then(|mut instance| {
                instance.evaluate(settings.as_ref(), &trade.action, &Facts::default())
            })
            .map_err(InvalidPolicy::TestEvaluation)?;
        Ok(VerifiedPolicy {
            policy: Arc::new(policy),
            settings,
            vectors: u32::try_from(vectors).unwrap_or(u32::MAX),
        })
    }
}

/// Reads a component's file, which must have this digest.
pub(super) fn read_pinned(path: &Path, pin: Digest) -> Result<Vec<u8>, InvalidPolicy> {
    let component = read_component_file(path)?;
    check_digest(&component, pin)?;
    Ok(component)
}

/// Checks that bytes have the digest that was stated for them.
pub(super) fn check_digest(bytes: &[u8], expected: Digest) -> Result<(), InvalidPolicy> {
    let found = Digest::hash_bytes(bytes);
    if found == expected {
        return Ok(());
    }
    Err(InvalidPolicy::DigestMismatch { expected, found })
}
