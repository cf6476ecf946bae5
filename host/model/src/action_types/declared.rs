//! One declaration: its parts, their check, and what it states about an action.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::action::{Action, Criticality, Family, FieldForm};
use crate::check::{FieldError, find_resembling_field};

/// What a field of a request is mapped to when it is kept for operator policies and has no typed field.
pub const EXTRA: &str = "extra";
/// The longest name of a field of a request, in bytes.
const MAX_FIELD_NAME: usize = 64;
/// The most fields that a declaration maps.
const MAX_FIELDS: usize = 64;

/// The declaration of an action type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredType {
    /// The family whose rules judge it.
    pub family: Family,
    /// The fields of a request that have other names than the family's: the name in the request, and the typed field or [`EXTRA`].
    pub fields: BTreeMap<String, String>,
    /// Typed fields that have one value in every action of this type.
    pub fixed: BTreeMap<String, Value>,
    /// Whether such actions can be undone: `false` holds whatever the proposal says.
    pub reversible: Option<bool>,
    /// Whether they have an effect outside the host: `true` holds whatever the proposal says, `false` unless it says otherwise.
    pub external: Option<bool>,
    /// How much damage a mistake would do, at least.
    pub criticality: Option<Criticality>,
}

impl DeclaredType {
    /// Checks the declaration.
    ///
    /// # Errors
    /// The first part that is wrong.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        if self.family == Family::System {
            return Err(FieldError::new(
                "family",
                "is system, which is the host's own",
                "give trade, close_position, data, file, code, message or custom",
            ));
        }
        if self.fields.len() > MAX_FIELDS {
            return Err(FieldError::new(
                "fields",
                format!("maps {} fields", self.fields.len()),
                format!("map {MAX_FIELDS} at most"),
            ));
        }
        let mut targets = BTreeMap::new();
        for (given, target) in &self.fields {
            self.check_mapped_field(given, target)
                .and_then(|()| match targets.insert(target, given) {
                    Some(other) if target != EXTRA => Err((
                        format!("is mapped to `{target}`, and so is `{other}`"),
                        "map one field of the request to each typed field".to_owned(),
                    )),
                    _ => Ok(()),
                })
                .map_err(|(problem, remedy)| {
                    FieldError::new(format!("fields.{given}"), problem, remedy)
                })?;
        }
        for (field, value) in &self.fixed {
            self.check_fixed_field(field, value)
                .map_err(|(problem, remedy)| {
                    FieldError::new(format!("fixed.{field}"), problem, remedy)
                })?;
        }
        Ok(())
    }

    fn check_mapped_field(&self, given: &str, target: &str) -> Result<(), (String, String)> {
        if self.family == Family::Custom {
            let problem = "is mapped, and the custom family has no typed fields";
            return Err((problem.to_owned(), "leave `fields` out".to_owned()));
        }
        let is_name = (1..=MAX_FIELD_NAME).contains(&given.len())
            && given.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name {
            return Err((
                "is not the name of a field".to_owned(),
                format!("give 1 to {MAX_FIELD_NAME} visible ASCII characters"),
            ));
        }
        if self.family.find_typed_field(given).is_some() {
            return Err((
                format!("is a typed field of the {} family itself", self.family),
                "map fields of other names".to_owned(),
            ));
        }
        if target == EXTRA {
            return match find_resembling_field(self.family, given) {
                Some(typed) => Err((
                    format!("is another spelling of the typed field `{typed}`"),
                    format!("map it to `{typed}`"),
                )),
                None => Ok(()),
            };
        }
        if self.family.find_typed_field(target).is_none() {
            return Err((
                format!(
                    "is mapped to {target:?}, no typed field of the {} family",
                    self.family
                ),
                format!("give {}, or {EXTRA}", self.list_typed_fields()),
            ));
        }
        if self.fixed.contains_key(target) {
            return Err((
                format!("is mapped to `{target}`, which is fixed"),
                "map it or fix it".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_fixed_field(&self, field: &str, value: &Value) -> Result<(), (String, String)> {
        let form = self.family.find_typed_field(field).map(|field| field.form);
        match form {
            None => {
                let remedy = match self.family {
                    Family::Custom => "leave `fixed` out".to_owned(),
                    _ => format!("give {}", self.list_typed_fields()),
                };
                let problem = format!("is no typed field of the {} family", self.family);
                Err((problem, remedy))
            }
            Some(FieldForm::Choice(choices))
                if !value.as_str().is_some_and(|text| choices.contains(&text)) =>
            {
                Err((
                    format!("is {value}"),
                    format!("give {}", choices.join(", ")),
                ))
            }
            Some(FieldForm::Flag) if !value.is_boolean() => {
                Err((format!("is {value}"), "give true or false".to_owned()))
            }
            Some(FieldForm::Choice(_) | FieldForm::Flag) => Ok(()),
            Some(_) => Err((
                "cannot be fixed".to_owned(),
                "fix fields that take one of some texts, or true or false".to_owned(),
            )),
        }
    }

    /// Returns the names of the family's typed fields, for an error.
    pub(super) fn list_typed_fields(&self) -> String {
        let names: Vec<&str> = self
            .family
            .typed_fields()
            .iter()
            .map(|field| field.name)
            .collect();
        names.join(", ")
    }

    /// Applies what the declaration states. A proposal can only be stricter.
    pub(super) fn tighten_action(&self, action: &mut Action) {
        action.reversible &= self.reversible.unwrap_or(true);
        action.external = match self.external {
            Some(true) => Some(true),
            Some(false) => action.external.or(Some(false)),
            None => action.external,
        };
        if let Some(criticality) = self.criticality {
            action.criticality = action.criticality.max(criticality);
        }
    }
}

/// Returns the table of `ark.toml` in which an action type is declared.
#[must_use]
pub fn table_of(action_type: &str) -> String {
    if action_type.contains('.') {
        format!("[action_types.\"{action_type}\"]")
    } else {
        format!("[action_types.{action_type}]")
    }
}
