//! Builders: one function for each kind of action, then what is particular to the kind, then [`ActionBuilder::build`].
//!
//! [`ActionBuilder::build`] refuses what the host would refuse ([`check_action`](super::check_action)). It cannot know what the
//! policies say.

use serde::Serialize;

use super::check::{change_name, check_action};
use super::{
    Action, Change, ClosePosition, Criticality, Custom, DataHandling, DataOperation, Error,
    ExecuteCode, FileOperation, FileVerb, Message, Parameters, Sensitivity, Side, SystemChange,
    Trade,
};

/// An action in the making, with parameters of the kind `P`. Made by [`buy`], [`message`] and the other functions beside it.
///
/// ```
/// use ark_guest::agent::{buy, message};
///
/// let order = buy("BTC-USD", 0.05)
///     .entry(64_000.0)
///     .stop_loss(62_000.0)
///     .take_profit(68_000.0)
///     .reasoning("breakout on twice the usual volume")
///     .source("market.tick")
///     .build()?;
/// assert_eq!(order.action_type, "buy");
///
/// let too_much = buy("BTC-USD", 1.5).build();
/// assert!(format!("{too_much:?}").contains("position_size_pct"));
///
/// let note = message("desk.note").payload(&("BTC-USD", 0.05)).text("bought").build()?;
/// # assert_eq!(note.action_type, "message");
/// # Ok::<(), ark_guest::agent::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "call build()"]
pub struct ActionBuilder<P> {
    action_type: String,
    parameters: P,
    reasoning: Option<String>,
    sources: Vec<String>,
    reversible: bool,
    rollback_plan: Option<String>,
    external: Option<bool>,
    criticality: Criticality,
    /// What could not be written as JSON; told by `build`.
    unwritable: Option<String>,
}

impl<P> ActionBuilder<P> {
    fn new(action_type: &str, parameters: P) -> Self {
        Self {
            action_type: action_type.to_owned(),
            parameters,
            reasoning: None,
            sources: Vec::new(),
            reversible: true,
            rollback_plan: None,
            external: None,
            criticality: Criticality::Normal,
            unwritable: None,
        }
    }

    /// Names an action type that the operator declares for the family of these parameters (`[action_types]` in `ark.toml`), in place of the
    /// built-in one. The manifest must grant it.
    ///
    /// ```
    /// use ark_guest::agent::buy;
    ///
    /// let order = buy("BTC-USD", 0.05).declared_as("place_order").build()?;
    /// assert_eq!(order.action_type, "place_order");
    /// # Ok::<(), ark_guest::agent::Error>(())
    /// ```
    pub fn declared_as(mut self, action_type: &str) -> Self {
        action_type.clone_into(&mut self.action_type);
        self
    }

    /// Why (rule 24).
    pub fn reasoning(mut self, reasoning: impl Into<String>) -> Self {
        self.reasoning = Some(reasoning.into());
        self
    }

    /// Names a data source it rests on (rule 21). May be called several times.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.sources.push(source.into());
        self
    }

    /// It cannot be undone; `plan` says what would be done instead (rule 25).
    pub fn irreversible(mut self, plan: Option<&str>) -> Self {
        self.reversible = false;
        self.rollback_plan = plan.map(str::to_owned);
        self
    }

    /// Says whether it acts outside the host, where its kind does not say it right.
    pub fn external(mut self, external: bool) -> Self {
        self.external = Some(external);
        self
    }

    /// How much depends on it (rule 26).
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    fn serialize_or_note<T: Serialize + ?Sized>(&mut self, what: &str, value: &T) -> String {
        serde_json::to_string(value).unwrap_or_else(|error| {
            self.unwritable = Some(format!("{what}: {error}"));
            "null".to_owned()
        })
    }
}

impl<P: Into<Parameters>> ActionBuilder<P> {
    /// The action.
    ///
    /// # Errors
    /// [`Error::Failed`], naming the first field that is out of its range or form, and what would be right.
    pub fn build(self) -> Result<Action, Error> {
        if let Some(problem) = self.unwritable {
            return Err(Error::Failed(format!(
                "action {:?}: {problem}",
                self.action_type
            )));
        }
        let action = Action {
            action_type: self.action_type,
            parameters: self.parameters.into(),
            reasoning: self.reasoning,
            sources: self.sources,
            reversible: self.reversible,
            rollback_plan: self.rollback_plan,
            external: self.external,
            criticality: self.criticality,
        };
        check_action(&action)?;
        Ok(action)
    }
}

