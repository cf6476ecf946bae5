//! `ark token`: who may call the API.
//!
//! A running host is changed over HTTP and notices at once. A stopped host is changed through its data directory, which is also the way
//! back in when no administrator's token is left.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use ark_client::members::{array_field, text_field};
use ark_host::api::access::TABLE;
use ark_host::api::{advise_on_lockout, agents_of, grants_of, token_view};
use ark_model::ids::{Millis, Name};
use ark_model::principal::{ActionGrant, Role};
use ark_store::{
    AttributedChange, NewToken, OperatorChange, ReadOnlyStore, SecretKey, Store, StoreConfig,
    TokenChange, TokenSecret, Unit,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::output::{print_empty, print_json, print_line, print_notice};
use crate::time::{format_millis, parse_end};

use super::connection::Connection;
use super::request::ApiRequest;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token and prints its secret, which cannot be read later. The first token must be an admin's; from then on every call needs one.
    Create {
        /// The role: reader, submitter, executor, approver, operator or admin.
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// The name that the audit log records for everything done with the token. A name is never given to a second token.
        #[arg(long)]
        name: Name,
        /// A name in which a submitter may propose; may be given more than once.
        #[arg(long)]
        agent: Vec<String>,
        /// What a submitter may propose, which must be stated: '*' for everything, or action types and families with commas between them, e.g.
        /// `trade,family:message,place_order`; '' for nothing.
        #[arg(long, value_name = "LIST")]
        actions: Option<String>,
        /// When the token expires: an age, e.g. 90d, 12h, 30m, or a moment as RFC 3339, e.g. 2030-01-31T18:00:00Z [default: never].
        #[arg(long, value_name = "AGE", value_parser = parse_end)]
        expires: Option<Millis>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Lists the tokens, revoked and expired ones too.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Revokes a token. A running host refuses it from that moment on.
    Revoke {
        /// The name of the token.
        name: Name,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Prints which role each call of the API needs.
    Roles {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Where the tokens are changed: in a running host, or in the data directory of a stopped one.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The data directory of a stopped host, instead of a running host.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The name that the audit log records, where no token gives one.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl TargetArgs {
    /// The name to record; `None` where a token gives it.
    fn actor(&self) -> Option<&str> {
        self.by.as_deref().filter(|_| !self.connection.has_token())
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text)
        .ok_or_else(|| "give reader, submitter, executor, approver, operator or admin".to_owned())
}

pub(crate) fn run_command(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create {
            role,
            name,
            agent,
            actions,
            expires,
            target,
        } => {
            let agents = agents_of(role, &agent).map_err(|error| error.of_field("--agent"))?;
            let grants = actions.as_deref().map(split_list);
            let actions =
                grants_of(role, grants.as_deref()).map_err(|error| error.of_field("--actions"))?;
            let order = NewTokenRequest {
                role,
                name: &name,
                agents,
                actions,
                expires,
            };
            let secret = create_token(order, &target)?;
            print_notice!(
                "token {name} ({}) made; keep its secret, it is not shown again",
                role.as_str()
            );
            print_line!("{secret}");
        }
        TokenCommand::List { json, target } => {
            let tokens = match &target.data_dir {
                Some(dir) => read_tokens(dir)?,
                None => fetch_tokens(&target.connection)?,
            };
            if json {
                print_json(&tokens)?;
            } else {
                print_tokens(&tokens);
            }
        }
        TokenCommand::Revoke { name, target } => {
            let hint = match &target.data_dir {
                Some(dir) => {
                    change_offline(dir, &target, TokenChange::Revoke(name.clone()))?;
                    let rows = ReadOnlyStore::open(dir)?.all_tokens()?;
                    advise_on_lockout(&rows, &name, Millis::now()).map(str::to_owned)
                }
                None => {
                    let answer = ApiRequest::new("DELETE", &["v1", "tokens", name.as_str()])
                        .with_query("by", target.actor())
                        .send(&target.connection)?;
                    answer["hint"].as_str().map(str::to_owned)
                }
            };
            print_line!("{name}: revoked");
            if let Some(hint) = hint {
                print_notice!("{hint}");
            }
        }
        TokenCommand::Roles { json } => {
            if json {
                let rows: Vec<Value> = TABLE
                    .iter()
                    .map(|row| json!({"method": row.method, "path": row.path, "role": row.role}))
                    .collect();
                print_json(&rows)?;
            } else {
                for row in TABLE {
                    let role = row.role.map_or("no token", Role::as_str);
                    print_line!("{role:<10} {:<6} {}", row.method, row.path);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A token to be made.
struct NewTokenRequest<'a> {
    role: Role,
    name: &'a Name,
    agents: Vec<Name>,
    actions: Vec<ActionGrant>,
    expires: Option<Millis>,
}

/// The parts of a list with commas between them.
fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Makes a token and returns its secret.
fn create_token(order: NewTokenRequest<'_>, target: &TargetArgs) -> anyhow::Result<String> {
    let NewTokenRequest {
        role,
        name,
        agents,
        actions,
        expires: expires_at,
    } = order;
    let Some(dir) = &target.data_dir else {
        let made = ApiRequest::new("POST", &["v1", "tokens"])
            .with_fields(&[
                ("name", json!(name)),
                ("role", json!(role)),
                ("agents", json!(agents)),
                ("actions", json!(actions)),
                ("expires_at_ms", json!(expires_at)),
                ("by", json!(target.actor())),
            ])
            .send(&target.connection)?;
        let secret = made.get("token").and_then(Value::as_str);
        return Ok(secret
            .context("the host's answer holds no token")?
            .to_owned());
    };
    let secret = TokenSecret::generate().context("the system gives no randomness")?;
    let token = NewToken {
        name: name.clone(),
        hash: secret.hash(),
        role,
        agents,
        actions,
        expires_at,
        unproved: false,
    };
    change_offline(dir, target, TokenChange::Create(token))?;
    Ok(secret.reveal().to_owned())
}

/// The tokens in the data directory of a host, by name.
fn read_tokens(dir: &Path) -> anyhow::Result<Vec<Value>> {
    let mut rows = ReadOnlyStore::open(dir)?.all_tokens()?;
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    let now = Millis::now();
    Ok(rows.iter().map(|row| json!(token_view(row, now))).collect())
}

/// The tokens of a running host, by name.
fn fetch_tokens(connection: &Connection) -> anyhow::Result<Vec<Value>> {
    let answer = connection.read_list(&["v1", "tokens"], "tokens")?;
    Ok(array_field(&answer, "tokens").to_vec())
}

/// Changes the tokens of a stopped host.
fn change_offline(dir: &Path, target: &TargetArgs, change: TokenChange) -> anyhow::Result<()> {
    let store = Store::open(&StoreConfig {
        secret_key: SecretKey::from_environment()?,
        ..StoreConfig::in_dir(dir)
    })
    .context("with a running host, leave --data-dir out: the host is changed over HTTP")?;
    let unit = Unit {
        operator_changes: vec![AttributedChange {
            by: target.by.clone().unwrap_or_else(|| "operator".to_owned()),
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
    if tokens.is_empty() {
        print_empty!("no tokens; `ark token create --role admin --name NAME` makes the first");
        return;
    }
    print_line!(
        "{:<20} {:<10} {:<8} {:<25} {:<20} actions",
        "name",
        "role",
        "status",
        "expires",
        "agents"
    );
    for token in tokens {
        let end = token.get("expires_at_ms").filter(|end| !end.is_null());
        print_line!(
            "{:<20} {:<10} {:<8} {:<25} {:<20} {}",
            text_field(token, "name"),
            text_field(token, "role"),
            text_field(token, "status"),
            end.map_or_else(|| "never".to_owned(), format_millis),
            join_texts(token, "agents"),
            join_texts(token, "actions")
        );
    }
}

fn join_texts(token: &Value, field: &str) -> String {
    let texts: Vec<&str> = array_field(token, field)
        .iter()
        .filter_map(Value::as_str)
        .collect();
    texts.join(", ")
}
