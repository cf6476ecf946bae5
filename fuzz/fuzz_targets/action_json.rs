//! Reads bytes as the request form of an action. Nothing may panic. An action that passes is in normal form: checking it again changes nothing,
//! and its JSON in the audit log reads back as the same action.

#![no_main]

use ark_model::action::Action;
use ark_model::check::check_action;
use ark_model::form::{parse_action, parse_json};
use libfuzzer_sys::fuzz_target;

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
    let action = request.action;
    assert_eq!(
        check_action(action.clone()).as_ref(),
        Ok(&action),
        "checking changes a checked action"
    );
    let json = serde_json::to_string(&action).expect("a checked action has a JSON form");
    let read: Action = serde_json::from_str(&json).expect("the audit log's form reads back");
    assert_eq!(read, action, "{json}");
    let again = serde_json::to_string(&read).expect("a checked action has a JSON form");
    assert_eq!(again, json, "the form is not canonical");
});
