//! The request form of an action: the JSON that API consumers send, turned into a typed [`Action`].
//!
//! The envelope is closed (an unknown field is an error, so that a misspelt `reasoning` is not silently lost); the parameters are
//! open (what has no typed field is kept as extra JSON for operator policies). Field names, defaults and ranges are those of the
//! table in ARCHITECTURE.md; ranges are checked by [`super::check`].

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::action::{
    Action, ClosePosition, Criticality, Custom, DataHandling, DataOperation, ExecuteCode, Family,
    FileOperation, FileVerb, Message, Parameters, Sensitivity, Side, SystemChange, Trade,
};
use super::check::{FieldError, check_action, clip_for_error, system_change};
use super::ids::{Name, TraceId};

/// An action with what surrounds it in a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRequest {
    /// Who proposes.
    pub agent: Name,
    /// What.
    pub action: Action,
    /// The trace to join; `None`: a fresh one.
    pub trace_id: Option<TraceId>,
    /// The key under which the first answer is given again.
    pub idempotency_key: Option<String>,
}

/// Reads a JSON document.
///
/// # Errors
/// Names the field the parser was in when the text stopped being JSON; `body` when it was in none.
pub fn parse_json(body: &[u8]) -> Result<Value, FieldError> {
    let read = serde_json::from_slice::<UniqueKeysJson>(body);
    read.map(|document| document.0).map_err(|error| {
        // Parsed again with path tracking: only a request that fails pays for it.
        let deserializer = &mut serde_json::Deserializer::from_slice(body);
        let located = serde_path_to_error::deserialize::<_, UniqueKeysJson>(deserializer)
            .err()
            .map(|e| e.path().to_string());
        // A `?` stands for a place inside a name that was not finished.
        let field = located
            .as_deref()
            .map(|path| path.trim_end_matches(['?', '.']))
            .filter(|path| !path.is_empty());
        let field = field.map_or_else(|| "body".to_owned(), clip_for_error);
        if error.is_data() {
            return FieldError::new(field, error.to_string(), "give each name once");
        }
        FieldError::new(
            field,
            format!("is not JSON: {error}"),
            "send one JSON object in UTF-8, nested 127 deep at most",
        )
    })
}

/// A JSON document in which no object has the same name twice: readers differ in which of two they take, so what is judged and what is
/// carried out could be two things.
struct UniqueKeysJson(Value);

impl<'de> Deserialize<'de> for UniqueKeysJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
                Ok(Value::Bool(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::String(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Value, E> {
                Ok(Value::String(text))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(UniqueKeysJson(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some(name) = fields.next_key::<String>()? {
                    if object.contains_key(&name) {
                        fields.next_value_seed(DuplicateKey)?;
                    }
                    let UniqueKeysJson(value) = fields.next_value()?;
                    object.insert(name, value);
                }
                Ok(Value::Object(object))
            }
        }

        deserializer.deserialize_any(Reader).map(Self)
    }
}

/// Refuses the value of a name that stood there before, from where the error knows its name.
struct DuplicateKey;

impl<'de> DeserializeSeed<'de> for DuplicateKey {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom("stands there twice"))
    }
}

/// Reads the request form of an action and checks it.
///
/// # Errors
/// The first field that is missing, unknown, of the wrong type or out of range.
pub fn parse_action(document: Value) -> Result<ActionRequest, FieldError> {
    let mut envelope = Fields::from_document(document, "")?;
    let agent = envelope
        .take_text("agent")?
        .ok_or_else(|| missing_field("agent", "name the agent that proposes"))?;
    let agent = agent.parse().map_err(|_| {
        FieldError::new(
            "agent",
            format!("is {:?}", clip_for_error(&agent)),
            "give 1 to 64 of a-z, 0-9, '-', '_', starting with a letter",
        )
    })?;
    let action_type = envelope
        .take_text("action_type")?
        .ok_or_else(|| missing_field("action_type", "name the kind of action, e.g. trade"))?;
    let trace_id = match envelope.take_text("trace_id")? {
        Some(text) => Some(text.parse().map_err(|_| {
            FieldError::new(
                "trace_id",
                format!("is {:?}", clip_for_error(&text)),
                "give 32 lower-case hexadecimal digits, not all zero (W3C Trace Context)",
            )
        })?),
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
    let criticality = match envelope.take_text("criticality")?.as_deref() {
        None | Some("normal") => Criticality::Normal,
        Some("low") => Criticality::Low,
        Some("high") => Criticality::High,
        Some("critical") => Criticality::Critical,
        Some(other) => {
            return Err(invalid_choice(
                "criticality",
                other,
                "low, normal, high or critical",
            ));
        }
    };
    let parameters = match envelope.take_value("parameters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(object)) => object,
        Some(other) => return Err(wrong_type("parameters", &other, "a JSON object")),
    };
    envelope.reject_unknown()?;
    let parameters = parse_parameters(&action_type, parameters)?;
    let action = check_action(Action {
        action_type,
        parameters,
        reasoning,
        sources,
        reversible,
        rollback_plan,
        external,
        criticality,
    })?;
    Ok(ActionRequest {
        agent,
        action,
        trace_id,
        idempotency_key,
    })
}

/// Checks an idempotency key: 1 to 200 visible ASCII characters.
///
/// # Errors
/// Names `field`.
pub fn check_idempotency_key(field: &str, key: &str) -> Result<(), FieldError> {
    if (1..=200).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {:?}", clip_for_error(key)),
        "give 1 to 200 visible ASCII characters",
    ))
}