/// Kinds of parameters that carry further ones, for operator policies.
#[doc(hidden)]
pub trait Extensible {
    /// Where they stand.
    fn extra_json(&mut self) -> &mut String;
}

macro_rules! kinds {
    ($($case:ident($kind:ident)),* $(,)?) => {$(
        impl From<$kind> for Parameters {
            fn from(parameters: $kind) -> Self {
                Self::$case(parameters)
            }
        }
    )*};
}

macro_rules! extensible {
    ($($kind:ident),*) => {$(
        impl Extensible for $kind {
            fn extra_json(&mut self) -> &mut String {
                &mut self.extra_json
            }
        }
    )*};
}

kinds!(
    Trade(Trade),
    ClosePosition(ClosePosition),
    Data(DataHandling),
    File(FileOperation),
    Code(ExecuteCode),
    Message(Message),
    System(SystemChange),
    Custom(Custom),
);
extensible!(
    Trade,
    ClosePosition,
    DataHandling,
    FileOperation,
    ExecuteCode,
    Message
);

impl<P: Extensible> ActionBuilder<P> {
    /// Further parameters, which only operator policies read: something whose JSON form is an object, none of whose keys is that of a
    /// typed parameter.
    pub fn extra<T: Serialize + ?Sized>(mut self, parameters: &T) -> Self {
        *self.parameters.extra_json() = self.serialize_or_note("extra", parameters);
        self
    }
}

/// A trade of `size` (a fraction of capital, 0.05 is 5 %) in `symbol`; the action type is `buy` or `sell`. It opens risk: give it a stop
/// (rule 8) and a target (rule 9).
pub fn trade(side: Side, symbol: &str, size: f64) -> ActionBuilder<Trade> {
    let action_type = match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    };
    let trade = Trade {
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
    };
    ActionBuilder::new(action_type, trade)
}

/// [`trade`] on the buying side.
pub fn buy(symbol: &str, size: f64) -> ActionBuilder<Trade> {
    trade(Side::Buy, symbol, size)
}

/// [`trade`] on the selling side.
pub fn sell(symbol: &str, size: f64) -> ActionBuilder<Trade> {
    trade(Side::Sell, symbol, size)
}

impl ActionBuilder<Trade> {
    /// The price it expects to enter at.
    pub fn entry(mut self, price: f64) -> Self {
        self.parameters.entry_price = Some(price);
        self
    }

    /// The price at which it gives up (rule 8).
    pub fn stop_loss(mut self, price: f64) -> Self {
        self.parameters.stop_loss = Some(price);
        self
    }

    /// The price at which it takes its profit (rule 9).
    pub fn take_profit(mut self, price: f64) -> Self {
        self.parameters.take_profit = Some(price);
        self
    }

    /// The leverage; 1 unless given (rule 7).
    pub fn leverage(mut self, leverage: f64) -> Self {
        self.parameters.leverage = leverage;
        self
    }

    /// Expected gain over risked loss, where entry, stop and target do not say it (rule 9).
    pub fn risk_reward(mut self, ratio: f64) -> Self {
        self.parameters.risk_reward_ratio = Some(ratio);
        self
    }
}

