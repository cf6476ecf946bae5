//! The typed fields of each family in the request form, stated once: names, forms and what they mean.
//!
//! From this table come the names that the extra JSON of an action must not hold, what the fields of a declared action type can be mapped to,
//! and the forms of actions in the document of the API. That the reader of requests takes the same fields is tested beside it.

use super::family::Family;

/// What a typed field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldForm {
    /// The symbol of an instrument.
    Symbol,
    /// A number from 0 to 1.
    Fraction,
    /// A finite number greater than 0.
    Positive,
    /// A finite number, 0 or greater.
    NotNegative,
    /// A finite number.
    Number,
    /// True or false.
    Flag,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A short text without control characters.
    Label,
    /// A text.
    Text,
    /// A text that is not empty.
    Code,
    /// The path of a file.
    Path,
    /// A topic that is not reserved for the host.
    Topic,
    /// The name of an agent.
    AgentName,
    /// One JSON value.
    Json,
}

/// A typed field of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedField {
    /// Its name in the request form.
    pub name: &'static str,
    /// What it holds.
    pub form: FieldForm,
    /// Whether every action type of the family needs it.
    pub required: bool,
    /// What it means, for the document of the API.
    pub description: &'static str,
}

const fn required_field(
    name: &'static str,
    form: FieldForm,
    description: &'static str,
) -> TypedField {
    TypedField {
        name,
        form,
        required: true,
        description,
    }
}

const fn optional_field(
    name: &'static str,
    form: FieldForm,
    description: &'static str,
) -> TypedField {
    TypedField {
        name,
        form,
        required: false,
        description,
    }
}

const SYMBOL: &str = "The instrument, e.g. BTC-USD. Every spelling of it counts as the same one.";
const SIZE: &str = "A fraction of capital: 0.05 is 5 %.";

const TRADE: &[TypedField] = &[
    required_field("symbol", FieldForm::Symbol, SYMBOL),
    required_field("position_size_pct", FieldForm::Fraction, SIZE),
    optional_field(
        "side",
        FieldForm::Choice(&["buy", "sell"]),
        "The side; buy if neither this nor the action type says.",
    ),
    optional_field("leverage", FieldForm::Positive, "1 if left out."),
    optional_field("entry_price", FieldForm::Positive, "The expected price."),
    optional_field(
        "stop_loss",
        FieldForm::Number,
        "The price at which the position is given up.",
    ),
    optional_field(
        "take_profit",
        FieldForm::Positive,
        "The price at which the profit is taken.",
    ),
    optional_field(
        "risk_reward_ratio",
        FieldForm::NotNegative,
        "Expected gain over risked loss.",
    ),
    optional_field(
        "material_nonpublic",
        FieldForm::Flag,
        "It rests on material non-public information.",
    ),
    optional_field(
        "manipulative_intent",
        FieldForm::Flag,
        "It is meant to move the market.",
    ),
    optional_field(
        "ahead_of_client_order",
        FieldForm::Flag,
        "It runs ahead of a client's order.",
    ),
];

const CLOSE_POSITION: &[TypedField] = &[
    required_field("symbol", FieldForm::Symbol, SYMBOL),
    optional_field("position_size_pct", FieldForm::Fraction, SIZE),
];

const DATA: &[TypedField] = &[
    // The built-in action types imply it; only a declared one may state it.
    optional_field(
        "operation",
        FieldForm::Choice(&["handle", "collect", "store", "share"]),
        "What is done.",
    ),
    optional_field(
        "subject",
        FieldForm::Label,
        "The person or thing the data is about.",
    ),
    optional_field(
        "contains_personal_data",
        FieldForm::Flag,
        "Personal data is in it.",
    ),
    optional_field(
        "data_sensitivity",
        FieldForm::Choice(&["low", "medium", "high"]),
        "How sensitive it is.",
    ),
    optional_field("encryption", FieldForm::Flag, "It is encrypted."),
    optional_field("anonymized", FieldForm::Flag, "It is anonymised."),
    optional_field(
        "destination",
        FieldForm::Label,
        "Where it goes: `internal`, also if left out, or the receiver.",
    ),
    optional_field("purpose", FieldForm::Label, "The purpose."),
    optional_field("user_consent", FieldForm::Flag, "Only `false` counts."),
];

const FILE: &[TypedField] = &[
    required_field(
        "operation",
        FieldForm::Choice(&["read", "write", "delete", "remove", "destroy"]),
        "What is done.",
    ),
    required_field("path", FieldForm::Path, "The file."),
];

const CODE: &[TypedField] = &[
    required_field("code", FieldForm::Code, "The source text."),
    optional_field("language", FieldForm::Label, "The language."),
];

const MESSAGE: &[TypedField] = &[
    optional_field("topic", FieldForm::Topic, "The topic it is published on."),
    optional_field("to", FieldForm::AgentName, "The one agent it is for."),
    optional_field("symbol", FieldForm::Symbol, SYMBOL),
    optional_field("text", FieldForm::Text, "The text."),
    optional_field("payload", FieldForm::Json, "One JSON value for machines."),
];

impl Family {
    /// Returns the typed fields of the family's parameters. The system and custom families have none.
    #[must_use]
    pub const fn typed_fields(self) -> &'static [TypedField] {
        match self {
            Self::Trade => TRADE,
            Self::ClosePosition => CLOSE_POSITION,
            Self::Data => DATA,
            Self::File => FILE,
            Self::Code => CODE,
            Self::Message => MESSAGE,
            Self::System | Self::Custom => &[],
        }
    }

    /// Returns a typed field of the family by its name.
    #[must_use]
    pub fn find_typed_field(self, name: &str) -> Option<&'static TypedField> {
        self.typed_fields().iter().find(|field| field.name == name)
    }
}