fn parse_parameters(
    action_type: &str,
    object: Map<String, Value>,
) -> Result<Parameters, FieldError> {
    let mut fields = Fields {
        prefix: "parameters.",
        object,
    };
    Ok(match Family::from_action_type(action_type) {
        Family::Trade => {
            let implied = if action_type == "sell" {
                Side::Sell
            } else {
                Side::Buy
            };
            Parameters::Trade(Trade {
                symbol: fields.required_text("symbol", "name the instrument, e.g. BTC-USD")?,
                side: match fields.take_text("side")?.as_deref() {
                    None => implied,
                    Some("buy") => Side::Buy,
                    Some("sell") => Side::Sell,
                    Some(other) => {
                        return Err(invalid_choice("parameters.side", other, "buy or sell"));
                    }
                },
                position_size_pct: fields.take_number("position_size_pct")?.ok_or_else(|| {
                    missing_field(
                        "parameters.position_size_pct",
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
        Family::ClosePosition => Parameters::ClosePosition(ClosePosition {
            symbol: fields.required_text("symbol", "name the instrument, e.g. BTC-USD")?,
            position_size_pct: fields.take_number("position_size_pct")?,
            extra_json: fields.into_rest_json(),
        }),
        Family::Data => Parameters::Data(DataHandling {
            operation: match action_type {
                "collect_data" => DataOperation::Collect,
                "store_data" => DataOperation::Store,
                "share_data" => DataOperation::Share,
                _ => DataOperation::Handle,
            },
            subject: fields.take_text("subject")?,
            contains_personal_data: fields.take_flag("contains_personal_data")?.unwrap_or(false),
            data_sensitivity: match fields.take_text("data_sensitivity")?.as_deref() {
                None => None,
                Some("low") => Some(Sensitivity::Low),
                Some("medium") => Some(Sensitivity::Medium),
                Some("high") => Some(Sensitivity::High),
                Some(other) => {
                    return Err(invalid_choice(
                        "parameters.data_sensitivity",
                        other,
                        "low, medium or high",
                    ));
                }
            },
            encryption: fields.take_flag("encryption")?.unwrap_or(false),
            anonymized: fields.take_flag("anonymized")?.unwrap_or(false),
            destination: fields.take_text("destination")?,
            purpose: fields.take_text("purpose")?,
            user_consent: fields.take_flag("user_consent")?,
            extra_json: fields.into_rest_json(),
        }),
        Family::File => {
            let operation = match (action_type, fields.take_text("operation")?.as_deref()) {
                ("delete", None) | (_, Some("delete")) => FileVerb::Delete,
                ("remove", None) | (_, Some("remove")) => FileVerb::Remove,
                (_, Some("read")) => FileVerb::Read,
                (_, Some("write")) => FileVerb::Write,
                (_, Some("destroy")) => FileVerb::Destroy,
                (_, None) => {
                    return Err(missing_field(
                        "parameters.operation",
                        "say read, write, delete, remove or destroy",
                    ));
                }
                (_, Some(other)) => {
                    return Err(invalid_choice(
                        "parameters.operation",
                        other,
                        "read, write, delete, remove or destroy",
                    ));
                }
            };
            let path = fields.required_text("path", "name the file")?;
            Parameters::File(FileOperation {
                operation,
                path,
                extra_json: fields.into_rest_json(),
            })
        }
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
        Family::System | Family::Custom => match system_change(action_type) {
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

/// A JSON object being read field by field. `null` counts as absent.
pub struct Fields {
    prefix: &'static str,
    object: Map<String, Value>,
}

impl Fields {
    /// Starts to read a document that must be an object; `prefix` stands before field names in errors.
    ///
    /// # Errors
    /// When the document is no object.
    pub fn from_document(document: Value, prefix: &'static str) -> Result<Self, FieldError> {
        match document {
            Value::Object(object) => Ok(Self { prefix, object }),
            other => Err(wrong_type("body", &other, "a JSON object")),
        }
    }

    /// Takes a field as it is.
    pub fn take_value(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a field in which `null` is a value like any other.
    pub fn take_nullable(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name)
    }

    /// Takes a text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn take_text(&mut self, name: &str) -> Result<Option<String>, FieldError> {
        match self.take_value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(self.field_path(name), &other, "a string")),
        }
    }

    /// Takes a text that must be there.
    ///
    /// # Errors
    /// When it is absent (with `remedy`) or something else.
    pub fn required_text(&mut self, name: &str, remedy: &str) -> Result<String, FieldError> {
        self.take_text(name)?
            .ok_or_else(|| missing_field(self.field_path(name), remedy))
    }

    /// Takes a list of texts; absent: empty.
    ///
    /// # Errors
    /// When it is something else.
    pub fn take_texts(&mut self, name: &str) -> Result<Vec<String>, FieldError> {
        match self.take_value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong_type(
                        format!("{}[{index}]", self.field_path(name)),
                        &other,
                        "a string",
                    )),
                })
                .collect(),
            Some(other) => Err(wrong_type(
                self.field_path(name),
                &other,
                "a list of strings",
            )),
        }
    }

    /// Takes a yes or no.
    ///
    /// # Errors
    /// When it is something else.
    pub fn take_flag(&mut self, name: &str) -> Result<Option<bool>, FieldError> {
        match self.take_value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(self.field_path(name), &other, "true or false")),
        }
    }

    /// Takes a number. JSON has no NaN and no infinity, and the parser refuses what does not fit a double.
    ///
    /// # Errors
    /// When it is something else; a number in a string is something else.
    pub fn take_number(&mut self, name: &str) -> Result<Option<f64>, FieldError> {
        match self.take_value(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(wrong_type(self.field_path(name), &other, "a number")),
        }
    }

    /// What is left, as canonical JSON.
    #[must_use]
    pub fn into_rest_json(self) -> String {
        if self.object.is_empty() {
            "{}".to_owned()
        } else {
            Value::Object(self.object).to_string()
        }
    }

    /// Ends the reading of a closed object.
    ///
    /// # Errors
    /// When a field is left that nothing asked for.
    pub fn reject_unknown(&self) -> Result<(), FieldError> {
        match self.object.keys().next() {
            None => Ok(()),
            Some(name) => Err(FieldError::new(
                self.field_path(&clip_for_error(name)),
                "is not a field of this request",
                "check its spelling; what only a policy reads goes into parameters",
            )),
        }
    }

    fn field_path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

fn missing_field(field: impl Into<String>, remedy: &str) -> FieldError {
    FieldError::new(field, "is missing", remedy)
}

fn invalid_choice(field: &str, given: &str, allowed: &str) -> FieldError {
    FieldError::new(
        field,
        format!("is {:?}", clip_for_error(given)),
        format!("give {allowed}"),
    )
}

fn wrong_type(field: impl Into<String>, given: &Value, wanted: &str) -> FieldError {
    let given = match given {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {:?}", clip_for_error(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    FieldError::new(field, format!("is {given}"), format!("give {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ActionRequest, FieldError> {
        parse_action(parse_json(json.as_bytes())?)
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
        assert_eq!(sorted.symbol(), Some("BTC-USD"));
    }

    #[test]
    fn what_cannot_be_judged_names_its_field() {
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
            (trade(r#"{"symbol":"X","position_size_pct":1.01}"#), "parameters.position_size_pct"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"leverage":0}"#), "parameters.leverage"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"leverage":"1"}"#), "parameters.leverage"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"risk_reward_ratio":-1}"#), "parameters.risk_reward_ratio"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"side":"long"}"#), "parameters.side"),
            (trade(r#"{"symbol":"X","position_size_pct":0.1,"material_nonpublic":"no"}"#), "parameters.material_nonpublic"),
            (trade(r#"{"symbol":"B TC","position_size_pct":0.1}"#), "parameters.symbol"),
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
