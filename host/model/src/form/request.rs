//! The request form of an action.

use ark_json::{PlainObject, read_plain_object};
use serde_json::{Map, Value};

use crate::action::{
    Action, Change, ClosePosition, Criticality, Custom, DataHandling, DataOperation, ExecuteCode,
    Family, FileOperation, FileVerb, Message, Parameters, Sensitivity, Side, SystemChange, Trade,
};
use crate::check::{FieldError, check_action, check_idempotency_key, clip_for_error};
use crate::ids::{Name, ParseIdError, TraceId};

use super::document::parse_json;
use super::fields::{FormFields, missing_field, wrong_type};

/// The field with the parameters, and what is put before the names of theirs.
const PARAMETERS: &str = "parameters";
const PARAMETERS_PREFIX: &str = "parameters.";

/// An action with its envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRequest {
    /// The requester.
    pub agent: Name,
    /// The action, checked.
    pub action: Action,
    /// The trace to join; absent: a new one is started.
    pub trace_id: Option<TraceId>,
    /// The key under which a repeated request gets the first answer.
    pub idempotency_key: Option<String>,
}

/// Reads the request form of an action from its JSON and checks it, as [`parse_action`] does with what [`parse_json`] returns.
///
/// # Errors
/// As the two.
pub fn read_action(body: &[u8]) -> Result<ActionRequest, FieldError> {
    // A tree is made only of a body in which something is wrong, or may be: the first error is that of the tree.
    match read_plain_action(body) {
        Some(request) => Ok(request),
        None => parse_action(parse_json(body)?),
    }
}

fn read_plain_action(body: &[u8]) -> Option<ActionRequest> {
    let PlainObject { members, inner } = read_plain_object(body, PARAMETERS)?;
    let envelope = FormFields::from_members(members, "");
    let parameters = FormFields::from_members(inner.unwrap_or_default(), PARAMETERS_PREFIX);
    read_envelope(envelope, |_| Ok(parameters)).ok()
}

/// Reads the request form of an action and checks it.
///
/// # Errors
/// The first field that is missing, unknown, of the wrong type or out of range.
pub fn parse_action(document: Value) -> Result<ActionRequest, FieldError> {
    let envelope = FormFields::from_document(document, "")?;
    read_envelope(envelope, |envelope| {
        let object = match envelope.take_value(PARAMETERS) {
            None => Map::new(),
            Some(Value::Object(object)) => object,
            Some(other) => return Err(wrong_type(PARAMETERS, &other, "a JSON object")),
        };
        Ok(FormFields::from_object(object, PARAMETERS_PREFIX))
    })
}

/// Reads the fields of an action's request form. `take_parameters` takes those of the parameters.
///
/// # Errors
/// As [`parse_action`].
fn read_envelope<'a>(
    mut envelope: FormFields<'a>,
    take_parameters: impl FnOnce(&mut FormFields<'a>) -> Result<FormFields<'a>, FieldError>,
) -> Result<ActionRequest, FieldError> {
    let agent = envelope.required_text("agent", "name the agent that proposes")?;
    let agent = parse_id(
        "agent",
        &agent,
        "give 1 to 64 of a-z, 0-9, '-', '_', starting with a letter",
    )?;
    let action_type =
        envelope.required_text("action_type", "name the kind of action, e.g. trade")?;
    let trace_id = match envelope.take_text("trace_id")? {
        Some(text) => Some(parse_id(
            "trace_id",
            &text,
            "give 32 lower-case hexadecimal digits, not all zero (W3C Trace Context)",
        )?),
        None => None,
    };
    let idempotency_key = envelope.take_text("idempotency_key")?;
    if let Some(key) = &idempotency_key {
        check_idempotency_key("idempotency_key", key)?;
    }
    let reasoning = envelope.take_text("reasoning")?;
    let sources = envelope.take_texts("sources")?;
    let reversible = envelope.take_flag("reversible")?.unwrap_or(true);
    let rollback_plan = envelope.take_text("rollback_plan")?;
    let external = envelope.take_flag("external")?;
    let criticality = envelope.take_choice(
        "criticality",
        &[
            ("low", Criticality::Low),
            ("normal", Criticality::Normal),
            ("high", Criticality::High),
            ("critical", Criticality::Critical),
        ],
        "low, normal, high or critical",
    )?;
    let parameters = take_parameters(&mut envelope)?;
    envelope.reject_unknown()?;
    let family = Family::from_action_type(&action_type);
    let parameters = read_parameters(family, &action_type, parameters)?;
    let action = check_action(Action {
        action_type,
        parameters,
        reasoning,
        sources,
        reversible,
        rollback_plan,
        external,
        criticality: criticality.unwrap_or_default(),
    })?;
    Ok(ActionRequest {
        agent,
        action,
        trace_id,
        idempotency_key,
    })
}

