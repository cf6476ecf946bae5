//! What a component must be to be taken as an operator policy.

use std::path::Path;
use std::sync::Arc;

use ark_model::check::FieldError;
use ark_model::facts::Facts;
use ark_model::form::{parse_action, parse_json};
use ark_model::ids::{Digest, Name};
use ark_model::settings::Settings;
use ark_runtime::{Engine, LoadError, MAX_COMPONENT_BYTES, Policy, run_vectors};

use super::change::InvalidPolicy;

/// A policy that was looked at: it may be put in force with these settings.
pub(super) struct VerifiedPolicy {
    pub(super) policy: Arc<Policy>,
    pub(super) settings: Option<Settings>,
    pub(super) vectors: u32,
}

/// What a policy is asked about before it is put in force.
const TEST_TRADE: &[u8] = br#"{"agent":"api","action_type":"trade","parameters":{"symbol":"BTC-USD","position_size_pct":0.01,"entry_price":100,"stop_loss":95,"take_profit":115},"reasoning":"a trial"}"#;

/// What policies are measured by.
#[derive(Clone)]
pub(super) struct PolicyVerifier {
    pub(super) engine: Engine,
    /// Fuel of one evaluation.
    pub(super) fuel: u64,
    /// The Graveyard's name.
    pub(super) reserved_name: String,
}

impl PolicyVerifier {
    /// Loads a component (imports, metadata), asks it whether it takes the settings, runs its own test vectors, and has it judge a plain
    /// trade with its settings.
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
        // Without vectors it is taken too: all it can do is tighten. Whoever looks at it is told.
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

/// The bytes of a component, which must have this digest.
pub(super) fn read_pinned(path: &Path, pin: Digest) -> Result<Vec<u8>, InvalidPolicy> {
    let unreadable = |error: std::io::Error| InvalidPolicy::File {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_COMPONENT_BYTES as u64 {
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        return Err(LoadError::TooLarge { bytes }.into());
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    check_digest(&bytes, pin)?;
    Ok(bytes)
}

/// Whether bytes have the digest that was stated.
pub(super) fn check_digest(bytes: &[u8], expected: Digest) -> Result<(), InvalidPolicy> {
    let found = Digest::hash_bytes(bytes);
    if found == expected {
        return Ok(());
    }
    Err(InvalidPolicy::DigestMismatch { expected, found })
}
