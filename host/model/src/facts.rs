//! What the host states about an action from its own knowledge: the Rust side of `ark:types/facts`.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

/// Whether this action was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::VariantArray)]
pub enum ApprovalFact {
    /// The action was not approved.
    #[component(name = "none")]
    None,
    /// The action was approved by an operator's standing approval.
    #[component(name = "operator")]
    Operator,
    /// A person approved the action.
    #[component(name = "human")]
    Human,
}

/// The consent of the person the data is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::VariantArray)]
pub enum Consent {
    /// The host knows of no consent, or the action names no subject.
    #[component(name = "unknown")]
    Unknown,
    /// The consent is granted.
    #[component(name = "granted")]
    Granted,
    /// The consent was refused or withdrawn.
    #[component(name = "refused")]
    Refused,
}

/// The facts under which an action is judged. A fact that does not concern the action's family has its neutral value, the one in [`Default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub struct Facts {
    /// The requester: an agent or an API consumer.
    pub agent: String,
    /// The host's time of the judgement, in milliseconds since the Unix epoch.
    #[component(name = "now-ms")]
    pub now_ms: u64,
    /// Whether the action was approved.
    pub approval: ApprovalFact,
    /// Whether a halt is in force (rule 14).
    #[component(name = "halt-active")]
    pub halt_active: bool,
    /// Whether the audit log can be written (rule 12).
    #[component(name = "audit-writable")]
    pub audit_writable: bool,
    /// Whether the Graveyard's bytes match their pin (rule 19).
    #[component(name = "pin-holds")]
    pub pin_holds: bool,
    /// Whether the watchdog has given its sign of life in time (rule 20).
    #[component(name = "watchdog-beating")]
    pub watchdog_beating: bool,
    /// Whether the symbol is on the restricted list (rule 1).
    #[component(name = "symbol-restricted")]
    pub symbol_restricted: bool,
    /// Whether a client's order is pending in the symbol (rule 4).
    #[component(name = "client-order-pending")]
    pub client_order_pending: bool,
    /// Seconds since the requester's last approved trade in the symbol on the opposite side; absent: there was none (rule 2).
    #[component(name = "opposite-trade-age")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opposite_trade_age: Option<f64>,
    /// Seconds since the last approved promotion of the instrument, by a publication, report or outward message of anybody or a message of the
    /// requester; absent: there was none (rule 3).
    #[component(name = "promotion-age")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion_age: Option<f64>,
    /// The exposure in the symbol that is open or reserved, both sides and all agents added up, as a fraction of capital (rule 5).
    #[component(name = "symbol-exposure")]
    pub symbol_exposure: f64,
    /// The realised loss of the current UTC day as a fraction of capital; 0 on a day with a profit (rule 6).
    #[component(name = "daily-loss")]
    pub daily_loss: f64,
    /// The number of open and reserved positions of all agents (rule 10).
    #[component(name = "open-positions")]
    pub open_positions: u32,
    /// The kinds of personal data that the host found in the action, e.g. `email` (rules 15 to 17).
    #[component(name = "personal-data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub personal_data: Vec<String>,
    /// The kinds of unencrypted credentials that the host found in the action, e.g. `aws-access-key` (rule 18).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// The consent of the person the data is about (rule 16).
    pub consent: Consent,
    /// The number of signals that led to the action (rule 22).
    #[component(name = "causal-depth")]
    pub causal_depth: u32,
    /// The number of identical actions of the requester in the last 60 s, without this one (rule 22).
    #[component(name = "identical-actions")]
    pub identical_actions: u32,
    /// The action's sources that no operator has validated (rule 21).
    #[component(name = "unvalidated-sources")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unvalidated_sources: Vec<String>,
    /// The text of the veto that matches the action; absent: none does (rule 23).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub veto: Option<String>,
}

impl Default for Facts {
    /// The neutral facts: nothing is approved, nothing speaks against the action, every guard works.
    fn default() -> Self {
        Self {
            agent: String::new(),
            now_ms: 0,
            approval: ApprovalFact::None,
            halt_active: false,
            audit_writable: true,
            pin_holds: true,
            watchdog_beating: true,
            symbol_restricted: false,
            client_order_pending: false,
            opposite_trade_age: None,
            promotion_age: None,
            symbol_exposure: 0.0,
            daily_loss: 0.0,
            open_positions: 0,
            personal_data: Vec::new(),
            credentials: Vec::new(),
            consent: Consent::Unknown,
            causal_depth: 0,
            identical_actions: 0,
            unvalidated_sources: Vec::new(),
            veto: None,
        }
    }
}