fn parse_id<T: std::str::FromStr<Err = ParseIdError>>(
    field: &str,
    text: &str,
    remedy: &str,
) -> Result<T, FieldError> {
    text.parse()
        .map_err(|_| FieldError::new(field, format!("is {:?}", clip_for_error(text)), remedy))
}

/// Reads the parameters of a family from the request form. The result is not checked yet.
///
/// # Errors
/// The first field that is missing or of the wrong type, as a field of `parameters`.
pub(crate) fn parse_parameters(
    family: Family,
    action_type: &str,
    object: Map<String, Value>,
) -> Result<Parameters, FieldError> {
    let fields = FormFields::from_object(object, PARAMETERS_PREFIX);
    read_parameters(family, action_type, fields)
}

fn read_parameters(
    family: Family,
    action_type: &str,
    mut fields: FormFields<'_>,
) -> Result<Parameters, FieldError> {
    Ok(match family {
        Family::Trade => Parameters::Trade(parse_trade(action_type, fields)?),
        Family::ClosePosition => Parameters::ClosePosition(ClosePosition {
            symbol: required_symbol(&mut fields)?,
            position_size_pct: fields.take_number("position_size_pct")?,
            extra_json: fields.into_rest_json(),
        }),
        Family::Data => Parameters::Data(parse_data(action_type, fields)?),
        Family::File => Parameters::File(parse_file(action_type, fields)?),
        Family::Code => Parameters::Code(ExecuteCode {
            language: fields.take_text("language")?,
            code: fields.required_text("code", "give the source text")?,
            extra_json: fields.into_rest_json(),
        }),
        Family::Message => Parameters::Message(Message {
            topic: fields.take_text("topic")?,
            to: fields.take_text("to")?,
            symbol: fields.take_text("symbol")?,
            text: fields.take_text("text")?,
            payload_json: fields
                .take_value("payload")
                .map(|payload| payload.to_string()),
            extra_json: fields.into_rest_json(),
        }),
        Family::System | Family::Custom => match Change::from_action_type(action_type) {
            Some(change) => Parameters::System(SystemChange {
                change,
                parameters_json: fields.into_rest_json(),
            }),
            None => Parameters::Custom(Custom {
                kind: action_type.to_owned(),
                parameters_json: fields.into_rest_json(),
            }),
        },
    })
}

fn required_symbol(fields: &mut FormFields<'_>) -> Result<String, FieldError> {
    fields.required_text("symbol", "name the instrument, e.g. BTC-USD")
}

fn parse_trade(action_type: &str, mut fields: FormFields<'_>) -> Result<Trade, FieldError> {
    let sides = [("buy", Side::Buy), ("sell", Side::Sell)];
    Ok(Trade {
        symbol: required_symbol(&mut fields)?,
        side: fields
            .take_choice("side", &sides, "buy or sell")?
            .or_else(|| Side::from_action_type(action_type))
            .unwrap_or(Side::Buy),
        position_size_pct: fields.take_number("position_size_pct")?.ok_or_else(|| {
            missing_field(
                fields.field_path("position_size_pct"),
                "give a fraction of capital from 0 to 1, 0.05 is 5 %",
            )
        })?,
        leverage: fields.take_number("leverage")?.unwrap_or(1.0),
        entry_price: fields.take_number("entry_price")?,
        stop_loss: fields.take_number("stop_loss")?,
        take_profit: fields.take_number("take_profit")?,
        risk_reward_ratio: fields.take_number("risk_reward_ratio")?,
        material_nonpublic: fields.take_flag("material_nonpublic")?.unwrap_or(false),
        manipulative_intent: fields.take_flag("manipulative_intent")?.unwrap_or(false),
        ahead_of_client_order: fields.take_flag("ahead_of_client_order")?.unwrap_or(false),
        extra_json: fields.into_rest_json(),
    })
}

