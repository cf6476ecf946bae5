//! Policies: pure functions from (settings, action, facts) to a verdict.
//!
//! A policy is a component of one of two worlds: `policy`, or `configurable-policy`, which takes settings too. Which one it is follows from
//! what it exports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wasmtime::Store;
use wasmtime::component::{InstancePre, Linker};

use ark_model::action::Action;
use ark_model::check::to_printable;
use ark_model::decision::PolicyIdentity;
use ark_model::facts::Facts;
use ark_model::ids::{Digest, Name};
use ark_model::settings::Settings;
use ark_model::verdict::{Metadata, ObservedValue, RuleResult, Verdict};

use super::engine::Engine;
use super::limits::{LimitReached, ResourceMeter, ticks_until};
use super::load::{self, LoadError};

mod plain {
    #![allow(
        missing_docs,
        clippy::pedantic,
        reason = "generated from the WIT, where it is documented"
    )]
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/policy"],
        world: "ark:policy/policy",
        with: {
            "ark:types/actions@1.0.0": crate::types::actions,
            "ark:types/facts@1.0.0": crate::types::facts,
            "ark:types/verdicts@1.0.0": crate::types::verdicts,
        },
    });
}

mod configurable {
    #![allow(
        missing_docs,
        clippy::pedantic,
        reason = "generated from the WIT, where it is documented"
    )]
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/policy"],
        world: "ark:policy/configurable-policy",
        with: {
            "ark:types/actions@1.0.0": crate::types::actions,
            "ark:types/facts@1.0.0": crate::types::facts,
            "ark:types/verdicts@1.0.0": crate::types::verdicts,
        },
    });
}

/// Fuel of one evaluation, unless less is said: the Graveyard needs some 20,000 units.
pub const POLICY_FUEL: u64 = 20_000_000;
/// Time of one evaluation.
const POLICY_DEADLINE: Duration = Duration::from_millis(100);
/// Memory of one policy instance.
const POLICY_MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// The most rules a policy may have.
const MAX_RULES: usize = 256;
/// The longest text a verdict may hold.
const MAX_TEXT: usize = 4096;
/// The most warnings a verdict may hold.
const MAX_WARNINGS: usize = 64;

/// What may be copied out of a policy's memory for one answer, in bytes: a guest may point to the same text over and over.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// The most problems of settings that are shown.
const MAX_PROBLEMS: usize = 32;
/// The longest text of a problem that is shown, in characters.
const MAX_PROBLEM_TEXT: usize = 500;
/// What a policy exports that takes settings, beyond what every policy does.
const SETTINGS_EXPORTS: [&str; 2] = ["validate-settings", "evaluate-with"];

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
    /// It was handed settings and takes none.
    #[error("the policy takes no settings")]
    TakesNoSettings,
}

/// Why a policy does not take the settings that an operator gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsRefused {
    /// It takes none at all.
    #[error("the policy takes no settings; leave them away")]
    NotTaken,
    /// What it says is wrong with them: at least one problem, at most 32.
    #[error("the policy refuses its settings: {}", join_problems(.0))]
    Problems(Vec<SettingsProblem>),
    /// It could not say whether it takes them.
    #[error("asked whether it takes its settings, it failed: {0}")]
    Failed(PolicyError),
}

/// One thing that is wrong with settings, in the policy's own words: of bounded length, without control characters.
#[derive(
    Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, utoipa::ToSchema,
)]
#[error("settings{}{field}: {problem}; {remedy}", field_separator(.field))]
#[serde(deny_unknown_fields)]
pub struct SettingsProblem {
    /// Where, as a path from the settings' root; empty: the settings as a whole.
    pub field: String,
    /// What is wrong there.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

fn field_separator(field: &str) -> &'static str {
    if field.is_empty() || field.starts_with('[') {
        ""
    } else {
        "."
    }
}

