//! What the host attests about an action: the Rust side of `ark:types/facts`.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

/// Whether somebody approved this very action.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    utoipa::ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
#[schema(as = ApprovalFact)]
pub enum ApprovalFact {
    /// Nobody did.
    #[component(name = "none")]
    None,
    /// A standing operator's approval, by no person in particular.
    #[component(name = "operator")]
    Operator,
    /// A person did.
    #[component(name = "human")]
    Human,
}

/// Whether the subject of the data agreed.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    utoipa::ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// The host knows of none, or the action names no subject.
    #[component(name = "unknown")]
    Unknown,
    /// It is granted.
    #[component(name = "granted")]
    Granted,
    /// It was refused or withdrawn.
    #[component(name = "refused")]
    Refused,
}

/// The facts. Those that do not concern an action's kind hold their neutral value.
#[derive(
    Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, utoipa::ToSchema,
)]
#[component(record)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// Who proposes: the agent's name, or the API consumer's.
    pub agent: String,
    /// When it is judged, milliseconds since the Unix epoch, by the host's clock.
    #[component(name = "now-ms")]
    pub now_ms: u64,
    /// Whether the action was approved.
    pub approval: ApprovalFact,
    /// The emergency halt is in force (rule 14).
    #[component(name = "halt-active")]
    pub halt_active: bool,
    /// The audit log can be written (rule 12).
    #[component(name = "audit-writable")]
    pub audit_writable: bool,
    /// The Graveyard's bytes match their pin (rule 19).
    #[component(name = "pin-holds")]
    pub pin_holds: bool,
    /// The watchdog beats (rule 20).
    #[component(name = "watchdog-beating")]
    pub watchdog_beating: bool,
    /// The symbol is on the restricted list (rule 1).
    #[component(name = "symbol-restricted")]
    pub symbol_restricted: bool,
    /// A client's order is pending in the symbol (rule 4).
    #[component(name = "client-order-pending")]
    pub client_order_pending: bool,
    /// Seconds since the same agent's last approved trade in the symbol on the opposite side (rule 2).
    #[component(name = "opposite-trade-age")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opposite_trade_age: Option<f64>,
    /// Seconds since the same agent's last approved message or publication on the symbol (rule 3).
    #[component(name = "promotion-age")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion_age: Option<f64>,
    /// Exposure already held or reserved in the symbol, both sides added up, of all agents, as a fraction of capital (rule 5).
    #[component(name = "symbol-exposure")]
    pub symbol_exposure: f64,
    /// Today's (UTC) realised loss as a fraction of capital; 0 on a day in profit (rule 6).
    #[component(name = "daily-loss")]
    pub daily_loss: f64,
    /// Open and reserved positions, of all agents (rule 10).
    #[component(name = "open-positions")]
    pub open_positions: u32,
    /// Kinds of personal data that the host found in the action, e.g. `email` (rules 15 to 17).
    #[component(name = "personal-data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub personal_data: Vec<String>,
    /// Kinds of credentials that the host found in clear in the action, e.g. `aws-access-key` (rule 18).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// The consent of the action's subject (rule 16).
    pub consent: Consent,
    /// How many signals led to this one (rule 22).
    #[component(name = "causal-depth")]
    pub causal_depth: u32,
    /// Identical actions of the same agent in the last 60 s, this one not counted (rule 22).
    #[component(name = "identical-actions")]
    pub identical_actions: u32,
    /// Those of the action's sources that no operator validated (rule 21).
    #[component(name = "unvalidated-sources")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unvalidated_sources: Vec<String>,
    /// The standing user veto that matches, in its own words (rule 23).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub veto: Option<String>,
}

impl Default for Facts {
    /// A quiet system: nothing approved, nothing held against the action, every guard in place.
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
