//! What the rules judge: the action and the facts, with what must be read out of the action once for all rules.

use ark_guest::policy::{
    Action, Answer, Change, ClosePosition, Custom, DataHandling, DataOperation, Facts, FileVerb,
    Parameters, Side, Trade,
};

use crate::carried::Carried;
use crate::naming::{self, Attempt};
use crate::order::Order;
use crate::parameters::OpenParameters;

/// Why a rule cannot be judged. It denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unjudgeable(pub &'static str);

/// What a rule answers.
pub type Judged = Result<Answer, Unjudgeable>;

/// Floating-point sums and quotients may miss a limit that they meet in decimal arithmetic (0.04 + 0.06 > 0.1 in `f64`): what is
/// computed is compared with this tolerance, far below any size that matters. What is given is compared as it is.
pub const TOLERANCE: f64 = 1e-9;

/// An action under its facts.
pub struct Case<'a> {
    /// What is proposed.
    pub action: &'a Action,
    /// What the host attests.
    pub facts: &'a Facts,
    /// What the parameters without a type name; the reason where they cannot be read.
    open: Result<OpenParameters, Unjudgeable>,
    /// The trade, if it is one or a custom action that carries one.
    pub order: Option<Order>,
}

impl<'a> Case<'a> {
    /// Reads the open parameters.
    pub fn new(action: &'a Action, facts: &'a Facts) -> Self {
        let open = if fits(action) {
            OpenParameters::read(action)
        } else {
            Err(Unjudgeable("the action type does not fit its parameters"))
        };
        let carried = open.as_ref().ok().map(|open| &open.carried);
        let order = match &action.parameters {
            Parameters::Trade(trade) => Some(Order::of_trade(trade, carried)),
            Parameters::Custom(_) => carried.and_then(Order::of_carried),
            _ => None,
        };
        Self {
            action,
            facts,
            open,
            order,
        }
    }

    /// Whether a custom action carries a trade in an instrument.
    pub fn carries_a_trade_in_an_instrument(&self) -> bool {
        matches!(self.action.parameters, Parameters::Custom(_))
            && self.carried().is_some_and(Carried::trades_an_instrument)
    }

    /// What the open parameters carry of a typed family; `None` where they cannot be read.
    pub fn carried(&self) -> Option<&Carried> {
        self.open.as_ref().ok().map(|open| &open.carried)
    }

    /// The trade, if it is one.
    pub fn trade(&self) -> Option<&'a Trade> {
        match &self.action.parameters {
            Parameters::Trade(trade) => Some(trade),
            _ => None,
        }
    }

    /// The position closed, if it is one.
    pub fn close(&self) -> Option<&'a ClosePosition> {
        match &self.action.parameters {
            Parameters::ClosePosition(close) => Some(close),
            _ => None,
        }
    }

    /// The data handled, if any.
    pub fn data(&self) -> Option<&'a DataHandling> {
        match &self.action.parameters {
            Parameters::Data(data) => Some(data),
            _ => None,
        }
    }

    /// How the action names an attempt on a guard of the system, if it does, by a system change, a custom kind or its open parameters.
    ///
    /// # Errors
    /// The action type does not fit its parameters, or the open parameters cannot be read: then nobody can say what they name.
    pub fn attempt(&self, attempt: Attempt) -> Result<Option<&str>, Unjudgeable> {
        let open = self.open.as_ref().map_err(|&why| why)?;
        let typed = match &self.action.parameters {
            Parameters::System(system) => attempt_of(system.change) == attempt,
            _ => false,
        };
        if typed {
            return Ok(Some(&self.action.action_type));
        }
        open.attempt(attempt)
    }

    /// What the proposer should know beside the answers: its claims were no evidence.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Ok(open) = &self.open {
            warnings.extend(open.claims().map(|claim| {
                format!("`{claim}` in the parameters is no evidence and was ignored: only what the host attests counts")
            }));
        }
        if self
            .data()
            .is_some_and(|data| data.user_consent == Some(true))
        {
            warnings.push(
                "`user_consent: true` is no evidence and was ignored: a consent is granted by its subject, through the host"
                    .to_owned(),
            );
        }
        warnings
    }
}

const fn attempt_of(change: Change) -> Attempt {
    match change {
        Change::ModifyGraveyard | Change::UpdateEthics | Change::ChangeRules => Attempt::Graveyard,
        Change::DisableWatchdog => Attempt::Watchdog,
        Change::DisableAudit => Attempt::Audit,
        Change::ClearHalt => Attempt::Halt,
        Change::OverrideUser => Attempt::UserOverride,
    }
}

/// Whether the action is what its type says. A type that is not built in may carry the parameters of any family but `system`: operators
/// declare such types, and the rules read the parameters. The host refuses an action that does not fit; the rules do not rely on that.
fn fits(action: &Action) -> bool {
    let name = action.action_type.as_str();
    match &action.parameters {
        Parameters::Trade(trade) => match name {
            "trade" | "order" | "open_position" => true,
            "buy" => trade.side == Side::Buy,
            "sell" => trade.side == Side::Sell,
            _ => naming::can_be_declared(name),
        },
        Parameters::ClosePosition(_) => name == "close_position" || naming::can_be_declared(name),
        Parameters::Data(data) => match name {
            "data_handling" => data.operation == DataOperation::Handle,
            "collect_data" => data.operation == DataOperation::Collect,
            "store_data" => data.operation == DataOperation::Store,
            "share_data" => data.operation == DataOperation::Share,
            _ => naming::can_be_declared(name),
        },
        Parameters::File(file) => match name {
            "file_operation" => true,
            "delete" | "remove" => matches!(
                file.operation,
                FileVerb::Delete | FileVerb::Remove | FileVerb::Destroy
            ),
            _ => naming::can_be_declared(name),
        },
        Parameters::Code(_) => name == "execute_code" || naming::can_be_declared(name),
        Parameters::Message(_) => {
            matches!(name, "message" | "publish" | "report" | "log")
                || naming::can_be_declared(name)
        }
        Parameters::System(system) => {
            name == match system.change {
                Change::ModifyGraveyard => "modify_graveyard",
                Change::UpdateEthics => "update_ethics",
                Change::ChangeRules => "change_rules",
                Change::DisableWatchdog => "disable_watchdog",
                Change::DisableAudit => "disable_audit",
                Change::ClearHalt => "clear_halt",
                Change::OverrideUser => "override_user",
            }
        }
        Parameters::Custom(Custom { kind, .. }) => {
            name == kind && !naming::imitates_a_known_type(kind)
        }
    }
}

impl Unjudgeable {
    /// The value if it is finite and in its range, else this reason.
    pub fn unless(self, value: f64, in_range: bool) -> Result<f64, Self> {
        if value.is_finite() && in_range {
            Ok(value)
        } else {
            Err(self)
        }
    }
}
