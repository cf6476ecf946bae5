//! The action types that the operator declares, and what follows for an action.
//!
//! Invariants:
//!
//! * An action type that is neither built in nor declared is refused: [`ActionTypes::find_refusal`].
//! * An action of a declared type has the parameters of the type's family, whether it came with those or as JSON in the fields of the
//!   declaration: [`ActionTypes::resolve`].
//! * A declaration can only tighten what a proposer states about an action.
//!
//! Recorded actions say their family themselves, so anyone who reads them needs no declarations.
//!
//! Must not know: where the declarations come from, who proposes, what the policies say.

mod declared;
mod mapping;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::{Action, BUILT_IN_TYPES, Family};
use crate::check::{FieldError, check_action_type, clip_for_error, fold_name};

pub use declared::{DeclaredType, EXTRA, table_of};
use mapping::resolve_action;

/// The most action types that can be declared.
pub const MAX_DECLARED: usize = 1_000;

/// The declared action types. A clone shares them.
#[derive(Debug, Clone, Default)]
pub struct ActionTypes {
    declared: Arc<BTreeMap<String, DeclaredType>>,
}

impl ActionTypes {
    /// Checks the declarations.
    ///
    /// # Errors
    /// The first one that is wrong. The field of the error begins with the name of the action type.
    pub fn new(declared: BTreeMap<String, DeclaredType>) -> Result<Self, FieldError> {
        if declared.len() > MAX_DECLARED {
            return Err(FieldError::new(
                "",
                format!("declares {} action types", declared.len()),
                format!("declare {MAX_DECLARED} at most"),
            ));
        }
        for (name, declaration) in &declared {
            check_name(name)
                .and_then(|()| declaration.check())
                .map_err(|error| within_type(name, error))?;
        }
        Ok(Self {
            declared: Arc::new(declared),
        })
    }

    /// Returns the family of an action type that is built in or declared; `None`: it is neither.
    #[must_use]
    pub fn find_family(&self, action_type: &str) -> Option<Family> {
        let declared = || Some(self.declared.get(action_type)?.family);
        Family::of_built_in(action_type).or_else(declared)
    }

    /// Checks that a name is that of a built-in or declared action type.
    ///
    /// # Errors
    /// It is neither; the error names `field` and the remedy.
    pub fn check_known(&self, field: &str, action_type: &str) -> Result<(), FieldError> {
        if self.find_family(action_type).is_some() {
            return Ok(());
        }
        let declare = match check_action_type(action_type) {
            Ok(()) => format!(", or declare it under {}", table_of(action_type)),
            Err(_) => String::new(),
        };
        Err(FieldError::new(
            field,
            format!(
                "is {:?}, which is neither built in nor declared",
                clip_for_error(action_type)
            ),
            format!("give a built-in action type{declare}"),
        ))
    }

    /// Gives an action of a declared type the parameters of the type's family and what the declaration states about it. Any other action stays
    /// as it is. Doing it again changes nothing.
    ///
    /// # Errors
    /// The first field that the declaration does not allow, that is missing or that is out of its range, under the name that the proposal gave
    /// it. The action is unchanged then.
    pub fn resolve(&self, action: &mut Action) -> Result<(), FieldError> {
        if let Some(declaration) = self.declared.get(&action.action_type) {
            *action = resolve_action(declaration, action)?;
        }
        Ok(())
    }

    /// Returns why the host itself denies an action of this type; `None`: the type is built in, or declared for the family of the parameters.
    #[must_use]
    pub fn find_refusal(&self, action: &Action) -> Option<String> {
        let name = &action.action_type;
        let found = action.parameters.family();
        match self.find_family(name) {
            None => Some(format!(
                "action type `{name}` is not declared: use a built-in type or declare it under {}",
                table_of(name)
            )),
            Some(family) if family != found => Some(format!(
                "action type `{name}` is declared for the {family} family, and the action has parameters of the {found} family: propose it again"
            )),
            Some(_) => None,
        }
    }
}

/// Checks the name of a declared action type: it has the form of one, is not built in and is not a built-in one in another spelling.
fn check_name(name: &str) -> Result<(), FieldError> {
    check_action_type(name)
        .map_err(|error| FieldError::new("", "is not the name of an action type", error.remedy))?;
    let folded = fold_name(name);
    let built_in = BUILT_IN_TYPES
        .iter()
        .map(|(built_in, _)| *built_in)
        .find(|built_in| fold_name(built_in) == folded);
    match built_in {
        Some(built_in) if built_in == name => Err(FieldError::new(
            "",
            "is a built-in action type",
            "declare another name; a built-in type needs no declaration",
        )),
        Some(built_in) => Err(FieldError::new(
            "",
            format!("is another spelling of the built-in action type `{built_in}`"),
            "declare another name, so that nobody takes one for the other",
        )),
        // A message without a topic of its own is published under its action type.
        None if name.starts_with("ark.") => Err(FieldError::new(
            "",
            "starts with `ark.`, which is reserved for the host",
            "declare another name",
        )),
        None => Ok(()),
    }
}

/// Puts the name of an action type before the field of an error.
fn within_type(name: &str, error: FieldError) -> FieldError {
    let name = clip_for_error(name);
    FieldError {
        field: if error.field.is_empty() {
            name
        } else {
            format!("{name}.{}", error.field)
        },
        ..error
    }
}

#[cfg(test)]
mod tests;
