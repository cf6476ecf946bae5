//! `ark token`: who may call the API.
//!
//! A running host is told over HTTP, so that it notices at once; a stopped one is told through its data directory, which is also the way
//! back in when no administrator's token is left.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use ark_host::api::access::TABLE;
use ark_host::api::{agents_of, token_view};
use ark_model::ids::{Millis, Name};
use ark_model::principal::Role;
use ark_store::{
    NewToken, Operation, OperatorChange, ReadOnlyStore, SecretKey, Store, StoreConfig, TokenChange,
    TokenSecret, Unit,
};

use super::remote::Remote;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Makes a token and prints its secret, which nobody can read later. The first must be an admin's; from then on every call needs one.
    Create {
        /// reader, submitter, approver, operator or admin.
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// What the audit log is to name for everything done with it; given once, for good.
        #[arg(long)]
        name: Name,
        /// A name in which a submitter may propose; may be given more than once.
        #[arg(long)]
        agent: Vec<String>,
        /// After so long it is no longer taken, e.g. 90d, 12h, 30m [default: never].
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        expires: Option<Duration>,
        #[command(flatten)]
        place: TokenTarget,
    },
    /// Lists the tokens, revoked and expired ones too.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: TokenTarget,
    },
    /// Revokes a token: a running host takes it no more from that moment on.
    Revoke {
        /// Its name.
        name: Name,
        #[command(flatten)]
        place: TokenTarget,
    },
    /// Prints which role each call of the API needs.
    Roles {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct TokenTarget {
    /// The data directory of a host that is stopped, instead of a running host.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Who does it, where no token says so.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text)
        .ok_or_else(|| "give reader, submitter, approver, operator or admin".to_owned())
}

fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "give an age such as 90d, 12h or 30m".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .and_then(|number| number.parse().ok())
        .filter(|number| (1..=36_500 * 86_400).contains(number))
        .ok_or_else(wrong)?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

pub(super) fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create {
            role,
            name,
            agent,
            expires,
            place,
        } => {
            let agents = agents_of(role, &agent)
                .map_err(|error| anyhow::anyhow!("--agent: {error}; {}", error.remedy))?;
            let expires_at = expires.map(|age| {
                let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                Millis(Millis::now().0.saturating_add(millis))
            });
            let new = |hash| NewToken {
                name: name.clone(),
                hash,
                role,
                agents: agents.clone(),
                expires_at,
                unproved: false,
            };
            let secret = match &place.data_dir {
                Some(dir) => {
                    let secret =
                        TokenSecret::generate().context("the system gives no randomness")?;
                    change_offline(dir, &place, TokenChange::Create(new(secret.hash())))?;
                    secret.reveal().to_owned()
                }
                None => {
                    let body = json!({
                        "name": name, "role": role, "agents": agents, "expires_at_ms": expires_at, "by": place.actor(),
                    });
                    let made = place.remote.post("/v1/tokens", &body)?;
                    let secret = made.get("token").and_then(Value::as_str);
                    secret.context("the host answers no token")?.to_owned()
                }
            };
            eprintln!(
                "ark: token {name} ({}) made; keep it, it is not shown again",
                role.as_str()
            );
            println!("{secret}");
        }
        TokenCommand::List { json, place } => {
            let tokens = match &place.data_dir {
                Some(dir) => {
                    let mut rows = ReadOnlyStore::open(dir)?.all_tokens()?;
                    rows.sort_by(|one, other| one.name.cmp(&other.name));
                    let now = Millis::now();
                    rows.iter().map(|row| json!(token_view(row, now))).collect()
                }
                None => {
                    let mut tokens = Vec::new();
                    let mut path = "/v1/tokens?limit=500".to_owned();
                    loop {
                        let mut answer = place.remote.get(&path)?;
                        match answer.get_mut("tokens").map(Value::take) {
                            Some(Value::Array(page)) => tokens.extend(page),
                            _ => bail!("the host answers no list of tokens"),
                        }
                        // A cursor is a name: nothing in it needs an escape.
                        match answer["next_cursor"].as_str() {
                            Some(next) => path = format!("/v1/tokens?limit=500&cursor={next}"),
                            None => break tokens,
                        }
                    }
                }
            };
            if json {
                println!("{:#}", Value::Array(tokens));
            } else {
                print_tokens(&tokens);
            }
        }
        TokenCommand::Revoke { name, place } => {
            match &place.data_dir {
                Some(dir) => change_offline(dir, &place, TokenChange::Revoke(name.clone()))?,
                None => {
                    let by = place.actor().map_or_else(String::new, |by| {
                        let by = percent_encoding::utf8_percent_encode(
                            by,
                            percent_encoding::NON_ALPHANUMERIC,
                        );
                        format!("?by={by}")
                    });
                    place
                        .remote
                        .send("DELETE", &format!("/v1/tokens/{name}{by}"), None)?;
                }
            }
            println!("{name}: revoked");
        }
        TokenCommand::Roles { json } => {
            if json {
                let rows: Vec<Value> = TABLE
                    .iter()
                    .map(|row| json!({"method": row.method, "path": row.path, "role": row.role}))
                    .collect();
                println!("{:#}", Value::Array(rows));
            } else {
                for row in TABLE {
                    let role = row.role.map_or("no token", Role::as_str);
                    println!("{role:<10} {:<6} {}", row.method, row.path);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl TokenTarget {
    /// Who is to be recorded; with a token it is the token's name.
    fn actor(&self) -> Option<&str> {
        self.by.as_deref().filter(|_| !self.remote.has_token())
    }
}

/// Changes the tokens of a host that is stopped.
fn change_offline(dir: &Path, place: &TokenTarget, change: TokenChange) -> anyhow::Result<()> {
    let store = Store::open(&StoreConfig {
        secret_key: SecretKey::from_environment()?,
        ..StoreConfig::in_dir(dir)
    })
    .context("with a running host, leave --data-dir out: the host is told over HTTP")?;
    let unit = Unit {
        operations: vec![Operation {
            by: place.by.clone().unwrap_or_else(|| "operator".to_owned()),
            change: OperatorChange::Token(change),
        }],
        at: Millis::now(),
        ..Unit::default()
    };
    let result = store.commit(unit);
    store.close();
    result?;
    Ok(())
}

fn print_tokens(tokens: &[Value]) {
    println!(
        "{:<20} {:<10} {:<8} {:<20} agents",
        "name", "role", "status", "expires (ms, UTC)"
    );
    let text = |token: &Value, name: &str| {
        token
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    for token in tokens {
        let end = token.get("expires_at_ms").and_then(Value::as_u64);
        let agents: Vec<&str> = token
            .get("agents")
            .and_then(Value::as_array)
            .map(|agents| agents.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        println!(
            "{:<20} {:<10} {:<8} {:<20} {}",
            text(token, "name"),
            text(token, "role"),
            text(token, "status"),
            end.map_or_else(|| "never".to_owned(), |end| end.to_string()),
            agents.join(", ")
        );
    }
}