/// Closes the position in a symbol: `size` of it, a fraction of capital, or all.
pub fn close_position(symbol: &str, size: Option<f64>) -> ActionBuilder<ClosePosition> {
    let close = ClosePosition {
        symbol: symbol.to_owned(),
        position_size_pct: size,
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new("close_position", close)
}

/// Handling data in the way `operation` says: `data_handling`, `collect_data`, `store_data` or `share_data`.
pub fn data(operation: DataOperation) -> ActionBuilder<DataHandling> {
    let action_type = match operation {
        DataOperation::Handle => "data_handling",
        DataOperation::Collect => "collect_data",
        DataOperation::Store => "store_data",
        DataOperation::Share => "share_data",
    };
    let data = DataHandling {
        operation,
        subject: None,
        contains_personal_data: false,
        data_sensitivity: None,
        encryption: false,
        anonymized: false,
        destination: None,
        purpose: None,
        user_consent: None,
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new(action_type, data)
}

impl ActionBuilder<DataHandling> {
    /// It is personal data, of this person; the host looks the consent up by this name (rule 16).
    pub fn personal(mut self, subject: &str) -> Self {
        self.parameters.contains_personal_data = true;
        self.parameters.subject = Some(subject.to_owned());
        self
    }

    /// How delicate it is (rule 18).
    pub fn sensitivity(mut self, sensitivity: Sensitivity) -> Self {
        self.parameters.data_sensitivity = Some(sensitivity);
        self
    }

    /// It is encrypted.
    pub fn encrypted(mut self) -> Self {
        self.parameters.encryption = true;
        self
    }

    /// It is anonymised.
    pub fn anonymized(mut self) -> Self {
        self.parameters.anonymized = true;
        self
    }

    /// Who receives it; `internal` unless given (rule 15).
    pub fn destination(mut self, destination: &str) -> Self {
        self.parameters.destination = Some(destination.to_owned());
        self
    }

    /// What for.
    pub fn purpose(mut self, purpose: &str) -> Self {
        self.parameters.purpose = Some(purpose.to_owned());
        self
    }

    /// The person refused. (That somebody agreed is nothing a proposer can attest.)
    pub fn consent_refused(mut self) -> Self {
        self.parameters.user_consent = Some(false);
        self
    }
}

/// An operation on a file. Deleting and destroying ask for an approval first (rule 11).
pub fn file_operation(operation: FileVerb, path: &str) -> ActionBuilder<FileOperation> {
    let file = FileOperation {
        operation,
        path: path.to_owned(),
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new("file_operation", file)
}

/// Running code. It asks for an approval first (rule 11).
pub fn execute_code(language: &str, code: &str) -> ActionBuilder<ExecuteCode> {
    let code = ExecuteCode {
        language: Some(language.to_owned()),
        code: code.to_owned(),
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new("execute_code", code)
}

/// A message to the agents subscribed to `topic`. Once approved it becomes a signal with the same trace.
pub fn message(topic: &str) -> ActionBuilder<Message> {
    message_of_type("message", topic)
}

/// A publication on `topic`, for people outside too.
pub fn publish(topic: &str) -> ActionBuilder<Message> {
    message_of_type("publish", topic)
}

/// A report on `topic`.
pub fn report(topic: &str) -> ActionBuilder<Message> {
    message_of_type("report", topic)
}

fn message_of_type(action_type: &str, topic: &str) -> ActionBuilder<Message> {
    let message = Message {
        topic: Some(topic.to_owned()),
        to: None,
        symbol: None,
        text: None,
        payload_json: None,
        extra_json: "{}".to_owned(),
    };
    ActionBuilder::new(action_type, message)
}

impl ActionBuilder<Message> {
    /// What it says, for machines. It is the payload of the signal that the message becomes.
    pub fn payload<T: Serialize + ?Sized>(mut self, payload: &T) -> Self {
        self.parameters.payload_json = Some(self.serialize_or_note("payload", payload));
        self
    }

    /// What it says, for people.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.parameters.text = Some(text.into());
        self
    }

    /// Names the one agent that receives it.
    pub fn to(mut self, agent: &str) -> Self {
        self.parameters.to = Some(agent.to_owned());
        self
    }

    /// Names the instrument it speaks of. Selling within 24 h after a message on a symbol is denied (rule 3).
    pub fn about(mut self, symbol: &str) -> Self {
        self.parameters.symbol = Some(symbol.to_owned());
        self
    }
}

/// A change of the system. The host carries none out; proposing one is on record.
pub fn system_change<T: Serialize + ?Sized>(
    change: Change,
    parameters: &T,
) -> ActionBuilder<SystemChange> {
    let mut builder = ActionBuilder::new(
        change_name(change),
        SystemChange {
            change,
            parameters_json: String::new(),
        },
    );
    builder.parameters.parameters_json = builder.serialize_or_note("parameters", parameters);
    builder
}

/// An action of a type that the operator declares, with parameters whose JSON form is an object. The operator declares it under
/// `[action_types]` in `ark.toml`, and the manifest must grant it: otherwise the action is denied. A type that is declared for a family with
/// typed fields takes the fields of its declaration; those families can be proposed typed, too, by [`ActionBuilder::declared_as`].
pub fn custom<T: Serialize + ?Sized>(kind: &str, parameters: &T) -> ActionBuilder<Custom> {
    let mut builder = ActionBuilder::new(
        kind,
        Custom {
            kind: kind.to_owned(),
            parameters_json: String::new(),
        },
    );
    builder.parameters.parameters_json = builder.serialize_or_note("parameters", parameters);
    builder
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_family_can_be_built_and_passes_the_hosts_check() {
        let built = [
            trade(Side::Sell, "btc-usd", 0.1)
                .leverage(2.0)
                .risk_reward(2.0)
                .extra(&json!({"venue": "x"}))
                .build(),
            close_position("BTC-USD", Some(0.01)).build(),
            data(DataOperation::Share)
                .personal("alice")
                .anonymized()
                .destination("lab")
                .purpose("study")
                .build(),
            file_operation(FileVerb::Delete, "/srv/old.csv")
                .irreversible(Some("restore the backup"))
                .build(),
            execute_code("python", "print(1)")
                .criticality(Criticality::Critical)
                .build(),
            report("desk.day")
                .text("quiet")
                .about("btc-usd")
                .to("kyle")
                .build(),
            system_change(Change::ClearHalt, &json!({})).build(),
            custom("water_plants", &json!({"litres": 2}))
                .external(true)
                .build(),
            sell("BTC-USD", 0.01).declared_as("place_order").build(),
        ];
        let types: Vec<String> = built
            .into_iter()
            .map(|action| action.unwrap().action_type)
            .collect();
        let expected = [
            "sell",
            "close_position",
            "share_data",
            "file_operation",
            "execute_code",
            "report",
            "clear_halt",
            "water_plants",
            "place_order",
        ];
        assert_eq!(types, expected);
    }

    #[test]
    fn symbols_keep_their_spelling() {
        let Parameters::Trade(trade) = buy("kPEPE/usd", 0.01).build().unwrap().parameters else {
            panic!("no trade")
        };
        assert_eq!(trade.symbol, "kPEPE/usd");
    }

    #[test]
    fn what_the_host_would_refuse_is_refused_and_named() {
        let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
        for (built, named) in [
            (buy("", 0.1).build(), "symbol"),
            (buy("BTC\u{200b}USD", 0.1).build(), "symbol"),
            (buy("X", f64::NAN).build(), "position_size_pct"),
            (buy("X", -0.1).build(), "position_size_pct"),
            (buy("X", 1.01).build(), "position_size_pct"),
            (buy("X", 0.1).entry(0.0).build(), "entry_price"),
            (buy("X", 0.1).stop_loss(f64::INFINITY).build(), "stop_loss"),
            (buy("X", 0.1).take_profit(-1.0).build(), "take_profit"),
            (buy("X", 0.1).leverage(0.0).build(), "leverage"),
            (buy("X", 0.1).risk_reward(-1.0).build(), "risk_reward_ratio"),
            (buy("X", 0.1).extra(&[1]).build(), "object"),
            (
                buy("X", 0.1).extra(&json!({"leverage": 9})).build(),
                "leverage",
            ),
            (buy("X", 0.1).source("").build(), "sources"),
            (
                buy("X", 0.1).reasoning("x".repeat(70_000)).build(),
                "reasoning",
            ),
            (close_position("X", Some(2.0)).build(), "position_size_pct"),
            (message("Not A Topic").build(), "topic"),
            (message("ark.decision").build(), "topic"),
            (message("a").to("Not A Name").build(), "to"),
            (message("a").payload(&unwritable).build(), "payload"),
            (message("a").payload(&"x".repeat(70_000)).build(), "payload"),
            (file_operation(FileVerb::Read, "").build(), "path"),
            (execute_code("python", "").build(), "code"),
            (
                data(DataOperation::Store).purpose("a\nb").build(),
                "purpose",
            ),
            (custom("Not A Kind", &json!({})).build(), "action_type"),
            (custom("buy", &json!({})).build(), "family"),
            (custom("x", &json!({})).declared_as("y").build(), "family"),
            (buy("X", 0.1).declared_as("sell").build(), "family"),
            (buy("X", 0.1).declared_as("execute_code").build(), "family"),
            (
                system_change(Change::ClearHalt, &json!({}))
                    .declared_as("x")
                    .build(),
                "family",
            ),
            (custom("x", &json!(1)).build(), "object"),
        ] {
            match built {
                Err(Error::Failed(problem)) if problem.contains(named) => {}
                other => panic!("{named}: {other:?}"),
            }
        }
    }
}
