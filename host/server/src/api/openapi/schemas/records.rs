//! The schemas of what the host attests and records, field by field as the types of `ark_model` and `ark_runtime` serialise them.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use ark_model::control::{AlertSeverity, QuarantineCause};
use ark_model::facts::{ApprovalFact, Consent, Facts};
use ark_model::ids::{DecisionId, Digest, Millis, Name};
use ark_model::verdict::Severity;
use ark_runtime::{LimitsTable, QuotasTable};

/// The facts under which an action is judged. A fact that does not concern the action's family has its neutral value, the one in [`Default`].
#[derive(ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Facts)]
pub(crate) struct FactsSchema {
    /// The requester: an agent or an API consumer.
    agent: String,
    /// The host's time of the judgement, in milliseconds since the Unix epoch.
    now_ms: u64,
    /// Whether the action was approved.
    approval: ApprovalFact,
    /// Whether a halt is in force (rule 14).
    halt_active: bool,
    /// Whether the audit log can be written (rule 12).
    audit_writable: bool,
    /// Whether the Graveyard's bytes match their pin (rule 19).
    pin_holds: bool,
    /// Whether the watchdog has given its sign of life in time (rule 20).
    watchdog_beating: bool,
    /// Whether the symbol is on the restricted list (rule 1).
    symbol_restricted: bool,
    /// Whether a client's order is pending in the symbol (rule 4).
    client_order_pending: bool,
    /// Seconds since the requester's last approved trade in the symbol on the opposite side; absent: there was none (rule 2).
    opposite_trade_age: Option<f64>,
    /// Seconds since the last approved promotion of the instrument, by a publication, report or outward message of anybody or a message of the
    /// requester; absent: there was none (rule 3).
    promotion_age: Option<f64>,
    /// The exposure in the symbol that is open or reserved, both sides and all agents added up, as a fraction of capital (rule 5).
    symbol_exposure: f64,
    /// The realised loss of the current UTC day as a fraction of capital; 0 on a day with a profit (rule 6).
    daily_loss: f64,
    /// The number of open and reserved positions of all agents (rule 10).
    open_positions: u32,
    /// The kinds of personal data that the host found in the action, e.g. `email` (rules 15 to 17).
    personal_data: Vec<String>,
    /// The kinds of unencrypted credentials that the host found in the action, e.g. `aws-access-key` (rule 18).
    credentials: Vec<String>,
    /// The consent of the person the data is about (rule 16).
    consent: Consent,
    /// The number of signals that led to the action (rule 22).
    causal_depth: u32,
    /// The number of identical actions of the requester in the last 60 s, without this one (rule 22).
    identical_actions: u32,
    /// The action's sources that no operator has validated (rule 21).
    unvalidated_sources: Vec<String>,
    /// The text of the veto that matches the action; absent: none does (rule 23).
    veto: Option<String>,
}

impl FactsSchema {
    /// The defaults that the schema states are those of the facts themselves.
    fn default() -> Facts {
        Facts::default()
    }
}

/// One rule of a policy, described once in its metadata.
#[derive(ToSchema)]
#[schema(as = Rule)]
pub(crate) struct RuleSchema {
    /// The number, unique in the policy. Rule answers refer to it.
    number: u16,
    /// The name, e.g. `max_leverage`.
    name: String,
    /// The category, e.g. `risk_management`.
    category: String,
    /// The severity.
    severity: Severity,
    /// Whether the rule holds the action for an approval in place of denying it.
    hold: bool,
    /// What the rule demands, in a sentence.
    description: String,
}

/// The approval under which an action was judged again.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApprovalGiven)]
pub(crate) struct ApprovalGivenSchema {
    /// The id of the decision that held the action. It is also the id of the approval.
    held: DecisionId,
    /// The name of the approver.
    by: String,
}

/// A quarantine that is in force.
#[derive(ToSchema)]
#[schema(as = Quarantine)]
pub(crate) struct QuarantineSchema {
    /// The agent in quarantine.
    agent: Name,
    /// The kind of cause.
    cause: QuarantineCause,
    /// The reason given, for people.
    reason: String,
    /// Who ordered it: `watchdog`, or an operator's name.
    by: String,
    /// When it was ordered.
    at_ms: Millis,
}

/// A halt that is in force.
#[derive(ToSchema)]
#[schema(as = Halt)]
pub(crate) struct HaltSchema {
    /// The reason given, for people.
    reason: String,
    /// Who ordered it: `watchdog`, or an operator's name.
    by: String,
    /// When it was ordered.
    at_ms: Millis,
}

/// Something that the watchdog noticed.
#[derive(ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertSchema {
    /// When it was noticed.
    at_ms: Millis,
    /// The severity.
    severity: AlertSeverity,
    /// The kind: a fixed name, e.g. `heartbeat_missed`.
    kind: String,
    /// The agent that the alert is about; absent: the host.
    agent: Option<Name>,
    /// The alert in a sentence, for people.
    message: String,
    /// The observed value; absent where it is not a number.
    observed: Option<f64>,
    /// The limit that the observed value is compared with; absent where there is none.
    limit: Option<f64>,
}

/// The manifest of an agent.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Manifest)]
pub(crate) struct ManifestSchema {
    /// The agent's name.
    name: Name,
    /// The agent's version (semver).
    version: String,
    /// The name of the component's file, in the directory of the manifest.
    component: String,
    /// The SHA-256 of the component.
    sha256: Digest,
    /// What the agent does, for people.
    #[serde(default)]
    description: String,
    /// The topics that the agent receives: exact, or `prefix.*`.
    #[serde(default)]
    topics: Vec<String>,
    /// The action types that the agent may propose.
    #[serde(default)]
    actions: Vec<String>,
    /// What else the agent may do. There is one capability: `truth-set`.
    #[serde(default)]
    capabilities: Vec<String>,
    /// Limits that are tighter than the operator's ceiling.
    #[serde(default)]
    limits: LimitsTable,
    /// Quotas that are tighter than the operator's.
    #[serde(default)]
    quotas: QuotasTable,
    /// The component's signature, as `ark agent sign` or `ark agent pull --verify-key` writes it. Needed where the host demands one.
    signature: Option<String>,
    /// The values that `config-get` returns unless an operator has set others.
    #[serde(default)]
    config: BTreeMap<String, serde_json::Value>,
}

/// A problem of settings as the policy describes it. The texts have bounded lengths and contain no control characters.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SettingsProblem)]
pub(crate) struct SettingsProblemSchema {
    /// The field, as a path from the root of the settings; empty: the settings as a whole.
    field: String,
    /// What is wrong.
    problem: String,
    /// What would be right.
    remedy: String,
}
