//! Policies: pure functions from (action, facts) to a verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::{InstancePre, Linker};

use crate::model::action::Action;
use crate::model::decision::PolicyIdentity;
use crate::model::facts::Facts;
use crate::model::ids::{Digest, Name};
use crate::model::verdict::{Metadata, RuleResult, Value, Verdict};

use super::engine::Engine;
use super::limits::{LimitReached, Meter, ticks_until};
use super::load::{self, LoadError};

mod bindings {
    #![allow(
        missing_docs,
        clippy::pedantic,
        reason = "generated from the WIT, where it is documented"
    )]
    wasmtime::component::bindgen!({
        path: ["../wit/types", "../wit/policy"],
        world: "ark:policy/policy",
        with: {
            "ark:types/actions@1.0.0": crate::runtime::types::actions,
            "ark:types/facts@1.0.0": crate::runtime::types::facts,
            "ark:types/verdicts@1.0.0": crate::runtime::types::verdicts,
        },
    });
}

/// Fuel of one evaluation: the Graveyard needs some 20,000 units.
const FUEL: u64 = 20_000_000;
/// Time of one evaluation.
const DEADLINE: Duration = Duration::from_millis(100);
/// Memory of one policy instance.
const MEMORY: usize = 16 * 1024 * 1024;
/// The most rules a policy may have.
const MAX_RULES: usize = 256;
/// The longest text a verdict may hold.
const MAX_TEXT: usize = 4096;
/// The most warnings a verdict may hold.
const MAX_WARNINGS: usize = 64;

/// Why a policy could not judge. Every one of them denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no room for an instance, or it could not start.
    #[error("the policy could not be started: {0}")]
    Start(String),
    /// It used up its fuel, its time or its memory.
    #[error("the policy reached its limit of {0}")]
    Limit(&'static str),
    /// It trapped.
    #[error("the policy trapped: {0}")]
    Trap(String),
    /// What it said is no verdict over its own rules.
    #[error("the policy's verdict is malformed: {0}")]
    Malformed(String),
}

/// A policy, compiled and linked.
pub struct Policy {
    identity: Arc<PolicyIdentity>,
    pre: bindings::PolicyPre<Meter>,
    engine: Engine,
    vectors: Option<Vec<u8>>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Policy {
    /// Compiles a policy, makes sure that it imports nothing, and asks for its metadata.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        let component = load::compile(engine, bytes)?;
        let imports = load::imports(engine, &component.component_type());
        if !imports.is_empty() {
            return Err(LoadError::NotGranted(imports));
        }
        let wrong_world = |error: wasmtime::Error| LoadError::WrongWorld {
            world: "ark:policy/policy",
            problem: format!("{error:#}"),
        };
        let linker = Linker::<Meter>::new(engine.wasmtime());
        let pre: InstancePre<Meter> = linker.instantiate_pre(&component).map_err(wrong_world)?;
        let pre = bindings::PolicyPre::new(pre).map_err(wrong_world)?;
        let mut policy = Self {
            identity: Arc::new(PolicyIdentity {
                digest: Digest::of(bytes),
                metadata: Metadata {
                    name: String::new(),
                    version: String::new(),
                    rules: Vec::new(),
                },
            }),
            pre,
            engine: engine.clone(),
            vectors: super::vectors::section(bytes),
        };
        let mut instance = policy
            .instance()
            .map_err(|error| LoadError::Failed(error.to_string()))?;
        instance
            .rearm()
            .map_err(|error| LoadError::Failed(error.to_string()))?;
        let metadata = instance
            .policy
            .call_metadata(&mut instance.store)
            .map_err(|error| LoadError::Failed(classify(&error).to_string()))?;
        check_metadata(&metadata).map_err(LoadError::BadMetadata)?;
        policy.identity = Arc::new(PolicyIdentity {
            digest: Digest::of(bytes),
            metadata,
        });
        Ok(policy)
    }

    /// What identifies it.
    #[must_use]
    pub const fn identity(&self) -> &Arc<PolicyIdentity> {
        &self.identity
    }

    /// The JSON of its test vectors, if it carries any.
    #[must_use]
    pub fn vectors(&self) -> Option<&[u8]> {
        self.vectors.as_deref()
    }

    /// A fresh instance.
    ///
    /// # Errors
    /// [`PolicyError::Start`], or the limit that its start reached.
    pub fn instance(&self) -> Result<PolicyInstance, PolicyError> {
        let mut store = Store::new(self.engine.wasmtime(), Meter::new(MEMORY, 10_000, 32));
        store.limiter(|meter| meter);
        store
            .set_fuel(FUEL)
            .map_err(|error| PolicyError::Start(error.to_string()))?;
        store.set_epoch_deadline(ticks_until(Instant::now() + DEADLINE));
        let policy = self
            .pre
            .instantiate(&mut store)
            .map_err(|error| match classify(&error) {
                PolicyError::Trap(reason) => PolicyError::Start(reason),
                other => other,
            })?;
        Ok(PolicyInstance {
            store,
            policy,
            identity: Arc::clone(&self.identity),
        })
    }
}

