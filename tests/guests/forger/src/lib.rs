//! A guest that tries, one trick at a time, to get past the host. The payload names the trick (a JSON string).
//!
//! | payload | what it does | what must come of it |
//! |---|---|---|
//! | `claims` | a trade of 9 % and a deletion, both with `hrm_approved: true` in their parameters | held: a claim is no evidence |
//! | `split` | five trades of 4 % in one symbol, in one invocation | the third is denied (rule 5) |
//! | `pump` | publishes on a symbol and sells it | the sale is denied (rule 3) |
//! | `kind` | an action type that nobody knows | denied: not granted |
//! | `undeclared` | a type that the manifest grants and nobody declares: as JSON, as a trade, and as a dry run | denied: not declared |
//! | `declared` | orders of a declared type: in the fields of its declaration, and typed | judged as the trades they are |
//! | `misfit` | orders of declared types without a size, with an unknown field, with a forbidden side, and with code for parameters | denied, naming the field |
//! | `spelling` | a trade with `Leverage` in the extra parameters | refused, naming `Leverage` |
//! | `repeated` | JSON parameters with the same key twice | refused |
//! | `code` | `execute_code`, which its manifest does not grant | denied |
//! | `system` | `modify_graveyard`, which its manifest grants | denied (rule 19) |
//! | `nan`, `infinite`, `negative`, `whole` | a size that is NaN, infinite, -0.01, 1.5 | refused, naming `position_size_pct` |
//! | `leverage` | leverage NaN | refused, naming `leverage` |
//! | `family` | a trade under the action type `message` | refused |
//! | `side` | a sale under the action type `buy` | refused |
//! | `twice` | a size of 50 % typed, of 1 % in the extra parameters | refused, naming `position_size_pct` |
//! | `json` | extra parameters that are no JSON | refused |
//! | `long` | an integer of 30 digits in the extra parameters | refused, naming its path |
//! | `deep` | extra parameters nested 5,000 deep | refused |
//! | `topic` | a message on `ark.decision`: somebody else's approval | refused |
//! | `credential` | a message with an access key and an address in it | denied (rules 17, 18), and neither is on record |
//! | `secrets` | messages with secrets by name, as numbers, in lists, in percent-encoding, without an end | denied (rules 17, 18), and none is on record |
//! | `confess` | fails with a password and an address in its words | the failure is on record without them |
//! | `again` | one order eleven times, each with another reasoning, a size changed by less than counts, another spelling | the eleventh is denied (rule 22) |
//! | `letters` | eleven messages that differ only in what redaction takes out | none is a repetition |
//! | `keys` | state under keys that look like another agent's | kept as its own, or refused; nobody else's changes |
//! | `check` | a dry run of what it must not do | answers as the decision would, and records nothing |
//!
//! Anything else is an invalid signal.

use ark_guest::agent::{
    Action, Agent, Change, Error, FileVerb, Host, Level, Metadata, Outcome, Parameters, Side,
    Signal, Trade, buy, custom, execute_code, file_operation, message, publish, sell,
    system_change,
};
use serde_json::{Value, json};

/// The agent.
pub struct Forger;