fn parse_data(action_type: &str, mut fields: FormFields<'_>) -> Result<DataHandling, FieldError> {
    let sensitivities = [
        ("low", Sensitivity::Low),
        ("medium", Sensitivity::Medium),
        ("high", Sensitivity::High),
    ];
    let operations = [
        ("handle", DataOperation::Handle),
        ("collect", DataOperation::Collect),
        ("store", DataOperation::Store),
        ("share", DataOperation::Share),
    ];
    // A built-in action type implies the operation: given twice, the two could differ.
    let operation = if Family::of_built_in(action_type).is_some() {
        DataOperation::from_action_type(action_type)
    } else {
        fields.take_choice("operation", &operations, "handle, collect, store or share")?
    };
    Ok(DataHandling {
        operation: operation.unwrap_or(DataOperation::Handle),
        subject: fields.take_text("subject")?,
        contains_personal_data: fields.take_flag("contains_personal_data")?.unwrap_or(false),
        data_sensitivity: fields.take_choice(
            "data_sensitivity",
            &sensitivities,
            "low, medium or high",
        )?,
        encryption: fields.take_flag("encryption")?.unwrap_or(false),
        anonymized: fields.take_flag("anonymized")?.unwrap_or(false),
        destination: fields.take_text("destination")?,
        purpose: fields.take_text("purpose")?,
        user_consent: fields.take_flag("user_consent")?,
        extra_json: fields.into_rest_json(),
    })
}