/// An instance of a policy. It may be asked again after it answered; after an error it must be dropped.
pub struct PolicyInstance {
    store: Store<Meter>,
    policy: bindings::Policy,
    identity: Arc<PolicyIdentity>,
}

impl PolicyInstance {
    /// Judges an action under the facts, within a limit of fuel, time and memory.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn evaluate(&mut self, action: &Action, facts: &Facts) -> Result<Verdict, PolicyError> {
        self.rearm()?;
        let verdict = self
            .policy
            .call_evaluate(&mut self.store, action, facts)
            .map_err(|error| classify(&error))?;
        check_verdict(&self.identity.metadata, &verdict).map_err(PolicyError::Malformed)?;
        Ok(verdict)
    }

    fn rearm(&mut self) -> Result<(), PolicyError> {
        self.store
            .set_fuel(FUEL)
            .map_err(|error| PolicyError::Start(error.to_string()))?;
        self.store
            .set_epoch_deadline(ticks_until(Instant::now() + DEADLINE));
        Ok(())
    }
}

fn classify(error: &wasmtime::Error) -> PolicyError {
    if let Some(reached) = error.downcast_ref::<LimitReached>() {
        return PolicyError::Limit(reached.limit);
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::OutOfFuel) => PolicyError::Limit("fuel"),
        Some(wasmtime::Trap::Interrupt) => PolicyError::Limit("time"),
        Some(trap) => PolicyError::Trap(trap.to_string()),
        None => PolicyError::Trap(error.root_cause().to_string()),
    }
}

fn check_metadata(metadata: &Metadata) -> Result<(), String> {
    if metadata.name.parse::<Name>().is_err() {
        return Err(format!(
            "the name {:?} is not 1 to 64 of a-z, 0-9, '-', '_'",
            metadata.name
        ));
    }
    if metadata.version.is_empty() || metadata.version.len() > 64 {
        return Err("the version is empty or longer than 64 bytes".to_owned());
    }
    if metadata.rules.is_empty() || metadata.rules.len() > MAX_RULES {
        return Err(format!(
            "it has {} rules; 1 to {MAX_RULES} are possible",
            metadata.rules.len()
        ));
    }
    let mut numbers: Vec<u16> = metadata.rules.iter().map(|rule| rule.number).collect();
    let mut names: Vec<&str> = metadata
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    numbers.sort_unstable();
    names.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1])
        || names.windows(2).any(|pair| pair[0] == pair[1])
    {
        return Err("two rules have the same number or name".to_owned());
    }
    if names.iter().any(|name| name.parse::<Name>().is_err()) {
        return Err("a rule's name is not 1 to 64 of a-z, 0-9, '-', '_'".to_owned());
    }
    Ok(())
}

fn check_verdict(metadata: &Metadata, verdict: &Verdict) -> Result<(), String> {
    if verdict.answers.len() != metadata.rules.len() {
        return Err(format!(
            "{} answers for {} rules",
            verdict.answers.len(),
            metadata.rules.len()
        ));
    }
    let mut checked = 0u32;
    let mut broken = 0u32;
    for (answer, rule) in verdict.answers.iter().zip(&metadata.rules) {
        if answer.rule != rule.number {
            return Err(format!(
                "rule {} answered in the place of rule {}",
                answer.rule, rule.number
            ));
        }
        for value in [&answer.observed, &answer.limit] {
            match value {
                Value::Number(number) if !number.is_finite() => {
                    return Err(format!(
                        "rule {} shows a number that is not finite",
                        rule.name
                    ));
                }
                Value::Text(text) if text.len() > MAX_TEXT => {
                    return Err(format!(
                        "rule {} shows a text of {} bytes",
                        rule.name,
                        text.len()
                    ));
                }
                _ => {}
            }
        }
        if answer
            .nearest_passing
            .is_some_and(|number| !number.is_finite())
        {
            return Err(format!(
                "rule {} names a nearest passing value that is not finite",
                rule.name
            ));
        }
        checked += u32::from(answer.answer != RuleResult::NotApplicable);
        broken += u32::from(matches!(
            answer.answer,
            RuleResult::Violation | RuleResult::Hold | RuleResult::Error
        ));
    }
    if verdict.warnings.len() > MAX_WARNINGS
        || verdict.warnings.iter().any(|text| text.len() > MAX_TEXT)
    {
        return Err(format!(
            "more than {MAX_WARNINGS} warnings, or one longer than {MAX_TEXT} bytes"
        ));
    }
    let score = if checked == 0 {
        1.0
    } else {
        (1.0 - f64::from(broken) / f64::from(checked)).max(0.0)
    };
    if (verdict.compliance_score - score).abs() > 1e-9 {
        return Err(format!(
            "the compliance score is {}, its answers make it {score}",
            verdict.compliance_score
        ));
    }
    Ok(())
}
