//! What a declaration makes of an action: the fields of a request, and the typed fields they stand for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::action::{Action, Family, Parameters};
use crate::check::{FieldError, canonical_json, check_action, clip_for_error};
use crate::form::parse_parameters;

use super::declared::{DeclaredType, EXTRA, table_of};

/// Returns the action with the parameters of the family and what the declaration states about it.
///
/// # Errors
/// The first field that the declaration does not allow, that is missing or that is out of its range.
pub(super) fn resolve_action(
    declared: &DeclaredType,
    action: &Action,
) -> Result<Action, FieldError> {
    let mapping = FieldMapping::new(&action.action_type, declared);
    let mut resolved = action.clone();
    let found = action.parameters.family();
    match &action.parameters {
        Parameters::Custom(custom) if declared.family != Family::Custom => {
            let document = canonical_json("parameters", &custom.parameters_json)?;
            let (parameters, names) = mapping.read_request(document)?;
            resolved.parameters = parameters;
            declared.tighten_action(&mut resolved);
            return check_action(resolved).map_err(|error| names.rename_field(error));
        }
        parameters if found == declared.family => mapping.check_typed(parameters)?,
        _ => {
            return Err(FieldError::new(
                "parameters",
                format!(
                    "belong to the {found} family, and the action type `{}` is declared for the {} family",
                    action.action_type, declared.family
                ),
                format!("give the parameters of the {} family", declared.family),
            ));
        }
    }
    declared.tighten_action(&mut resolved);
    check_action(resolved)
}

/// Reads the parameters of one declared type. The parameters are closed: a field that the declaration does not name is refused, since a limit
/// that an executor reads there would be judged by nobody.
struct FieldMapping<'a> {
    action_type: &'a str,
    declared: &'a DeclaredType,
}

/// The names under which a request gave, or would have to give, the typed fields.
struct RequestNames<'a>(BTreeMap<&'a str, &'a str>);

impl RequestNames<'_> {
    /// Returns the error under the name that the request knows the field by.
    fn rename_field(&self, error: FieldError) -> FieldError {
        let named = error
            .field
            .strip_prefix("parameters.")
            .and_then(|field| self.0.get(field));
        match named {
            Some(name) => FieldError {
                field: format!("parameters.{name}"),
                ..error
            },
            None => error,
        }
    }
}

impl<'a> FieldMapping<'a> {
    const fn new(action_type: &'a str, declared: &'a DeclaredType) -> Self {
        Self {
            action_type,
            declared,
        }
    }

    /// Reads the parameters of the family from a request. They are not checked yet.
    ///
    /// # Errors
    /// The first field that is unknown, given twice, missing or of the wrong type.
    fn read_request(&self, document: Value) -> Result<(Parameters, RequestNames<'a>), FieldError> {
        let Value::Object(object) = document else {
            let problem = "is no JSON object";
            return Err(FieldError::new("parameters", problem, "give a JSON object"));
        };
        let family = self.declared.family;
        let mut typed = Map::new();
        let mut given_as: BTreeMap<String, String> = BTreeMap::new();
        for (given, value) in object {
            // As in every request, null counts as left out.
            if value.is_null() {
                continue;
            }
            let target = match self.declared.fields.get(&given) {
                Some(target) if target == EXTRA => given.clone(),
                Some(target) => target.clone(),
                None if family.find_typed_field(&given).is_some() => given.clone(),
                None => return Err(self.unknown_field(&given)),
            };
            if let Some(fixed) = self.declared.fixed.get(&target)
                && *fixed != value
            {
                return Err(self.contradiction(&target, fixed));
            }
            if let Some(first) = given_as.get(&target) {
                let problem = format!("stands for `{target}`, which is given as `{first}` too");
                let field = format!("parameters.{given}");
                return Err(FieldError::new(field, problem, "give it once"));
            }
            given_as.insert(target.clone(), given);
            typed.insert(target, value);
        }
        let names = self.name_fields(&given_as);
        for (field, value) in &self.declared.fixed {
            typed.insert(field.clone(), value.clone());
        }
        if family == Family::Trade && !typed.contains_key("side") {
            let problem = "is missing";
            let remedy = "give buy or sell: a declared action type implies no side";
            return Err(names.rename_field(FieldError::new("parameters.side", problem, remedy)));
        }
        let parameters = parse_parameters(family, self.action_type, typed)
            .map_err(|error| names.rename_field(error))?;
        Ok((parameters, names))
    }

    /// Returns the names under which a request that gave these typed fields knows the family's fields.
    fn name_fields(&self, given_as: &BTreeMap<String, String>) -> RequestNames<'a> {
        let mapped = self.declared.fields.iter();
        RequestNames(
            mapped
                .filter(|(given, target)| {
                    *target != EXTRA && given_as.get(*target).is_none_or(|first| first == *given)
                })
                .map(|(given, target)| (target.as_str(), given.as_str()))
                .collect(),
        )
    }

    /// Checks typed parameters, as a guest gives them: fixed fields have their value, and extra fields are declared.
    ///
    /// # Errors
    /// The first field that the declaration does not allow.
    fn check_typed(&self, parameters: &Parameters) -> Result<(), FieldError> {
        if let Some(extra) = parameters.extra_json()
            && extra != "{}"
            && let Value::Object(object) = canonical_json("parameters", extra)?
        {
            let is_declared =
                |key: &String| self.declared.fields.get(key).is_some_and(|to| to == EXTRA);
            if let Some(unknown) = object.keys().find(|key| !is_declared(key)) {
                return Err(self.unknown_field(unknown));
            }
        }
        if self.declared.fixed.is_empty() {
            return Ok(());
        }
        let given = serde_json::to_value(parameters).map_err(|error| {
            let problem = format!("cannot be written as JSON: {error}");
            FieldError::new("parameters", problem, "give finite numbers")
        })?;
        for (field, fixed) in &self.declared.fixed {
            if given.get(field) != Some(fixed) {
                return Err(self.contradiction(field, fixed));
            }
        }
        Ok(())
    }

    fn unknown_field(&self, given: &str) -> FieldError {
        let mapped: Vec<&str> = self.declared.fields.keys().map(String::as_str).collect();
        let mut known = self.declared.list_typed_fields();
        if !mapped.is_empty() {
            known = format!("{}, {known}", mapped.join(", "));
        }
        FieldError::new(
            format!("parameters.{}", clip_for_error(given)),
            format!("is not a field of the action type `{}`", self.action_type),
            format!(
                "give {known}; or map it in {} fields, to {EXTRA} if no rule reads it",
                table_of(self.action_type)
            ),
        )
    }

    fn contradiction(&self, field: &str, fixed: &Value) -> FieldError {
        FieldError::new(
            format!("parameters.{field}"),
            format!(
                "contradicts the declaration of `{}`, which fixes {fixed}",
                self.action_type
            ),
            "leave it out, or use another action type",
        )
    }
}
