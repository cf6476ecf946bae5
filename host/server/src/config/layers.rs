//! The sources of the configuration, merged into one tree: defaults, the file, the environment, flags, each over the one before.
//!
//! The tree of the defaults holds every key: a key that is not in it is refused. The name of a key's environment variable is the key with
//! `_` for `.`, in upper case, after `ARK_`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::describe::{describe_problem, describe_syntax, suggest_key};
use super::error::{ConfigError, ValueSource};
use super::file::{ConfigFile, FREE_TABLES};
use super::keys::join_key;
use super::overrides::Overrides;
use super::quantities::read_quantity;

/// The file that is read when no other is named, in the working directory.
pub const DEFAULT_FILE: &str = "ark.toml";
/// The start of the name of each of ARK's environment variables.
const VARIABLE_PREFIX: &str = "ARK_";
/// Environment variables of ARK that are not keys, with their documentation.
pub const OTHER_VARIABLES: [(&str, &str); 14] = [
    (
        "ARK_CA",
        "The certificate authority that commands trust when they talk to a host (`--ca`).",
    ),
    ("ARK_CONFIG", "The configuration file (`--config`)."),
    (
        "ARK_HAPROXY",
        "The runtime socket of the `HAProxy` before the fronts, for `ark canary` and `ark rollback` (`--haproxy`): a path, or HOST:PORT.",
    ),
    (
        "ARK_LOG",
        "Which log lines are written, in the syntax of `RUST_LOG`, e.g. `info` or `ark_host::router=debug`.",
    ),
    (
        "ARK_LOG_FORMAT",
        "The form of log lines, before `telemetry.log_format`.",
    ),
    (
        "ARK_PROMETHEUS",
        "The Prometheus that scrapes the host, for commands that ask it (`--prometheus`).",
    ),
    (
        "ARK_REQUIRE_DIGEST",
        "Whether `ark agent pull` and `ark policy pull` refuse a reference without a digest (`--require-digest`): `true` or `false`.",
    ),
    (
        "ARK_SDK",
        "The directory `guest-sdk` for `ark agent new` and `ark policy new` (`--sdk`).",
    ),
    (
        "ARK_SECRET_KEY",
        "The key that encrypts secrets in the database: 64 hexadecimal digits. It is no key of the file, so that it is neither shown nor backed up with it.",
    ),
    (
        "ARK_SECRET_KEY_FILE",
        "A file (mode 0400) with that key, instead of the key itself.",
    ),
    (
        "ARK_SNAPSHOTS",
        "The directory in which snapshots are made and looked for, for `ark check`, `ark canary`, `ark upgrade` and `ark rollback` (`--snapshots`).",
    ),
    (
        "ARK_TOKEN",
        "The bearer token of commands that talk to a host (`--token`).",
    ),
    ("ARK_TOKEN_FILE", "A file with that token (`--token-file`)."),
    ("ARK_URL", "The host that commands talk to (`--url`)."),
];
/// A short name for the variable of `agents_dir`, and its full name.
const AGENTS_ALIAS: (&str, &str) = ("ARK_AGENTS", "ARK_AGENTS_DIR");
/// The merged sources.
#[derive(Debug, Clone)]
pub struct Layers {
    pub(super) tree: Value,
    /// The source of each value that is not a default, by key.
    sources: BTreeMap<String, ValueSource>,
}