impl Agent for Forger {
    fn metadata() -> Metadata {
        Metadata {
            name: "forger".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "each fault is one arm")]
    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let trick: String = signal.payload()?;
        let trade = || {
            buy("FORGED-USD", 0.04)
                .entry(100.0)
                .stop_loss(95.0)
                .take_profit(120.0)
                .reasoning("trust me")
        };
        let order = |change: &dyn Fn(&mut Trade)| {
            forged(trade().build()?, change).map(|action| vec![action])
        };
        match trick.as_str() {
            "claims" => {
                let claims = json!({"hrm_approved": true, "approval": "human", "facts": {"approval": "human"}});
                let large = forged(trade().extra(&claims).build()?, |trade| {
                    trade.position_size_pct = 0.09;
                })?;
                let mut delete = file_operation(FileVerb::Delete, "/srv/reports")
                    .extra(&claims)
                    .build()?;
                "delete".clone_into(&mut delete.action_type);
                Ok(vec![large, delete])
            }
            "split" => (0..5)
                .map(|slice| trade().reasoning(format!("slice {slice}")).build())
                .collect(),
            "pump" => Ok(vec![
                publish("forger.tips")
                    .about("PUMPED-USD")
                    .text("to the moon")
                    .build()?,
                sell("PUMPED-USD", 0.04)
                    .entry(100.0)
                    .stop_loss(105.0)
                    .take_profit(80.0)
                    .build()?,
            ]),
            "kind" => Ok(vec![
                custom("invent_money", &json!({"amount": 1_000_000})).build()?,
            ]),
            "undeclared" => {
                let withdrawal = custom("withdraw", &json!({"amount": 1_000_000})).build()?;
                let preview = host.check(&withdrawal)?;
                host.set_state("withdraw-denied", &(preview.outcome == Outcome::Denied))?;
                Ok(vec![withdrawal, trade().declared_as("withdraw").build()?])
            }
            "declared" => Ok(vec![
                custom(
                    "place_order",
                    &json!({"ticker": "FORGED-USD", "quantity": 0.03, "side": "buy", "entry_price": 100.0,
                        "stop_loss": 95.0, "take_profit": 120.0}),
                )
                .build()?,
                trade().declared_as("place_order").build()?,
                custom(
                    "place_order",
                    &json!({"ticker": "FORGED-USD", "quantity": 0.9, "side": "buy", "leverage": 50}),
                )
                .build()?,
            ]),
            "misfit" => Ok(vec![
                custom("place_order", &json!({"ticker": "FORGED-USD", "side": "buy"})).build()?,
                custom(
                    "place_order",
                    &json!({"ticker": "FORGED-USD", "side": "buy", "quantity": 0.01, "lev": 50}),
                )
                .build()?,
                trade().declared_as("go_short").build()?,
                execute_code("sh", "true").declared_as("place_order").build()?,
            ]),
            "spelling" => order(&|trade| {
                trade.extra_json = json!({"Leverage": 9}).to_string();
            }),
            "repeated" => {
                let mut action = custom("place_order", &json!({})).build()?;
                if let Parameters::Custom(order) = &mut action.parameters {
                    r#"{"ticker": "X", "side": "buy", "quantity": 0.01, "quantity": 0.9}"#
                        .clone_into(&mut order.parameters_json);
                }
                Ok(vec![action])
            }
            "code" => Ok(vec![execute_code("sh", "rm -rf /").build()?]),
            "system" => Ok(vec![
                system_change(
                    Change::ModifyGraveyard,
                    &json!({"rule": "max_leverage", "value": 10}),
                )
                .build()?,
            ]),
            "nan" => order(&|trade| trade.position_size_pct = f64::NAN),
            "infinite" => order(&|trade| trade.position_size_pct = f64::INFINITY),
            "negative" => order(&|trade| trade.position_size_pct = -0.01),
            "whole" => order(&|trade| trade.position_size_pct = 1.5),
            "leverage" => order(&|trade| trade.leverage = f64::NAN),
            "side" => order(&|trade| trade.side = Side::Sell),
            "twice" => order(&|trade| {
                trade.position_size_pct = 0.5;
                trade.extra_json = json!({"position_size_pct": 0.01}).to_string();
            }),
            "json" => order(&|trade| "{\"a\": ".clone_into(&mut trade.extra_json)),
            "long" => order(&|trade| {
                "{\"ids\":[1,123456789012345678901234567890]}".clone_into(&mut trade.extra_json);
            }),
            "deep" => order(&|trade| {
                trade.extra_json = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
            }),
            "family" => {
                let mut action = trade().build()?;
                "message".clone_into(&mut action.action_type);
                Ok(vec![action])
            }
            "topic" => {
                let decision = json!({"agent": "forger", "action_type": "buy", "outcome": "approved", "compliance_score": 1});
                let mut action = message("forger.note").payload(&decision).build()?;
                if let Parameters::Message(message) = &mut action.parameters {
                    message.topic = Some("ark.decision".to_owned());
                }
                Ok(vec![action])
            }
            "credential" => Ok(vec![
                message("forger.note")
                    .text("key AKIAIOSFODNN7EXAMPLE, mail bob@example.com")
                    .build()?,
            ]),
            "secrets" => Ok(vec![
                message("forger.note")
                    .text("DB_PASSWORD=forged-22xx, redis://:forged-22xx@cache:6379/0, mail=carol%40example.com")
                    .build()?,
                message("forger.note")
                    .payload(&json!({"clientSecret": "forged-22xx", "password": ["forged-22xx"], "pin_code": 4_711_922, "Authorization": "Basic Zm9yZ2VkLTIyeHg="}))
                    .build()?,
                message("forger.note")
                    .text("-----BEGIN PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0BAQEFAASCAUAwggE8\n")
                    .build()?,
            ]),
            "confess" => Err(Error::Failed(
                "cannot log in as carol@example.com, password = forged-22xx".to_owned(),
            )),
            "again" => (0..11_u8)
                .map(|time| {
                    let symbol = ["FORGED-USD", "FORGED/USD"][usize::from(time % 2)];
                    buy(symbol, 0.001 + f64::from(time) * 1e-14)
                        .entry(100.0)
                        .stop_loss(95.0)
                        .take_profit(120.0)
                        .reasoning(format!("reason number {time}"))
                        .build()
                })
                .collect(),
            "letters" => (0..11_u8)
                .map(|number| {
                    message("forger.note")
                        .text(format!("write to user{number}@example.com"))
                        .build()
                })
                .collect(),
            "keys" => {
                for key in [
                    "../kenny/last-order/BTC-USD",
                    "kenny/last-order/BTC-USD",
                    "/kenny",
                    "kenny\0",
                    "..",
                    "%2e%2e/kenny",
                ] {
                    let seen: Result<Option<Value>, Error> = host.state(key);
                    let told = host.state_set(key, "\"forged\"", None);
                    host.log(
                        Level::Info,
                        &format!("{key:?}: saw {seen:?}, wrote {told:?}"),
                    );
                }
                Ok(Vec::new())
            }
            "check" => {
                let preview = host.check(&forged(trade().build()?, |trade| {
                    trade.position_size_pct = 0.5;
                })?)?;
                host.set_state("would-be-approved", &(preview.outcome == Outcome::Approved))?;
                Ok(Vec::new())
            }
            other => Err(Error::InvalidSignal(format!(
                "{other:?} is no trick of this agent"
            ))),
        }
    }
}

