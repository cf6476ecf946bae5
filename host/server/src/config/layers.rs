//! The sources of the configuration, merged into one tree: defaults, the file, the environment, flags, each over the one before.
//!
//! The tree of the defaults ([`ConfigFile::defaults`]) is the table of all keys: what is not in it is refused, and an environment
//! variable's name is a key's path with `_` for `.`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{ConfigError, ConfigFile, Overrides};

/// What starts the name of every variable of ARK's.
const VARIABLE_PREFIX: &str = "ARK_";
/// Variables that are no keys: which file, how to log, secrets, and what the commands that talk to a running host need.
const OTHER_VARIABLES: [&str; 10] = [
    "ARK_CA",
    "ARK_CONFIG",
    "ARK_LOG",
    "ARK_LOG_FORMAT",
    "ARK_SDK",
    "ARK_SECRET_KEY",
    "ARK_SECRET_KEY_FILE",
    "ARK_TOKEN",
    "ARK_TOKEN_FILE",
    "ARK_URL",
];
/// A short name of long standing for a key's variable.
const AGENTS_ALIAS: (&str, &str) = ("ARK_AGENTS", "ARK_AGENTS_DIR");
/// How alike a name must be to be suggested, by Jaro and Winkler: 1 is the same.
const MIN_SIMILARITY: f64 = 0.85;

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing was said.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// The merged sources.
#[derive(Debug, Clone)]
pub struct Layers {
    pub(super) tree: Value,
    /// Where each value is from that is not a default, by its key.
    pub(super) sources: BTreeMap<String, Source>,
}

