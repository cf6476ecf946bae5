//! Builders: one function a kind of action, then what is particular, then [`ActionBuilder::build`].
//!
//! A builder sets defaults; ranges are checked by the host, which refuses the invocation and names the field.

use serde::Serialize;

use super::{
    Action, ClosePosition, Criticality, Custom, Error, ExecuteCode, FileOperation, FileVerb,
    Message, Parameters, Side, Trade,
};

/// What every action has. Made by the functions of this module.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "call build()"]
pub struct ActionBuilder {
    action: Action,
}

impl ActionBuilder {
    fn new(action_type: &str, parameters: Parameters) -> Self {
        Self {
            action: Action {
                action_type: action_type.to_owned(),
                parameters,
                reasoning: None,
                sources: Vec::new(),
                reversible: true,
                rollback_plan: None,
                external: None,
                criticality: Criticality::Normal,
            },
        }
    }

    /// Why (rule 24).
    pub fn reasoning(mut self, reasoning: impl Into<String>) -> Self {
        self.action.reasoning = Some(reasoning.into());
        self
    }

    /// Names a data source it rests on (rule 21).
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.action.sources.push(source.into());
        self
    }

    /// It cannot be undone; `plan` says what would be done instead (rule 25).
    pub fn irreversible(mut self, plan: Option<&str>) -> Self {
        self.action.reversible = false;
        self.action.rollback_plan = plan.map(str::to_owned);
        self
    }

    /// Says whether it acts outside the host, where its kind does not say it right.
    pub fn external(mut self, external: bool) -> Self {
        self.action.external = Some(external);
        self
    }

    /// How much depends on it.
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.action.criticality = criticality;
        self
    }

    /// Adds a machine-readable payload to a message; without effect on other kinds.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn payload<T: Serialize>(mut self, payload: &T) -> Result<Self, Error> {
        let json = serde_json::to_string(payload)
            .map_err(|error| Error::Failed(format!("payload: {error}")))?;
        if let Parameters::Message(message) = &mut self.action.parameters {
            message.payload_json = Some(json);
        }
        Ok(self)
    }

    /// Adds words to a message; without effect on other kinds.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        if let Parameters::Message(message) = &mut self.action.parameters {
            message.text = Some(text.into());
        }
        self
    }

    /// Names the one receiver of a message; without effect on other kinds.
    pub fn to(mut self, agent: &str) -> Self {
        if let Parameters::Message(message) = &mut self.action.parameters {
            message.to = Some(agent.to_owned());
        }
        self
    }

    /// Names the instrument a message speaks of; without effect on other kinds. Selling within 24 h after publishing on a symbol is
    /// denied (rule 3).
    pub fn about(mut self, symbol: &str) -> Self {
        if let Parameters::Message(message) = &mut self.action.parameters {
            message.symbol = Some(symbol.to_owned());
        }
        self
    }

    /// The action.
    pub fn build(self) -> Action {
        self.action
    }
}

/// A trade in the making. Made by [`trade`].
#[derive(Debug, Clone, PartialEq)]
#[must_use = "call done()"]
pub struct TradeBuilder {
    trade: Trade,
}

/// A trade of `size` (a fraction of capital, 0.05 is 5 %) in `symbol`.
pub fn trade(side: Side, symbol: &str, size: f64) -> TradeBuilder {
    TradeBuilder {
        trade: Trade {
            symbol: symbol.to_owned(),
            side,
            position_size_pct: size,
            leverage: 1.0,
            entry_price: None,
            stop_loss: None,
            take_profit: None,
            risk_reward_ratio: None,
            material_nonpublic: false,
            manipulative_intent: false,
            ahead_of_client_order: false,
            extra_json: "{}".to_owned(),
        },
    }
}

impl TradeBuilder {
    /// The price it expects to enter at.
    pub fn entry(mut self, price: f64) -> Self {
        self.trade.entry_price = Some(price);
        self
    }

    /// The price at which it gives up (rule 8).
    pub fn stop_loss(mut self, price: f64) -> Self {
        self.trade.stop_loss = Some(price);
        self
    }

    /// The price at which it takes its profit (rule 9).
    pub fn take_profit(mut self, price: f64) -> Self {
        self.trade.take_profit = Some(price);
        self
    }

    /// The leverage (rule 7).
    pub fn leverage(mut self, leverage: f64) -> Self {
        self.trade.leverage = leverage;
        self
    }

    /// Further parameters, for operator policies: a JSON object.
    pub fn extra(mut self, json: &serde_json::Value) -> Self {
        self.trade.extra_json = json.to_string();
        self
    }

    /// On to what every action has. The action type is `buy` or `sell`, by the side.
    pub fn done(self) -> ActionBuilder {
        let action_type = match self.trade.side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        };
        ActionBuilder::new(action_type, Parameters::Trade(self.trade))
    }
}

/// Closes the whole position in a symbol, or a part of it.
pub fn close_position(symbol: &str, size: Option<f64>) -> ActionBuilder {
    let close = ClosePosition {
        symbol: symbol.to_owned(),
        position_size_pct: size,
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new("close_position", Parameters::ClosePosition(close))
}

/// A message to the agents subscribed to `topic`.
pub fn message(topic: &str) -> ActionBuilder {
    spoken("message", topic)
}

/// A publication on `topic`, for people outside too.
pub fn publish(topic: &str) -> ActionBuilder {
    spoken("publish", topic)
}

/// A report on `topic`.
pub fn report(topic: &str) -> ActionBuilder {
    spoken("report", topic)
}

fn spoken(action_type: &str, topic: &str) -> ActionBuilder {
    let message = Message {
        topic: Some(topic.to_owned()),
        to: None,
        symbol: None,
        text: None,
        payload_json: None,
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new(action_type, Parameters::Message(message))
}

/// An operation on a file.
pub fn file_operation(operation: FileVerb, path: &str) -> ActionBuilder {
    let file = FileOperation {
        operation,
        path: path.to_owned(),
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new("file_operation", Parameters::File(file))
}

/// Running code.
pub fn execute_code(language: &str, code: &str) -> ActionBuilder {
    let code = ExecuteCode {
        language: Some(language.to_owned()),
        code: code.to_owned(),
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new("execute_code", Parameters::Code(code))
}

/// An action of a kind that ARK does not know; the manifest must grant it.
pub fn custom(kind: &str, parameters: &serde_json::Value) -> ActionBuilder {
    let custom = Custom {
        kind: kind.to_owned(),
        parameters_json: parameters.to_string(),
    };
    ActionBuilder::new(kind, Parameters::Custom(custom))
}
