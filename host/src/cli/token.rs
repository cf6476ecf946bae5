//! `ark token`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::model::ids::{Millis, Name};
use crate::model::principal::Role;
use crate::store::{Store, StoreConfig};
use crate::tokens::{NewToken, Tokens};

use super::remote::Remote;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Makes a token and prints it: this once, since only its digest is kept. The first must be an admin's; from then on every call needs one.
    Create {
        /// The name that is recorded with what its bearer does.
        #[arg(long)]
        name: String,
        /// What it allows: reader, submitter, approver, operator or admin.
        #[arg(long, value_parser = role)]
        role: Role,
        /// In whose name a submitter may propose; may be given more than once.
        #[arg(long = "agent", value_name = "NAME")]
        agents: Vec<Name>,
        /// How long it is good, e.g. 90d, 12h, 30m; without it until it is revoked.
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires: Option<Duration>,
        #[command(flatten)]
        place: Place,
    },
    /// Lists the tokens there are or were, without their secrets.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Revokes a token: a running host refuses it from then on.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the tokens are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The data directory of a host that does not run; without it the running host is asked.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Who does it, where no token says so.
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    #[command(flatten)]
    remote: Remote,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text)
        .ok_or_else(|| "give reader, submitter, approver, operator or admin".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let remedy = "give a number with d, h, m or s, e.g. 90d";
    let unit = text.chars().last().ok_or(remedy)?;
    let seconds: u64 = match unit {
        'd' => 86_400,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return Err(remedy.to_owned()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .and_then(|number| number.parse().ok())
        .filter(|number| (1..=1_000_000).contains(number))
        .ok_or(remedy)?;
    Ok(Duration::from_secs(number * seconds))
}

impl Place {
    /// The tokens of a data directory, if one is given.
    fn tokens(&self) -> anyhow::Result<Option<(Store, Tokens)>> {
        let Some(dir) = &self.data_dir else {
            return Ok(None);
        };
        let store = Store::open(&StoreConfig::in_dir(dir.clone()))?;
        let tokens = Tokens::load(store.clone())?;
        Ok(Some((store, tokens)))
    }

    /// A host with tokens takes the name from the token.
    fn by(&self) -> Option<&str> {
        (!self.remote.has_token()).then_some(self.by.as_str())
    }
}

pub(super) fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create {
            name,
            role,
            agents,
            expires,
            place,
        } => {
            let expires_at = expires.map(|time| {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                Millis(Millis::now().0.saturating_add(millis))
            });
            let text = match place.tokens()? {
                Some((store, tokens)) => {
                    let new = NewToken {
                        name,
                        role,
                        agents,
                        expires_at,
                    };
                    let made = tokens.create(new, &place.by);
                    store.close();
                    made?.0
                }
                None => {
                    let mut body = json!({"name": name, "role": role, "agents": agents, "expires_at_ms": expires_at});
                    if let Some(by) = place.by() {
                        body["by"] = json!(by);
                    }
                    let made = place.remote.post("/v1/tokens", &body)?;
                    match made["token"].as_str() {
                        Some(text) => text.to_owned(),
                        None => bail!("the host gave no token"),
                    }
                }
            };
            println!("{text}");
        }
        TokenCommand::List { place } => {
            let tokens = match place.tokens()? {
                Some((store, tokens)) => {
                    let list = json!(tokens.list());
                    store.close();
                    list
                }
                None => place.remote.get("/v1/tokens")?["tokens"].clone(),
            };
            for token in tokens.as_array().into_iter().flatten() {
                show(token);
            }
        }
        TokenCommand::Revoke { name, place } => {
            if let Some((store, tokens)) = place.tokens()? {
                let revoked = tokens.revoke(&name, &place.by);
                store.close();
                revoked?;
            } else {
                let by = place
                    .by()
                    .map(|by| format!("?by={}", super::remote::encoded(by)));
                let path = format!(
                    "/v1/tokens/{}{}",
                    super::remote::encoded(&name),
                    by.unwrap_or_default()
                );
                place.remote.send("DELETE", &path, None)?;
            }
            println!("{name} is revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(token: &Value) {
    let text = |field: &str| token[field].as_str().unwrap_or("").to_owned();
    let agents: Vec<&str> = token["agents"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let now = Millis::now().0;
    let standing = if !token["revoked_at_ms"].is_null() {
        "revoked"
    } else if token["expires_at_ms"]
        .as_u64()
        .is_some_and(|until| until <= now)
    {
        "expired"
    } else {
        "good"
    };
    println!(
        "{:<20} {:<10} {:<8} ark_{}_… {}",
        text("name"),
        text("role"),
        standing,
        text("id"),
        agents.join(",")
    );
}
