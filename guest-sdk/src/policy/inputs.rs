//! Questions to an action and the neutral facts.

use super::{Action, Approval, Consent, Facts, FileVerb, Parameters};

impl Parameters {
    /// The parameters that have no field of their own: text that should be one JSON object. For the system family and for custom
    /// kinds these are all parameters.
    #[must_use]
    pub fn open_json(&self) -> &str {
        match self {
            Self::Trade(p) => &p.extra_json,
            Self::ClosePosition(p) => &p.extra_json,
            Self::Data(p) => &p.extra_json,
            Self::File(p) => &p.extra_json,
            Self::Code(p) => &p.extra_json,
            Self::Message(p) => &p.extra_json,
            Self::System(p) => &p.parameters_json,
            Self::Custom(p) => &p.parameters_json,
        }
    }
}

impl Action {
    /// Whether it acts outside the host: as the proposer says, and by kind where it does not say. Trades, code, file changes, data
    /// sent to a named destination and custom kinds are external.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.external.unwrap_or(match &self.parameters {
            Parameters::Trade(_)
            | Parameters::ClosePosition(_)
            | Parameters::Code(_)
            | Parameters::Custom(_) => true,
            Parameters::File(file) => file.operation != FileVerb::Read,
            Parameters::Data(data) => data
                .destination
                .as_deref()
                .is_some_and(|name| name != "internal"),
            Parameters::Message(_) | Parameters::System(_) => false,
        })
    }

    /// Whether it changes nothing: reading a file is all there is.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(&self.parameters, Parameters::File(file) if file.operation == FileVerb::Read)
    }
}

impl Default for Facts {
    /// A quiet system: nothing approved, nothing held against the action, every guard in place. The same as the host's.
    fn default() -> Self {
        Self {
            agent: String::new(),
            now_ms: 0,
            approval: Approval::None,
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
