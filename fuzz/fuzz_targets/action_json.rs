//! Reads bytes as the request form of an action, and once more as an action of a declared type. Nothing may panic. An action that passes is in
//! normal form: checking and resolving it again changes nothing, and its JSON in the audit log reads back as the same action.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use ark_model::action::{Action, Family, Parameters};
use ark_model::action_types::{ActionTypes, DeclaredType};
use ark_model::check::check_action;
use ark_model::form::{parse_action, parse_json};
use libfuzzer_sys::fuzz_target;

/// A declared type of each family, with a mapped field where the family has typed ones.
static DECLARED: LazyLock<ActionTypes> = LazyLock::new(|| {
    let declared = Family::ALL
        .iter()
        .filter(|family| **family != Family::System)
        .map(|family| {
            let first = family.typed_fields().first();
            let declaration = DeclaredType {
                family: *family,
                fields: first
                    .map(|field| ("mapped".to_owned(), field.name.to_owned()))
                    .into_iter()
                    .collect(),
                fixed: BTreeMap::new(),
                reversible: Some(false),
                external: None,
                criticality: None,
            };
            (format!("declared_{family}"), declaration)
        });
    ActionTypes::new(declared.collect()).expect("declarations in order")
});

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse_json(bytes).and_then(parse_action);
    let request = match parsed {
        Ok(request) => request,
        Err(error) => {
            // The error names a field and a remedy.
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    check_normal_form(&request.action);
    if let Parameters::Custom(_) = &request.action.parameters {
        for family in Family::ALL {
            let mut action = request.action.clone();
            action.action_type = format!("declared_{family}");
            if let Parameters::Custom(custom) = &mut action.parameters {
                custom.kind.clone_from(&action.action_type);
            }
            if DECLARED.resolve(&mut action).is_ok() && *family != Family::System {
                assert_eq!(action.parameters.family(), *family);
                let once = action.clone();
                DECLARED
                    .resolve(&mut action)
                    .expect("it was resolved before");
                assert_eq!(action, once, "resolving changes a resolved action");
                check_normal_form(&action);
            }
        }
    }
});

fn check_normal_form(action: &Action) {
    assert_eq!(
        check_action(action.clone()).as_ref(),
        Ok(action),
        "checking changes a checked action"
    );
    let json = serde_json::to_string(action).expect("a checked action has a JSON form");
    let read: Action = serde_json::from_str(&json).expect("the audit log's form reads back");
    assert_eq!(read, *action, "{json}");
    let again = serde_json::to_string(&read).expect("a checked action has a JSON form");
    assert_eq!(again, json, "the form is not canonical");
}