impl Layers {
    /// Reads all sources of this process. Without a `path` the file is [`DEFAULT_FILE`], if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or a source is not of the right form.
    pub fn read(path: Option<&Path>, flags: &Overrides) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let path = path.or_else(|| default.is_file().then_some(default));
        let text = path
            .map(|path| {
                std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                    path: path.to_owned(),
                    source,
                })
            })
            .transpose()?;
        let file = path.map(Path::to_owned).zip(text.as_deref());
        Self::merge(file, std::env::vars_os(), flags)
    }

    /// Merges these sources. `file` is the path and the text of the file.
    ///
    /// # Errors
    /// A source is not of the right form.
    pub fn merge(
        file: Option<(PathBuf, &str)>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self {
            tree: to_tree(&ConfigFile::default(), ValueSource::Default)?,
            sources: BTreeMap::new(),
        };
        if let Some((path, text)) = file {
            layers.add_file(path, text)?;
        }
        layers.add_environment(environment)?;
        layers.add_flags(flags)?;
        Ok(layers)
    }

    /// The merged sources as one file.
    ///
    /// # Errors
    /// A value is of the wrong type; the error names the key and the source.
    pub(super) fn to_file(&self) -> Result<ConfigFile, ConfigError> {
        parse_file(&self.tree).map_err(|(key, problem)| ConfigError::Malformed {
            origin: self.source_of(&key),
            problem,
        })
    }

    /// The source of a key's value.
    pub(super) fn source_of(&self, key: &str) -> ValueSource {
        let part_of = |known: &str| {
            key.strip_prefix(known)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let found = self.sources.iter().find(|(known, _)| part_of(known));
        found.map_or(ValueSource::Default, |(_, source)| source.clone())
    }

    fn add_file(&mut self, path: PathBuf, text: &str) -> Result<(), ConfigError> {
        let source = ValueSource::File(path);
        let malformed = |problem: String| ConfigError::Malformed {
            origin: source.clone(),
            problem,
        };
        let table: toml::Table =
            toml::from_str(text).map_err(|error| malformed(describe_syntax(text, &error)))?;
        let mut known = collect_keys(&self.tree);
        let tables = self.tree.as_object().into_iter().flatten();
        known.extend(
            tables
                .filter(|(_, value)| value.is_object())
                .map(|(name, _)| name.clone()),
        );
        let mut values = Vec::new();
        flatten_table(&self.tree, table, "", &mut |key, value| {
            values.push((key, value));
        })
        .map_err(|wrong| match wrong {
            TableError::NotATable(key) => malformed(format!("{key} is a table; write [{key}]")),
            TableError::Unknown(key) => match find_variable(&key, &known) {
                Some(variable) => ConfigError::VariableOnly {
                    origin: source.clone(),
                    key,
                    variable,
                },
                None => ConfigError::UnknownKey {
                    origin: source.clone(),
                    suggestion: suggest_key(&key, &known),
                    key,
                },
            },
        })?;
        for (key, value) in values {
            let value = toml_to_json(&key, value).map_err(&malformed)?;
            let value = read_quantity(&key, value).map_err(&malformed)?;
            self.set_value(&key, value, source.clone());
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        let variables: BTreeMap<String, String> = collect_keys(&self.tree)
            .into_iter()
            .map(|key| (variable_name(&key), key))
            .collect();
        let others = OTHER_VARIABLES.map(|(name, _)| name);
        let mut given = BTreeMap::new();
        for (name, value) in environment {
            let Some(name) = name
                .to_str()
                .filter(|name| name.starts_with(VARIABLE_PREFIX))
            else {
                continue;
            };
            if others.contains(&name) || value.is_empty() {
                continue;
            }
            let source = ValueSource::Environment(name.to_owned());
            let malformed = |problem: String| ConfigError::Malformed {
                origin: source.clone(),
                problem,
            };
            let value = value
                .to_str()
                .ok_or_else(|| malformed("the value is not UTF-8".to_owned()))?;
            let variable = if name == AGENTS_ALIAS.0 {
                AGENTS_ALIAS.1
            } else {
                name
            };
            let Some(key) = variables.get(variable) else {
                if is_service_variable(name, value) {
                    continue;
                }
                let names: Vec<String> = variables
                    .keys()
                    .cloned()
                    .chain(others.map(str::to_owned))
                    .collect();
                return Err(ConfigError::UnknownKey {
                    suggestion: suggest_key(name, &names),
                    key: name.to_owned(),
                    origin: source,
                });
            };
            if given
                .insert(key.clone(), (source.clone(), value.to_owned()))
                .is_some()
            {
                let (short, long) = AGENTS_ALIAS;
                return Err(malformed(format!(
                    "{short} and {long} set the same key; set one of them"
                )));
            }
        }
        for (key, (source, text)) in given {
            let value =
                self.parse_variable(&key, &text)
                    .map_err(|problem| ConfigError::Malformed {
                        origin: source.clone(),
                        problem,
                    })?;
            self.set_value(&key, value, source);
        }
        Ok(())
    }

    /// The value of a variable: its text where the key takes text, else its text read as TOML.
    fn parse_variable(&self, key: &str, text: &str) -> Result<Value, String> {
        let check = |value: &Value| {
            let mut layers = self.clone();
            layers.set_value(key, value.clone(), ValueSource::Default);
            match parse_file(&layers.tree) {
                Err((at, problem)) if at.starts_with(key) => Err(problem),
                _ => Ok(()),
            }
        };
        let plain = read_quantity(key, Value::String(text.to_owned()))?;
        let Err(problem) = check(&plain) else {
            return Ok(plain);
        };
        let Ok(mut table) = toml::from_str::<toml::Table>(&format!("value = {text}")) else {
            return Err(problem);
        };
        let value = table.remove("value").ok_or(problem)?;
        let value = toml_to_json(key, value)?;
        check(&value).map(|()| value)
    }

    fn add_flags(&mut self, flags: &Overrides) -> Result<(), ConfigError> {
        let Value::Object(flags) = to_tree(flags, ValueSource::Flag)? else {
            return Ok(());
        };
        for (key, mut value) in flags {
            if let (Value::Array(added), Some(Value::Array(names))) =
                (&mut value, self.tree.get(&key))
            {
                added.splice(0..0, names.iter().cloned());
            }
            match value {
                // The flags of a table: each sets a key of it.
                Value::Object(keys) => {
                    for (name, value) in keys {
                        self.set_value(&join_key(&key, &name), value, ValueSource::Flag);
                    }
                }
                value => self.set_value(&key, value, ValueSource::Flag),
            }
        }
        Ok(())
    }

    fn set_value(&mut self, key: &str, value: Value, source: ValueSource) {
        let mut place = &mut self.tree;
        for part in key.split('.') {
            let Value::Object(map) = place else { return };
            place = map.entry(part).or_insert(Value::Null);
        }
        *place = value;
        self.sources.insert(key.to_owned(), source);
    }
}

/// Whether an orchestrator makes a variable of this name for a service or container called `ark` or `ark-…`, where another runs in the same
/// namespace or network: `ARK_PORT=tcp://10.0.0.1:8000`, `ARK_SERVICE_HOST`, `ARK_PORT_8000_TCP_ADDR` and so on (Kubernetes, Docker's links).
/// Nobody has set it for this host.
fn is_service_variable(name: &str, value: &str) -> bool {
    const ENDS: [&str; 2] = ["_SERVICE_HOST", "_SERVICE_PORT"];
    const PARTS: [&str; 2] = ["_SERVICE_PORT_", "_ENV_"];
    let protocols = ["tcp://", "udp://", "sctp://"];
    ENDS.iter().any(|end| name.ends_with(end))
        || PARTS.iter().any(|part| name.contains(part))
        || (name.ends_with("_PORT") && protocols.iter().any(|it| value.starts_with(it)))
        || (name.ends_with("_NAME") && value.starts_with('/'))
        || is_port_variable(name)
}

/// Whether a name is that of a port: `…_PORT_8000_TCP`, alone or followed by `_PROTO`, `_PORT` or `_ADDR`.
fn is_port_variable(name: &str) -> bool {
    let name = ["_PROTO", "_PORT", "_ADDR", "_START", "_END"]
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .unwrap_or(name);
    ["_TCP", "_UDP", "_SCTP"]
        .iter()
        .find_map(|protocol| name.strip_suffix(protocol))
        .and_then(|name| name.rsplit_once("_PORT_"))
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// The name of a key's environment variable.
pub(super) fn variable_name(key: &str) -> String {
    format!(
        "{VARIABLE_PREFIX}{}",
        key.replace('.', "_").to_ascii_uppercase()
    )
}

/// The variable that an unknown key of the file stands for, where no key of some table has its name. The key that encrypts secrets is known in any table: a line
/// below the head of a table belongs to it.
fn find_variable(unknown: &str, known: &[String]) -> Option<&'static str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let name = last(unknown);
    let is_placed = name == unknown || name.starts_with("secret_key");
    if !is_placed || known.iter().any(|key| last(key) == name) {
        return None;
    }
    let wanted = variable_name(&name);
    let mut variables = OTHER_VARIABLES.iter().map(|(variable, _)| *variable);
    variables.find(|variable| *variable == wanted)
}

/// Adds every key with its value. Tables are gone into; lists, and tables whose keys are the operator's own, are values.
pub(super) fn collect_leaves<'a>(
    tree: &'a Value,
    path: &str,
    found: &mut Vec<(String, &'a Value)>,
) {
    match tree {
        Value::Object(map) if !map.is_empty() && !FREE_TABLES.contains(&path) => {
            for (name, value) in map {
                collect_leaves(value, &join_key(path, name), found);
            }
        }
        value => found.push((path.to_owned(), value)),
    }
}

fn collect_keys(tree: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_leaves(tree, "", &mut found);
    found.into_iter().map(|(key, _)| key).collect()
}

fn to_tree(values: &impl Serialize, origin: ValueSource) -> Result<Value, ConfigError> {
    serde_json::to_value(values).map_err(|error| ConfigError::Malformed {
        origin,
        problem: error.to_string(),
    })
}

enum TableError {
    Unknown(String),
    NotATable(String),
}

/// Calls `found` for every key of a table of the file. `shape` is the same table of the defaults, `path` its name.
fn flatten_table(
    shape: &Value,
    table: toml::Table,
    path: &str,
    found: &mut impl FnMut(String, toml::Value),
) -> Result<(), TableError> {
    let empty = Map::new();
    let shape = shape.as_object().unwrap_or(&empty);
    for (name, value) in table {
        let key = join_key(path, &name);
        match (shape.get(&name), value) {
            (None, _) => return Err(TableError::Unknown(key)),
            (Some(inner @ Value::Object(map)), value)
                if !map.is_empty() && !FREE_TABLES.contains(&key.as_str()) =>
            {
                let toml::Value::Table(table) = value else {
                    return Err(TableError::NotATable(key));
                };
                flatten_table(inner, table, &key, found)?;
            }
            (Some(_), value) => found(key, value),
        }
    }
    Ok(())
}

fn toml_to_json(key: &str, value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .ok_or_else(|| format!("{key} is {number}; give a finite number"))?
            .into(),
        toml::Value::Boolean(yes) => yes.into(),
        toml::Value::Datetime(_) => {
            return Err(format!("{key} is a date; no key takes one"));
        }
        toml::Value::Array(items) => items
            .into_iter()
            .map(|item| toml_to_json(key, item))
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(name, item)| Ok((name, toml_to_json(key, item)?)))
            .collect::<Result<Map<_, _>, String>>()?
            .into(),
    })
}

/// The tree as a file, or the key at fault and what is wrong with it.
fn parse_file(tree: &Value) -> Result<ConfigFile, (String, String)> {
    serde_path_to_error::deserialize::<_, ConfigFile>(tree).map_err(|error| {
        let path = error.path().to_string();
        let problem = describe_problem(&path, &error.into_inner().to_string());
        (path, problem)
    })
}