fn parse_file(action_type: &str, mut fields: FormFields<'_>) -> Result<FileOperation, FieldError> {
    let verbs = [
        ("read", FileVerb::Read),
        ("write", FileVerb::Write),
        ("delete", FileVerb::Delete),
        ("remove", FileVerb::Remove),
        ("destroy", FileVerb::Destroy),
    ];
    let allowed = "read, write, delete, remove or destroy";
    let operation = fields
        .take_choice("operation", &verbs, allowed)?
        .or_else(|| FileVerb::from_action_type(action_type))
        .ok_or_else(|| missing_field(fields.field_path("operation"), &format!("give {allowed}")))?;
    Ok(FileOperation {
        operation,
        path: fields.required_text("path", "name the file")?,
        extra_json: fields.into_rest_json(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a request, and reads it too.
    fn parse(json: &str) -> Result<ActionRequest, FieldError> {
        let parsed = parse_json(json.as_bytes()).and_then(parse_action);
        assert_eq!(read_action(json.as_bytes()), parsed, "{json}");
        parsed
    }

    #[test]
    fn a_canonical_action_reads_back_as_itself() {
        let texts = [
            r#"{"agent":"a","action_type":"buy","parameters":{"symbol":"btc-usd","position_size_pct":0.07,"stop_loss":1e-300,"z":1,"a":{"y":2,"b":3}},"reasoning":"r","sources":["s"]}"#,
            r#"{"agent":"a","action_type":"close_position","parameters":{"symbol":"X"}}"#,
            r#"{"agent":"a","action_type":"share_data","parameters":{"subject":"bob","user_consent":false,"data_sensitivity":"high"}}"#,
            r#"{"agent":"a","action_type":"delete","parameters":{"path":"/a/../b"},"criticality":"critical"}"#,
            r#"{"agent":"a","action_type":"execute_code","parameters":{"code":"1"},"external":true}"#,
            r#"{"agent":"a","action_type":"message","parameters":{"topic":"t","payload":{"b":1,"a":2}}}"#,
            r#"{"agent":"a","action_type":"clear_halt"}"#,
            r#"{"agent":"a","action_type":"paint_fence","parameters":{"b":1,"a":[true,null]},"reversible":false}"#,
        ];
        for text in texts {
            let action = parse(text)
                .unwrap_or_else(|error| panic!("{text}: {error}"))
                .action;
            let canonical = serde_json::to_string(&action).unwrap();
            let back: Action = serde_json::from_str(&canonical).unwrap();
            assert_eq!(back, action, "{text}");
            assert_eq!(serde_json::to_string(&back).unwrap(), canonical);
        }
        let sorted = parse(texts[0]).unwrap().action;
        assert!(
            serde_json::to_string(&sorted)
                .unwrap()
                .contains(r#"{\"a\":{\"b\":3,\"y\":2},\"z\":1}"#)
        );
        assert_eq!(sorted.symbol(), Some("btc-usd"));
    }

    #[test]
    fn unjudgeable_requests_name_the_field() {
        let trade = |parameters: &str| {
            format!(r#"{{"agent":"a","action_type":"trade","parameters":{parameters}}}"#)
        };
        let cases: Vec<(String, &str)> = vec![
            ("{".into(), "body"),
            ("[]".into(), "body"),
            ("\u{1}".into(), "body"),
            (r#"{"agent":"a"}"#.into(), "action_type"),
            (r#"{"action_type":"trade"}"#.into(), "agent"),
            (r#"{"agent":"A b","action_type":"x"}"#.into(), "agent"),
            (r#"{"agent":7,"action_type":"x"}"#.into(), "agent"),
            (r#"{"agent":"a","action_type":""}"#.into(), "action_type"),
            (r#"{"agent":"a","action_type":"TRADE"}"#.into(), "action_type"),
            (r#"{"agent":"a","action_type":"x","raesoning":"r"}"#.into(), "raesoning"),
            (r#"{"agent":"a","action_type":"x","reasoning":1}"#.into(), "reasoning"),
            (r#"{"agent":"a","action_type":"x","sources":"s"}"#.into(), "sources"),
            (r#"{"agent":"a","action_type":"x","sources":["s",1]}"#.into(), "sources[1]"),
            (r#"{"agent":"a","action_type":"x","criticality":"huge"}"#.into(), "criticality"),
            (r#"{"agent":"a","action_type":"x","trace_id":"00"}"#.into(), "trace_id"),
            (r#"{"agent":"a","action_type":"x","idempotency_key":""}"#.into(), "idempotency_key"),
            (r#"{"agent":"a","action_type":"x","parameters":[]}"#.into(), "parameters"),
            (trade("{}"), "parameters.symbol"),
            (trade(r#"{"symbol":"X"}"#), "parameters.position_size_pct"),
            (trade(r#"{"symbol":"X","position_size_pct":"0.05"}"#), "parameters.position_size_pct"),
            (trade(r#"{"symbol":"X","position_size_pct":NaN}"#), "parameters.position_size_pct"),
            (trade(r#"{"symbol":"X","position_size_pct":Infinity}"#), "parameters.position_size_pct"),
            (trade(r#"{"symbol":"X","position_size_pct":1e999}"#), "parameters.position_size_pct"),
            (trade(r#"{"symbol":"X","position_size_pct":-0.01}"#), "parameters.position_size_pct"),
            // Another integer would be judged: a double holds 53 bits.
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"entry_price":9007199254740993}"#), "parameters.entry_price"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"id":123456789012345678901234567890}"#), "parameters.id"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"ids":[1,{"x":-9223372036854775809}]}"#), "parameters.ids[1].x"),
            ("\u{feff}{}".into(), "body"),
            (trade(r#"{"symbol":"X","position_size_pct":1.01}"#), "parameters.position_size_pct"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"leverage":0}"#), "parameters.leverage"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"leverage":"1"}"#), "parameters.leverage"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"risk_reward_ratio":-1}"#), "parameters.risk_reward_ratio"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"side":"long"}"#), "parameters.side"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"material_nonpublic":"no"}"#), "parameters.material_nonpublic"),
            (trade(r#"{"symbol":" BTC","position_size_pct":0.1}"#), "parameters.symbol"),
            (trade(r#"{"symbol":"--","position_size_pct":0.1}"#), "parameters.symbol"),
            (trade(r#"{"symbol":"BTC\u200bUSD","position_size_pct":0.1}"#), "parameters.symbol"),
            (r#"{"agent":"a","action_type":"close_position","parameters":{"symbol":"\u202eX"}}"#.into(), "parameters.symbol"),
            (r#"{"agent":"a","action_type":"message","parameters":{"topic":"t","symbol":"\u3164"}}"#.into(), "parameters.symbol"),
            (trade(r#"{"symbol":"ВТС","position_size_pct":0.1}"#), "parameters.symbol"),
            (r#"{"agent":"a","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.1,"side":"sell"}}"#.into(), "parameters.side"),
            (r#"{"agent":"a","action_type":"delete","parameters":{"path":"x","operation":"read"}}"#.into(), "parameters.operation"),
            (r#"{"agent":"a","action_type":"file_operation","parameters":{"path":"x"}}"#.into(), "parameters.operation"),
            (r#"{"agent":"a","action_type":"execute_code","parameters":{"code":""}}"#.into(), "parameters.code"),
            (r#"{"agent":"a","action_type":"message","parameters":{"topic":"a b"}}"#.into(), "parameters.topic"),
        ];
        for (text, field) in cases {
            match parse(&text) {
                Err(error) => assert_eq!(error.field, field, "{text}: {error}"),
                Ok(request) => panic!("{text} passed as {request:?}"),
            }
        }
        assert!(parse_json(&[b'"', 0xff, b'"']).is_err());
        assert!(parse_json("[".repeat(100_000).as_bytes()).is_err());
    }
}
