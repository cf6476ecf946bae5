//! Loading and calling a policy.

use std::sync::Arc;
use std::time::Duration;

use ark_model::action::Action;
use ark_model::check::to_printable;
use ark_model::decision::PolicyIdentity;
use ark_model::facts::Facts;
use ark_model::ids::Digest;
use ark_model::settings::Settings;
use ark_model::verdict::{Metadata, Verdict};
use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Store, Trap};

use crate::decommit::GuestStore;
use crate::engine::Engine;
use crate::epoch::ticks_within;
use crate::limiter::{InstanceLimiter, LimitReached};
use crate::load::{
    LoadError, LoadedAs, check_before_compilation, compile_component, find_vectors_section,
    list_imports,
};

use super::bindings::configurable::ark::policy::settings as wit;
use super::bindings::{configurable, plain};
use super::error::{PolicyError, SettingsProblem, SettingsRefused};
use super::validity::{check_metadata, check_verdict};

/// The fuel of one evaluation unless a policy is given less, in units. The Graveyard needs about 20,000.
pub const POLICY_FUEL: u64 = 20_000_000;
/// The wall-clock time of one evaluation. Fuel bounds its work; this bound is for an engine that does not charge it, and is far above what an
/// evaluation takes on a busy machine, so that no judgement depends on the machine's speed.
const POLICY_DEADLINE: Duration = Duration::from_secs(2);
/// The memory of one policy instance, in bytes.
const POLICY_MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// The table elements of one policy instance.
const POLICY_TABLE_ELEMENTS: usize = 10_000;
/// The core instances that a policy may consist of.
const POLICY_CORE_INSTANCES: usize = 32;
/// The most bytes that are copied out of a policy's memory for one answer: a guest may refer to the same text many times.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// The most problems of settings that are shown.
const MAX_PROBLEMS: usize = 32;
/// The longest text of a problem that is shown, in characters.
const MAX_PROBLEM_CHARS: usize = 500;
/// The exports that only a policy with settings has.
const SETTINGS_EXPORTS: [&str; 2] = ["validate-settings", "evaluate-with"];

/// A policy, compiled and linked.
pub struct Policy {
    identity: Arc<PolicyIdentity>,
    pre: LinkedPolicy,
    engine: Engine,
    vectors: Option<Vec<u8>>,
    fuel: u64,
}

/// A linked policy of either world.
enum LinkedPolicy {
    Plain(plain::PolicyPre<InstanceLimiter>),
    Configurable(configurable::ConfigurablePolicyPre<InstanceLimiter>),
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        self.engine.give_pages_back();
    }
}