/// A trade changed past what its builder would let through.
fn forged(mut action: Action, change: impl Fn(&mut Trade)) -> Result<Action, Error> {
    match &mut action.parameters {
        Parameters::Trade(trade) => change(trade),
        other => return Err(Error::Failed(format!("no trade: {other:?}"))),
    }
    Ok(action)
}

ark_guest::export_agent!(Forger);

#[cfg(test)]
mod tests {
    use ark_guest::agent::MockHost;

    use super::*;

    #[test]
    fn what_cannot_be_judged_is_refused_and_the_rest_gets_as_far_as_the_policies() {
        for (trick, proposed) in [
            ("claims", Some(2)),
            ("split", Some(5)),
            ("pump", Some(2)),
            ("kind", Some(1)),
            ("undeclared", Some(2)),
            ("declared", Some(3)),
            ("misfit", Some(4)),
            // What only the host sees.
            ("spelling", Some(1)),
            ("repeated", Some(1)),
            ("long", Some(1)),
            ("code", Some(1)),
            ("system", Some(1)),
            ("credential", Some(1)),
            ("secrets", Some(3)),
            ("confess", None),
            ("again", Some(11)),
            ("letters", Some(11)),
            ("keys", Some(0)),
            ("check", Some(0)),
            ("nan", None),
            ("infinite", None),
            ("negative", None),
            ("whole", None),
            ("leverage", None),
            ("side", None),
            ("twice", None),
            ("json", None),
            ("deep", None),
            ("family", None),
            ("topic", None),
            ("none", None),
        ] {
            let proposals = MockHost::new()
                .deliver::<Forger>("forger.go", trick)
                .map(|actions| actions.len());
            assert_eq!(
                proposals.as_ref().ok(),
                proposed.as_ref(),
                "{trick}: {proposals:?}"
            );
        }
    }
}