fn join_problems(problems: &[SettingsProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join(" | ")
}

/// A policy, compiled and linked.
pub struct Policy {
    identity: Arc<PolicyIdentity>,
    pre: LinkedPolicy,
    engine: Engine,
    vectors: Option<Vec<u8>>,
    fuel: u64,
}

/// The world that a component is of.
enum LinkedPolicy {
    Plain(plain::PolicyPre<ResourceMeter>),
    Configurable(configurable::ConfigurablePolicyPre<ResourceMeter>),
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
        let component = load::compile_component(engine, bytes)?;
        let imports = load::list_imports(engine, &component.component_type());
        if !imports.is_empty() {
            return Err(LoadError::NotGranted(imports));
        }
        let takes_settings = SETTINGS_EXPORTS
            .iter()
            .any(|name| component.get_export_index(None, *name).is_some());
        let wrong_world = |error: wasmtime::Error| LoadError::WrongWorld {
            world: if takes_settings {
                "ark:policy/configurable-policy"
            } else {
                "ark:policy/policy"
            },
            problem: format!("{error:#}"),
        };
        let linker = Linker::<ResourceMeter>::new(engine.wasmtime());
        let pre: InstancePre<ResourceMeter> =
            linker.instantiate_pre(&component).map_err(wrong_world)?;
        let pre = if takes_settings {
            configurable::ConfigurablePolicyPre::new(pre).map(LinkedPolicy::Configurable)
        } else {
            plain::PolicyPre::new(pre).map(LinkedPolicy::Plain)
        }
        .map_err(wrong_world)?;
        let mut policy = Self {
            identity: Arc::new(PolicyIdentity {
                digest: Digest::hash_bytes(bytes),
                metadata: Metadata {
                    name: String::new(),
                    version: String::new(),
                    rules: Vec::new(),
                },
            }),
            pre,
            engine: engine.clone(),
            vectors: super::vectors::find_vectors_section(bytes),
            fuel: POLICY_FUEL,
        };
        let mut instance = policy
            .new_instance()
            .map_err(|error| LoadError::Failed(error.to_string()))?;
        instance
            .reset_limits()
            .map_err(|error| LoadError::Failed(error.to_string()))?;
        let store = &mut instance.store;
        let metadata = match &instance.policy {
            PolicyWorld::Plain(policy) => policy.call_metadata(store),
            PolicyWorld::Configurable(policy) => policy.call_metadata(store),
        };
        let metadata =
            metadata.map_err(|error| LoadError::Failed(classify_error(&error).to_string()))?;
        check_metadata(&metadata).map_err(LoadError::BadMetadata)?;
        policy.identity = Arc::new(PolicyIdentity {
            digest: Digest::hash_bytes(bytes),
            metadata,
        });
        Ok(policy)
    }

    /// The same with so much fuel for each evaluation, [`POLICY_FUEL`] at most.
    #[must_use]
    pub fn with_fuel(self, fuel: u64) -> Self {
        Self {
            fuel: fuel.min(POLICY_FUEL),
            ..self
        }
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

    /// Whether it takes settings.
    #[must_use]
    pub const fn takes_settings(&self) -> bool {
        matches!(self.pre, LinkedPolicy::Configurable(_))
    }

    /// Asks it, in a fresh instance, whether it takes these settings.
    ///
    /// # Errors
    /// See [`SettingsRefused`].
    pub fn validate_settings(&self, settings: &Settings) -> Result<(), SettingsRefused> {
        if !self.takes_settings() {
            return Err(SettingsRefused::NotTaken);
        }
        let mut instance = self.new_instance().map_err(SettingsRefused::Failed)?;
        instance.reset_limits().map_err(SettingsRefused::Failed)?;
        let PolicyWorld::Configurable(policy) = &instance.policy else {
            return Err(SettingsRefused::NotTaken);
        };
        policy
            .call_validate_settings(&mut instance.store, settings.as_str())
            .map_err(|error| SettingsRefused::Failed(classify_error(&error)))?
            .map_err(|problems| SettingsRefused::Problems(bounded_problems(&problems)))
    }

    /// A fresh instance.
    ///
    /// # Errors
    /// [`PolicyError::Start`], or the limit that its start reached.
    pub fn new_instance(&self) -> Result<PolicyInstance, PolicyError> {
        let mut store = Store::new(
            self.engine.wasmtime(),
            ResourceMeter::new(POLICY_MEMORY_BYTES, 10_000, 32),
        );
        store.limiter(|meter| meter);
        store.set_hostcall_fuel(MAX_ANSWER);
        store
            .set_fuel(self.fuel)
            .map_err(|error| PolicyError::Start(error.to_string()))?;
        store.set_epoch_deadline(ticks_until(Instant::now() + POLICY_DEADLINE));
        let policy = match &self.pre {
            LinkedPolicy::Plain(pre) => pre.instantiate(&mut store).map(PolicyWorld::Plain),
            LinkedPolicy::Configurable(pre) => {
                pre.instantiate(&mut store).map(PolicyWorld::Configurable)
            }
        }
        .map_err(|error| match classify_error(&error) {
            PolicyError::Trap(reason) => PolicyError::Start(reason),
            other => other,
        })?;
        Ok(PolicyInstance {
            store,
            policy,
            identity: Arc::clone(&self.identity),
            fuel: self.fuel,
        })
    }
}

/// An instance of a policy. It may be asked again after it answered; after an error it must be dropped.
pub struct PolicyInstance {
    store: Store<ResourceMeter>,
    policy: PolicyWorld,
    identity: Arc<PolicyIdentity>,
    fuel: u64,
}

enum PolicyWorld {
    Plain(plain::Policy),
    Configurable(configurable::ConfigurablePolicy),
}

impl PolicyInstance {
    /// Judges an action under the facts and the settings, where the operator gave any, within a limit of fuel, time and memory.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn evaluate(
        &mut self,
        settings: Option<&Settings>,
        action: &Action,
        facts: &Facts,
    ) -> Result<Verdict, PolicyError> {
        self.reset_limits()?;
        let store = &mut self.store;
        let verdict = match (&self.policy, settings) {
            (PolicyWorld::Plain(_), Some(_)) => return Err(PolicyError::TakesNoSettings),
            (PolicyWorld::Plain(policy), None) => policy.call_evaluate(store, action, facts),
            (PolicyWorld::Configurable(policy), None) => policy.call_evaluate(store, action, facts),
            (PolicyWorld::Configurable(policy), Some(settings)) => {
                policy.call_evaluate_with(store, settings.as_str(), action, facts)
            }
        }
        .map_err(|error| classify_error(&error))?;
        check_verdict(&self.identity.metadata, &verdict).map_err(PolicyError::Malformed)?;
        Ok(verdict)
    }

    fn reset_limits(&mut self) -> Result<(), PolicyError> {
        self.store
            .set_fuel(self.fuel)
            .map_err(|error| PolicyError::Start(error.to_string()))?;
        self.store
            .set_epoch_deadline(ticks_until(Instant::now() + POLICY_DEADLINE));
        Ok(())
    }
}

/// A guest's problems, bounded; one that refuses without a reason is given one.
fn bounded_problems(
    problems: &[configurable::ark::policy::settings::SettingsProblem],
) -> Vec<SettingsProblem> {
    let plain = |text: &str| to_printable(text, MAX_PROBLEM_TEXT);
    let mut shown: Vec<SettingsProblem> = problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(|problem| SettingsProblem {
            field: plain(&problem.field),
            problem: plain(&problem.problem),
            remedy: plain(&problem.remedy),
        })
        .collect();
    if shown.is_empty() {
        shown.push(SettingsProblem {
            field: String::new(),
            problem: "the policy refuses them and does not say why".to_owned(),
            remedy: "ask its author".to_owned(),
        });
    }
    shown
}

fn classify_error(error: &wasmtime::Error) -> PolicyError {
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
                ObservedValue::Number(number) if !number.is_finite() => {
                    return Err(format!(
                        "rule {} shows a number that is not finite",
                        rule.name
                    ));
                }
                ObservedValue::Text(text) if text.len() > MAX_TEXT => {
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