impl Policy {
    /// Checks what can be known of a policy without compiling it: its form, that it imports nothing, and what it exports.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn check_before_compilation(bytes: &[u8]) -> Result<(), LoadError> {
        check_before_compilation(bytes, LoadedAs::Policy)
    }

    /// Compiles a policy, checks that it imports nothing, and asks for its metadata.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        let component = compile_component(engine, bytes, LoadedAs::Policy)?;
        let imports = list_imports(engine, &component.component_type());
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
        let linker = Linker::<InstanceLimiter>::new(engine.wasmtime());
        let pre: InstancePre<InstanceLimiter> =
            linker.instantiate_pre(&component).map_err(wrong_world)?;
        let pre = if takes_settings {
            configurable::ConfigurablePolicyPre::new(pre).map(LinkedPolicy::Configurable)
        } else {
            plain::PolicyPre::new(pre).map(LinkedPolicy::Plain)
        }
        .map_err(wrong_world)?;
        let identity = |metadata| {
            let digest = Digest::hash_bytes(bytes);
            Arc::new(PolicyIdentity::new(digest, metadata))
        };
        let mut policy = Self {
            // Until the policy was asked for it below.
            identity: identity(Metadata {
                name: String::new(),
                version: String::new(),
                rules: Vec::new(),
            }),
            pre,
            engine: engine.clone(),
            vectors: find_vectors_section(bytes),
            fuel: POLICY_FUEL,
        };
        let metadata = policy
            .new_instance()
            .and_then(|mut instance| instance.call_metadata())
            .map_err(|error| LoadError::Failed(error.to_string()))?;
        check_metadata(&metadata).map_err(LoadError::BadMetadata)?;
        policy.identity = identity(metadata);
        Ok(policy)
    }

    /// Returns the policy with this much fuel for each evaluation, [`POLICY_FUEL`] at most.
    #[must_use]
    pub fn with_fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel.min(POLICY_FUEL);
        self
    }

    /// Returns the SHA-256 of the component and the policy's metadata.
    #[must_use]
    pub const fn identity(&self) -> &Arc<PolicyIdentity> {
        &self.identity
    }

    /// Returns the JSON of the policy's test vectors, if it carries any.
    #[must_use]
    pub fn vectors(&self) -> Option<&[u8]> {
        self.vectors.as_deref()
    }

    /// Returns whether the policy takes settings.
    #[must_use]
    pub const fn takes_settings(&self) -> bool {
        matches!(self.pre, LinkedPolicy::Configurable(_))
    }

    /// Asks the policy, in a new instance, whether it accepts these settings.
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
            .call_validate_settings(&mut *instance.store, settings.as_str())
            .map_err(|error| SettingsRefused::Failed(classify_error(&error)))?
            .map_err(|problems| SettingsRefused::Problems(bounded_problems(&problems)))
    }

    /// Makes a new instance.
    ///
    /// # Errors
    /// [`PolicyError::Start`], or the limit that the policy reached at its start.
    pub fn new_instance(&self) -> Result<PolicyInstance, PolicyError> {
        let limiter = InstanceLimiter::new(
            POLICY_MEMORY_BYTES,
            POLICY_TABLE_ELEMENTS,
            POLICY_CORE_INSTANCES,
        );
        let held = limiter.held();
        let mut store = self.engine.new_store(limiter, held);
        store.limiter(|limiter| limiter);
        store.set_hostcall_fuel(MAX_ANSWER);
        arm_limits(&mut store, self.fuel)?;
        let policy = match &self.pre {
            LinkedPolicy::Plain(pre) => pre.instantiate(&mut *store).map(PolicyWorld::Plain),
            LinkedPolicy::Configurable(pre) => {
                pre.instantiate(&mut *store).map(PolicyWorld::Configurable)
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

/// An instance of a policy. It may be called again after it has answered; after an error it must be dropped.
pub struct PolicyInstance {
    store: GuestStore<InstanceLimiter>,
    policy: PolicyWorld,
    identity: Arc<PolicyIdentity>,
    fuel: u64,
}

/// An instance of a policy of either world.
enum PolicyWorld {
    Plain(plain::Policy),
    Configurable(configurable::ConfigurablePolicy),
}

impl PolicyInstance {
    /// Judges an action under the facts and, if the operator gave any, the settings. Fuel, time and memory of the call are bounded.
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
        let store = &mut *self.store;
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

    fn call_metadata(&mut self) -> Result<Metadata, PolicyError> {
        self.reset_limits()?;
        let store = &mut *self.store;
        match &self.policy {
            PolicyWorld::Plain(policy) => policy.call_metadata(store),
            PolicyWorld::Configurable(policy) => policy.call_metadata(store),
        }
        .map_err(|error| classify_error(&error))
    }

    fn reset_limits(&mut self) -> Result<(), PolicyError> {
        arm_limits(&mut self.store, self.fuel)
    }
}

/// Gives a store the fuel and the time of one call.
fn arm_limits(store: &mut Store<InstanceLimiter>, fuel: u64) -> Result<(), PolicyError> {
    store
        .set_fuel(fuel)
        .map_err(|error| PolicyError::Start(error.to_string()))?;
    store.set_epoch_deadline(ticks_within(POLICY_DEADLINE));
    Ok(())
}

/// Returns a guest's problems in bounded form. A guest that refuses without a reason gets one.
fn bounded_problems(problems: &[wit::SettingsProblem]) -> Vec<SettingsProblem> {
    let bounded = |text: &str| to_printable(text, MAX_PROBLEM_CHARS);
    let mut shown: Vec<SettingsProblem> = problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(|problem| SettingsProblem {
            field: bounded(&problem.field),
            problem: bounded(&problem.problem),
            remedy: bounded(&problem.remedy),
        })
        .collect();
    if shown.is_empty() {
        shown.push(SettingsProblem {
            field: String::new(),
            problem: "the policy refuses them without a reason".to_owned(),
            remedy: "ask its author".to_owned(),
        });
    }
    shown
}

fn classify_error(error: &wasmtime::Error) -> PolicyError {
    if let Some(reached) = error.downcast_ref::<LimitReached>() {
        return PolicyError::Limit(reached.limit);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => PolicyError::Limit("fuel"),
        Some(Trap::Interrupt) => PolicyError::Limit("time"),
        Some(trap) => PolicyError::Trap(trap.to_string()),
        None => PolicyError::Trap(error.root_cause().to_string()),
    }
}
