//! Which declarations are taken, and what they make of actions.

use serde_json::{Value, json};

use super::*;
use crate::action::{Criticality, Custom, ExecuteCode, FieldForm, Parameters, Side, Trade};
use crate::check::check_action;
use crate::form::{parse_action, parse_parameters};

/// Declares action types written as in the configuration.
#[expect(clippy::needless_pass_by_value, reason = "cases write JSON in place")]
fn declare_types(declarations: Value) -> Result<ActionTypes, FieldError> {
    let read = |part: &Value| serde_json::from_value(part.clone()).unwrap();
    let declared = declarations
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, part)| {
            let declaration = DeclaredType {
                family: serde_json::from_value(part["family"].clone()).unwrap(),
                fields: part.get("fields").map(read).unwrap_or_default(),
                fixed: part
                    .get("fixed")
                    .map(|fixed| fixed.as_object().unwrap().clone().into_iter().collect())
                    .unwrap_or_default(),
                reversible: part["reversible"].as_bool(),
                external: part["external"].as_bool(),
                criticality: serde_json::from_value(part["criticality"].clone()).unwrap(),
            };
            (name.clone(), declaration)
        });
    ActionTypes::new(declared.collect())
}

/// An exchange's orders, notes, and deletions.
fn action_types() -> ActionTypes {
    declare_types(json!({
        "place_order": {"family": "trade", "fields": {"quantity": "position_size_pct", "ticker": "symbol", "note": "extra"}},
        "go_short": {"family": "trade", "fixed": {"side": "sell"}},
        "purge": {"family": "file", "fixed": {"operation": "destroy"}, "reversible": false},
        "tell": {"family": "message", "fields": {"words": "text"}},
        "file_record": {"family": "data"},
        "run_script": {"family": "code"},
        "flatten": {"family": "close_position"},
        "rebalance": {"family": "custom", "reversible": false, "external": true, "criticality": "high"},
        "note_down": {"family": "custom", "external": false},
    }))
    .unwrap()
}

