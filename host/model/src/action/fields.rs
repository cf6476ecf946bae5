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

const fn required(name: &'static str, form: FieldForm, description: &'static str) -> TypedField {
    TypedField {
        name,
        form,
        required: true,
        description,
    }
}

const fn optional(name: &'static str, form: FieldForm, description: &'static str) -> TypedField {
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
    required("symbol", FieldForm::Symbol, SYMBOL),
    required("position_size_pct", FieldForm::Fraction, SIZE),
    optional(
        "side",
        FieldForm::Choice(&["buy", "sell"]),
        "The side; buy if neither this nor the action type says.",
    ),
    optional("leverage", FieldForm::Positive, "1 if left out."),
    optional("entry_price", FieldForm::Positive, "The expected price."),
    optional(
        "stop_loss",
        FieldForm::Number,
        "The price at which the position is given up.",
    ),
    optional(
        "take_profit",
        FieldForm::Positive,
        "The price at which the profit is taken.",
    ),
    optional(
        "risk_reward_ratio",
        FieldForm::NotNegative,
        "Expected gain over risked loss.",
    ),
    optional(
        "material_nonpublic",
        FieldForm::Flag,
        "It rests on material non-public information.",
    ),
    optional(
        "manipulative_intent",
        FieldForm::Flag,
        "It is meant to move the market.",
    ),
    optional(
        "ahead_of_client_order",
        FieldForm::Flag,
        "It runs ahead of a client's order.",
    ),
];

const CLOSE_POSITION: &[TypedField] = &[
    required("symbol", FieldForm::Symbol, SYMBOL),
    optional("position_size_pct", FieldForm::Fraction, SIZE),
];

const DATA: &[TypedField] = &[
    // The built-in action types imply it; only a declared one may state it.
    optional(
        "operation",
        FieldForm::Choice(&["handle", "collect", "store", "share"]),
        "What is done.",
    ),
    optional(
        "subject",
        FieldForm::Label,
        "The person or thing the data is about.",
    ),
    optional(
        "contains_personal_data",
        FieldForm::Flag,
        "Personal data is in it.",
    ),
    optional(
        "data_sensitivity",
        FieldForm::Choice(&["low", "medium", "high"]),
        "How sensitive it is.",
    ),
    optional("encryption", FieldForm::Flag, "It is encrypted."),
    optional("anonymized", FieldForm::Flag, "It is anonymised."),
    optional(
        "destination",
        FieldForm::Label,
        "Where it goes: `internal`, also if left out, or the receiver.",
    ),
    optional("purpose", FieldForm::Label, "The purpose."),
    optional("user_consent", FieldForm::Flag, "Only `false` counts."),
];

const FILE: &[TypedField] = &[
    required(
        "operation",
        FieldForm::Choice(&["read", "write", "delete", "remove", "destroy"]),
        "What is done.",
    ),
    required("path", FieldForm::Path, "The file."),
];

const CODE: &[TypedField] = &[
    required("code", FieldForm::Code, "The source text."),
    optional("language", FieldForm::Label, "The language."),
];

const MESSAGE: &[TypedField] = &[
    optional("topic", FieldForm::Topic, "The topic it is published on."),
    optional("to", FieldForm::AgentName, "The one agent it is for."),
    optional("symbol", FieldForm::Symbol, SYMBOL),
    optional("text", FieldForm::Text, "The text."),
    optional("payload", FieldForm::Json, "One JSON value for machines."),
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