impl Layers {
    /// Reads all sources of this process. `path` absent: `ark.toml` in the working directory if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or a source is not of the right form.
    pub fn read(path: Option<&Path>, flags: &Overrides) -> Result<Self, ConfigError> {
        let standard = Path::new("ark.toml");
        let path = path.or_else(|| standard.is_file().then_some(standard));
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

    /// As [`Layers::read`], from these sources.
    ///
    /// # Errors
    /// A source is not of the right form.
    pub fn merge(
        file: Option<(PathBuf, &str)>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Overrides,
    ) -> Result<Self, ConfigError> {
        let tree = serde_json::to_value(ConfigFile::defaults()).map_err(|error| {
            ConfigError::Malformed {
                origin: Source::Default,
                problem: error.to_string(),
            }
        })?;
        let mut layers = Self {
            tree,
            sources: BTreeMap::new(),
        };
        if let Some((path, text)) = file {
            layers.add_file(path, text)?;
        }
        layers.add_environment(environment)?;
        layers.add_flags(flags);
        Ok(layers)
    }

    /// The merged sources as the file they would be.
    ///
    /// # Errors
    /// A value is of the wrong type; the error names its source.
    pub fn to_file(&self) -> Result<ConfigFile, ConfigError> {
        parse_file(&self.tree).map_err(|(key, problem)| ConfigError::Malformed {
            origin: self.source_of(&key),
            problem,
        })
    }

    /// Where a key's value is from.
    pub(super) fn source_of(&self, key: &str) -> Source {
        let part_of = |known: &str| {
            key.strip_prefix(known)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let found = self.sources.iter().find(|(known, _)| part_of(known));
        found.map_or(Source::Default, |(_, source)| source.clone())
    }

    fn add_file(&mut self, path: PathBuf, text: &str) -> Result<(), ConfigError> {
        let source = Source::File(path);
        let malformed = |problem: String| ConfigError::Malformed {
            origin: source.clone(),
            problem,
        };
        let table: toml::Table =
            toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
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
            TableError::Unknown(key) => ConfigError::UnknownKey {
                origin: source.clone(),
                suggestion: suggest_key(&key, &known),
                key,
            },
        })?;
        for (key, value) in values {
            let value = toml_to_json(&key, value).map_err(&malformed)?;
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
        let mut given = BTreeMap::new();
        for (name, value) in environment {
            let Some(name) = name
                .to_str()
                .filter(|name| name.starts_with(VARIABLE_PREFIX))
            else {
                continue;
            };
            if OTHER_VARIABLES.contains(&name) || value.is_empty() {
                continue;
            }
            let source = Source::Environment(name.to_owned());
            let Some(value) = value.to_str().map(str::to_owned) else {
                return Err(ConfigError::Malformed {
                    origin: source,
                    problem: "is not UTF-8".to_owned(),
                });
            };
            let variable = if name == AGENTS_ALIAS.0 {
                AGENTS_ALIAS.1
            } else {
                name
            };
            let Some(key) = variables.get(variable) else {
                let names: Vec<String> = variables
                    .keys()
                    .cloned()
                    .chain(OTHER_VARIABLES.map(str::to_owned))
                    .collect();
                return Err(ConfigError::UnknownKey {
                    origin: source,
                    suggestion: suggest_key(name, &names),
                    key: name.to_owned(),
                });
            };
            if given.insert(key.clone(), (source.clone(), value)).is_some() {
                return Err(ConfigError::Malformed {
                    origin: source,
                    problem: format!(
                        "{} and {} are the same; set one of them",
                        AGENTS_ALIAS.0, AGENTS_ALIAS.1
                    ),
                });
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

    /// The value that a variable's text stands for: the text itself where the key takes text, else what it is as TOML.
    fn parse_variable(&self, key: &str, text: &str) -> Result<Value, String> {
        let fits = |value: &Value| {
            let mut layers = self.clone();
            layers.set_value(key, value.clone(), Source::Default);
            match parse_file(&layers.tree) {
                Err((at, problem)) if at.starts_with(key) => Err(problem),
                _ => Ok(()),
            }
        };
        let plain = Value::String(text.to_owned());
        let Err(problem) = fits(&plain) else {
            return Ok(plain);
        };
        let Ok(mut table) = toml::from_str::<toml::Table>(&format!("value = {text}")) else {
            return Err(problem);
        };
        let value = table.remove("value").ok_or(problem)?;
        let value = toml_to_json(key, value)?;
        fits(&value).map(|()| value)
    }

    fn add_flags(&mut self, flags: &Overrides) {
        let paths = [
            ("data_dir", &flags.data_dir),
            ("agents_dir", &flags.agents_dir),
            ("graveyard", &flags.graveyard),
        ];
        for (key, path) in paths {
            if let Some(path) = path {
                self.set_value(key, path.to_string_lossy().into(), Source::Flag);
            }
        }
        if let Some(listen) = flags.listen {
            self.set_value("listen", listen.to_string().into(), Source::Flag);
        }
        if let Some(listen) = flags.telemetry_listen {
            self.set_value("telemetry_listen", listen.to_string().into(), Source::Flag);
        }
        if flags.behind_proxy {
            self.set_value("behind_proxy", true.into(), Source::Flag);
        }
        if !flags.submitters.is_empty() {
            let mut names = match self.tree.get("submitters") {
                Some(Value::Array(names)) => names.clone(),
                _ => Vec::new(),
            };
            names.extend(flags.submitters.iter().map(|name| name.as_str().into()));
            self.set_value("submitters", names.into(), Source::Flag);
        }
    }

    fn set_value(&mut self, key: &str, value: Value, source: Source) {
        let mut place = &mut self.tree;
        for part in key.split('.') {
            let Value::Object(map) = place else { return };
            place = map.entry(part).or_insert(Value::Null);
        }
        *place = value;
        self.sources.insert(key.to_owned(), source);
    }
}

/// The variable of a key.
pub(super) fn variable_name(key: &str) -> String {
    format!(
        "{VARIABLE_PREFIX}{}",
        key.replace('.', "_").to_ascii_uppercase()
    )
}

/// Every key with its value: tables are gone into, lists and tables without keys of their own are values.
pub(super) fn collect_leaves<'a>(
    tree: &'a Value,
    path: &str,
    found: &mut Vec<(String, &'a Value)>,
) {
    match tree {
        Value::Object(map) if !map.is_empty() && !FREE_TABLES.contains(&path) => {
            for (name, value) in map {
                let key = join_key(path, name);
                collect_leaves(value, &key, found);
            }
        }
        value => found.push((path.to_owned(), value)),
    }
}

/// Tables whose keys are the operator's own.
const FREE_TABLES: [&str; 1] = ["lists.consents"];

fn collect_keys(tree: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_leaves(tree, "", &mut found);
    found.into_iter().map(|(key, _)| key).collect()
}

fn join_key(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

enum TableError {
    Unknown(String),
    NotATable(String),
}

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

/// The name that is most like `given`: as a whole, or where it was given without its table.
fn suggest_key(given: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    known
        .iter()
        .map(|key| {
            let whole = strsim::jaro_winkler(given, key);
            // `workers` for `capacity.workers`: not quite as good as a slip of the finger in the whole.
            let part = strsim::jaro_winkler(&last(given), &last(key)) - 0.02;
            (whole.max(part), key)
        })
        .filter(|(alike, _)| *alike >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, key)| key.clone())
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

/// The file, or the key at fault and what is wrong with it.
fn parse_file(tree: &Value) -> Result<ConfigFile, (String, String)> {
    serde_path_to_error::deserialize::<_, ConfigFile>(tree).map_err(|error| {
        let path = error.path().to_string();
        let problem = format!("{path}: {}", error.into_inner());
        (path, problem)
    })
}