/// Reads a request and resolves it, as the API does.
#[expect(clippy::needless_pass_by_value, reason = "cases write JSON in place")]
fn parse_proposal(action_type: &str, parameters: Value) -> Result<Action, FieldError> {
    let document = json!({"agent": "a", "action_type": action_type, "parameters": parameters});
    let mut action = parse_action(document)?.action;
    let types = action_types();
    types.resolve(&mut action)?;
    let once = action.clone();
    types.resolve(&mut action)?;
    assert_eq!(action, once, "resolving again changes nothing");
    Ok(action)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_declaration_that_cannot_work_names_its_part() {
    for (declarations, field, says) in [
        (json!({"trade": {"family": "trade"}}), "trade", "built-in"),
        (
            json!({"clear_halt": {"family": "custom"}}),
            "clear_halt",
            "built-in",
        ),
        (
            json!({"close.position": {"family": "trade"}}),
            "close.position",
            "close_position",
        ),
        (
            json!({"t_r_a_d_e": {"family": "trade"}}),
            "t_r_a_d_e",
            "`trade`",
        ),
        (
            json!({"execute-code": {"family": "code"}}),
            "execute-code",
            "execute_code",
        ),
        (json!({"Trade": {"family": "trade"}}), "Trade", "name"),
        (
            json!({"EXECUTE-CODE": {"family": "code"}}),
            "EXECUTE-CODE",
            "name",
        ),
        (json!({"trаde2": {"family": "trade"}}), "trаde2", "name"),
        (json!({"": {"family": "trade"}}), "", "name"),
        (json!({"ark.x": {"family": "message"}}), "ark.x", "reserved"),
        (json!({"x": {"family": "system"}}), "x.family", "system"),
        (
            json!({"x": {"family": "custom", "fields": {"a": "symbol"}}}),
            "x.fields.a",
            "no typed fields",
        ),
        (
            json!({"x": {"family": "trade", "fields": {"a": "price"}}}),
            "x.fields.a",
            "price",
        ),
        (
            json!({"x": {"family": "trade", "fields": {"a": "symbol", "b": "symbol"}}}),
            "x.fields.b",
            "`a`",
        ),
        (
            json!({"x": {"family": "trade", "fields": {"symbol": "symbol"}}}),
            "x.fields.symbol",
            "itself",
        ),
        // A cycle would be two typed fields that stand for each other.
        (
            json!({"x": {"family": "trade", "fields": {"symbol": "side", "side": "symbol"}}}),
            "x.fields.side",
            "itself",
        ),
        (
            json!({"x": {"family": "trade", "fields": {"Leverage": "extra"}}}),
            "x.fields.Leverage",
            "`leverage`",
        ),
        (
            json!({"x": {"family": "trade", "fields": {"": "symbol"}}}),
            "x.fields.",
            "name of a field",
        ),
        (
            json!({"x": {"family": "trade", "fields": {"a b": "symbol"}}}),
            "x.fields.a b",
            "name of a field",
        ),
        (
            json!({"x": {"family": "trade", "fields": {"s": "side"}, "fixed": {"side": "buy"}}}),
            "x.fields.s",
            "fixed",
        ),
        (
            json!({"x": {"family": "trade", "fixed": {"side": "long"}}}),
            "x.fixed.side",
            "buy",
        ),
        (
            json!({"x": {"family": "trade", "fixed": {"leverage": 2}}}),
            "x.fixed.leverage",
            "cannot be fixed",
        ),
        (
            json!({"x": {"family": "trade", "fixed": {"material_nonpublic": "no"}}}),
            "x.fixed.material_nonpublic",
            "true or false",
        ),
        (
            json!({"x": {"family": "custom", "fixed": {"side": "buy"}}}),
            "x.fixed.side",
            "leave",
        ),
    ] {
        let error = declare_types(declarations.clone()).expect_err(&declarations.to_string());
        assert_eq!(error.field, field, "{declarations}: {error}");
        assert!(error.to_string().contains(says), "{declarations}: {error}");
    }
}

#[test]
fn a_declared_type_is_read_by_its_family() {
    let order = parse_proposal(
        "place_order",
        json!({"ticker": "btc-usd", "quantity": 0.02, "side": "buy", "leverage": 2, "note": "n", "entry_price": null}),
    )
    .unwrap();
    let Parameters::Trade(trade) = &order.parameters else {
        panic!("{order:?}");
    };
    assert_eq!((trade.position_size_pct, trade.leverage), (0.02, 2.0));
    assert_eq!(trade.extra_json, r#"{"note":"n"}"#);
    assert_eq!(order.action_type, "place_order");
    let by_own_names = parse_proposal(
        "place_order",
        json!({"symbol": "btc-usd", "position_size_pct": 0.02, "side": "buy", "leverage": 2.0, "note": "n"}),
    )
    .unwrap();
    assert_eq!(by_own_names, order);

    let short = parse_proposal(
        "go_short",
        json!({"symbol": "X", "position_size_pct": 0.02}),
    )
    .unwrap();
    assert!(matches!(short.parameters, Parameters::Trade(trade) if trade.side == Side::Sell));
    let purge = parse_proposal("purge", json!({"path": "a/../b"})).unwrap();
    assert!(!purge.reversible);
    assert!(matches!(purge.parameters, Parameters::File(file) if file.path == "b"));
    for (action_type, parameters, family) in [
        ("tell", json!({"words": "w"}), Family::Message),
        (
            "file_record",
            json!({"operation": "share", "destination": "d"}),
            Family::Data,
        ),
        ("run_script", json!({"code": "1"}), Family::Code),
        ("flatten", json!({"symbol": "X"}), Family::ClosePosition),
        ("rebalance", json!({"anything": [1]}), Family::Custom),
    ] {
        let action = parse_proposal(action_type, parameters).unwrap();
        assert_eq!(action.parameters.family(), family, "{action_type}");
        // What is recorded is read back without the declarations.
        let recorded = serde_json::to_string(&action).unwrap();
        assert_eq!(
            serde_json::from_str::<Action>(&recorded).unwrap(),
            action,
            "{recorded}"
        );
    }
}

#[test]
fn errors_of_declared_actions_use_the_requests_field_names() {
    for (action_type, parameters, field) in [
        (
            "place_order",
            json!({"ticker": "X", "side": "buy"}),
            "parameters.quantity",
        ),
        (
            "place_order",
            json!({"ticker": "X", "quantity": 0.1}),
            "parameters.side",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": "0.1"}),
            "parameters.quantity",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 50}),
            "parameters.quantity",
        ),
        (
            "place_order",
            json!({"symbol": "X", "side": "buy", "position_size_pct": 50}),
            "parameters.position_size_pct",
        ),
        (
            "place_order",
            json!({"ticker": "", "side": "buy", "quantity": 0.1}),
            "parameters.ticker",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 0.01, "position_size_pct": 0.9}),
            "parameters.quantity",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 0.01, "lev": 50}),
            "parameters.lev",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 0.01, "Leverage": 50}),
            "parameters.Leverage",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 0.01, "Quantity": 0.9}),
            "parameters.Quantity",
        ),
        (
            "go_short",
            json!({"symbol": "X", "position_size_pct": 0.02, "side": "buy"}),
            "parameters.side",
        ),
        (
            "purge",
            json!({"path": "x", "operation": "read"}),
            "parameters.operation",
        ),
        (
            "file_record",
            json!({"operation": "leak"}),
            "parameters.operation",
        ),
        (
            "trade",
            json!({"symbol": "X", "position_size_pct": 0.1, "Leverage": 9}),
            "parameters.Leverage",
        ),
        (
            "buy",
            json!({"symbol": "X", "position_size_pct": 0.1, "ｌｅｖｅｒａｇｅ": 9}),
            "parameters.ｌｅｖｅｒａｇｅ",
        ),
    ] {
        let error =
            parse_proposal(action_type, parameters.clone()).expect_err(&parameters.to_string());
        assert_eq!(error.field, field, "{action_type} {parameters}: {error}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_guest_sends_a_declared_type_as_json_or_typed() {
    let types = action_types();
    let action = |action_type: &str, parameters| Action {
        action_type: action_type.to_owned(),
        parameters,
        ..parse_proposal("note_down", json!({})).unwrap()
    };
    let custom = |kind: &str, json: &str| {
        Parameters::Custom(Custom {
            kind: kind.to_owned(),
            parameters_json: json.to_owned(),
        })
    };
    let trade = |side, extra: &str| {
        Parameters::Trade(Trade {
            symbol: "X".to_owned(),
            side,
            position_size_pct: 0.02,
            leverage: 1.0,
            entry_price: None,
            stop_loss: None,
            take_profit: None,
            risk_reward_ratio: None,
            material_nonpublic: false,
            manipulative_intent: false,
            ahead_of_client_order: false,
            extra_json: extra.to_owned(),
        })
    };
    let code = Parameters::Code(ExecuteCode {
        language: None,
        code: "1".to_owned(),
        extra_json: "{}".to_owned(),
    });
    // What a guest sends, and the field it is refused for.
    for (action, refused) in [
        (
            action(
                "place_order",
                custom(
                    "place_order",
                    r#"{"ticker":"X","side":"buy","quantity":0.02}"#,
                ),
            ),
            None,
        ),
        (action("place_order", trade(Side::Buy, "{}")), None),
        (
            action("place_order", trade(Side::Buy, r#"{"note":1}"#)),
            None,
        ),
        (action("go_short", trade(Side::Sell, "{}")), None),
        (
            action("place_order", trade(Side::Buy, r#"{"quantity":0.9}"#)),
            Some("parameters.quantity"),
        ),
        (
            action("place_order", trade(Side::Buy, r#"{"lev":9}"#)),
            Some("parameters.lev"),
        ),
        (
            action(
                "place_order",
                custom("place_order", r#"{"ticker":"X","side":"buy"}"#),
            ),
            Some("parameters.quantity"),
        ),
        (
            action("go_short", trade(Side::Buy, "{}")),
            Some("parameters.side"),
        ),
        (action("place_order", code.clone()), Some("parameters")),
        (action("rebalance", code.clone()), Some("parameters")),
        (
            action("rebalance", trade(Side::Buy, "{}")),
            Some("parameters"),
        ),
    ] {
        let mut checked = check_action(action.clone()).unwrap();
        let outcome = types.resolve(&mut checked);
        assert_eq!(
            outcome.as_ref().err().map(|error| error.field.as_str()),
            refused,
            "{action:?}"
        );
        assert_eq!(
            types.find_refusal(&checked).is_some(),
            refused == Some("parameters")
                || checked.parameters.family() == Family::Custom
                    && action.action_type == "place_order",
            "{action:?}"
        );
    }
    // The form itself refuses a name that disagrees with the parameters, and a key that is given twice.
    for refused in [
        action("trade", custom("trade", r#"{"size":0.9}"#)),
        action("place_order", custom("trade", "{}")),
        action(
            "place_order",
            custom("place_order", r#"{"quantity":0.01,"quantity":0.9}"#),
        ),
        action("execute_code", trade(Side::Buy, "{}")),
        action("trade", code),
    ] {
        assert!(check_action(refused.clone()).is_err(), "{refused:?}");
    }
}

#[test]
fn undeclared_types_are_refused_with_the_remedy() {
    let types = action_types();
    let longest = "x".repeat(64);
    for action_type in [
        "exec",
        "rm",
        "withdraw",
        "place_orders",
        "close.position",
        "a.b",
        &longest,
    ] {
        let action = parse_proposal(action_type, json!({"size": 0.9, "leverage": 50})).unwrap();
        let refusal = types.find_refusal(&action).expect(action_type);
        assert!(
            refusal.contains(&format!("`{action_type}` is not declared")),
            "{refusal}"
        );
        assert!(refusal.contains("[action_types."), "{refusal}");
        assert_eq!(types.find_family(action_type), None);
    }
    assert!(parse_proposal(&"x".repeat(65), json!({})).is_err());
    for (action_type, family) in BUILT_IN_TYPES {
        assert_eq!(types.find_family(action_type), Some(family));
    }
    let none = ActionTypes::default();
    let order = parse_proposal(
        "place_order",
        json!({"ticker": "X", "side": "buy", "quantity": 0.02}),
    )
    .unwrap();
    assert_eq!(types.find_refusal(&order), None);
    assert!(
        none.find_refusal(&order).is_some(),
        "the declaration is gone"
    );
    // The declaration changed while the action waited.
    let changed = declare_types(json!({"place_order": {"family": "custom"}})).unwrap();
    assert!(
        changed
            .find_refusal(&order)
            .unwrap()
            .contains("declared for the custom family")
    );
}

#[test]
fn a_declaration_only_tightens() {
    let declared = action_types();
    for (action_type, given, expected) in [
        (
            "rebalance",
            (true, None, Criticality::Low),
            (false, Some(true), Criticality::High),
        ),
        (
            "rebalance",
            (true, Some(false), Criticality::Critical),
            (false, Some(true), Criticality::Critical),
        ),
        (
            "note_down",
            (true, None, Criticality::Low),
            (true, Some(false), Criticality::Low),
        ),
        (
            "note_down",
            (false, Some(true), Criticality::High),
            (false, Some(true), Criticality::High),
        ),
        (
            "tell",
            (true, None, Criticality::Normal),
            (true, None, Criticality::Normal),
        ),
    ] {
        let (reversible, external, criticality) = given;
        let mut action = Action {
            reversible,
            external,
            criticality,
            ..parse_proposal(action_type, json!({})).unwrap()
        };
        // As proposed, before the declaration was applied.
        action.reversible = reversible;
        declared.resolve(&mut action).unwrap();
        assert_eq!(
            (action.reversible, action.external, action.criticality),
            expected,
            "{action_type} {given:?}"
        );
    }
}

#[test]
fn the_reader_takes_exactly_the_typed_fields_of_the_table() {
    for family in Family::ALL {
        for field in family.typed_fields() {
            let sample = |form| match form {
                FieldForm::Choice(choices) => json!(choices[0]),
                FieldForm::Flag => json!(true),
                FieldForm::Fraction
                | FieldForm::Positive
                | FieldForm::NotNegative
                | FieldForm::Number => json!(0.5),
                FieldForm::Symbol => json!("X"),
                _ => json!("x"),
            };
            let mut object: serde_json::Map<String, Value> = family
                .typed_fields()
                .iter()
                .filter(|other| other.required)
                .map(|other| (other.name.to_owned(), sample(other.form)))
                .collect();
            object.insert(field.name.to_owned(), sample(field.form));
            let read = parse_parameters(*family, "declared", object.clone()).unwrap();
            assert_eq!(read.extra_json(), Some("{}"), "{family} {}", field.name);
            if field.required {
                object.remove(field.name);
                let error = parse_parameters(*family, "declared", object.clone()).unwrap_err();
                assert_eq!(error.field, format!("parameters.{}", field.name));
            }
            if field.form != FieldForm::Json {
                object.insert(field.name.to_owned(), json!([1]));
                let error = parse_parameters(*family, "declared", object).unwrap_err();
                assert_eq!(error.field, format!("parameters.{}", field.name));
            }
        }
    }
}
