//! The configuration in force, key by key, each with its source. Secrets are masked.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::error::ValueSource;
use super::layers::{Layers, collect_leaves, variable_name};

/// What is shown instead of a secret.
const MASK: &str = "********";
/// The value of a key is a secret if its name holds one of these.
const SECRET_NAMES: [&str; 4] = ["password", "secret", "token", "headers"];

/// A key with its value.
#[derive(Debug, Clone)]
pub struct ConfigLine {
    /// The key.
    pub key: String,
    /// Its value, masked if it is secret; `None`: it has none.
    pub value: Option<Value>,
    /// Where the value comes from.
    pub source: ValueSource,
}

impl fmt::Display for ConfigLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => write!(f, "# {} is not set", self.key),
            Some(value) => write!(f, "{} = {value}  # {}", self.key, self.source),
        }
    }
}

impl Serialize for ConfigLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({
            "key": self.key,
            "value": self.value,
            "source": self.source.to_string(),
            "variable": variable_name(&self.key),
        })
        .serialize(serializer)
    }
}

impl Layers {
    /// Every key with its value and source.
    #[must_use]
    pub fn lines(&self) -> Vec<ConfigLine> {
        let mut found = Vec::new();
        collect_leaves(&self.tree, "", &mut found);
        found
            .into_iter()
            .map(|(key, value)| ConfigLine {
                value: (!value.is_null()).then(|| mask_secrets(&key, value)),
                source: self.source_of(&key),
                key,
            })
            .collect()
    }
}

impl Layers {
    /// The secrets that the configuration holds, and those in the files that it names, to keep them out of what is shown to others.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let mut leaves = Vec::new();
        collect_leaves(&self.tree, "", &mut leaves);
        let mut found = Vec::new();
        for (key, value) in leaves {
            collect_secret_texts(&key, value, &mut found);
        }
        found
    }
}

fn collect_secret_texts(key: &str, value: &Value, found: &mut Vec<String>) {
    let name = key.rsplit('.').next().unwrap_or(key);
    match value {
        Value::String(file) if name.ends_with("_file") || key == "tls.key" => {
            // A file that cannot be read gives nothing away.
            found.extend(std::fs::read_to_string(file));
        }
        Value::String(text) if is_secret_name(name) => found.push(text.clone()),
        Value::String(text) if mask_path(name, text).is_some() => found.push(text.clone()),
        Value::String(text) => {
            let masked = mask_password(text);
            if masked != *text {
                found.push(text.clone());
                let user_info = text.split_once("://").map_or("", |(_, rest)| rest);
                let user_info = user_info.split(['/', '?', '#']).next().unwrap_or("");
                let password = user_info
                    .rsplit_once('@')
                    .and_then(|(user_info, _)| user_info.split_once(':'));
                found.extend(password.map(|(_, password)| password.to_owned()));
            }
        }
        Value::Array(items) => {
            for item in items {
                collect_secret_texts(key, item, found);
            }
        }
        Value::Object(map) => {
            for (name, item) in map {
                let key = if is_secret_name(key) { key } else { name };
                collect_secret_texts(key, item, found);
            }
        }
        _ => {}
    }
}

/// Whether the value of a key is a secret.
fn is_secret_name(name: &str) -> bool {
    // The name of a file is no secret, and neither is a number.
    SECRET_NAMES.iter().any(|part| name.contains(part)) && !name.ends_with("_file")
}

fn mask_secrets(key: &str, value: &Value) -> Value {
    let name = key.rsplit('.').next().unwrap_or(key);
    let secret = is_secret_name(name);
    match value {
        Value::String(_) if secret => MASK.into(),
        Value::String(text) => mask_path(name, text)
            .unwrap_or_else(|| mask_password(text))
            .into(),
        Value::Array(items) => items.iter().map(|item| mask_secrets(key, item)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, item)| {
                let key = if secret { key } else { name };
                (name.clone(), mask_secrets(key, item))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// The address of a webhook with what follows host and port masked, which may be the receiver's secret; `None`: it is none, or nothing follows.
fn mask_path(name: &str, text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_http = ["http", "https"]
        .iter()
        .any(|it| scheme.eq_ignore_ascii_case(it));
    if name != "url" || !is_http {
        return None;
    }
    let end = rest.find(['/', '?', '#'])?;
    let (authority, after) = rest.split_at(end);
    let masked = || mask_password(&format!("{scheme}://{authority}/{MASK}"));
    (after != "/").then(masked)
}

/// `scheme://user:password@host` with the password masked; any other text as it is.
fn mask_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((user_info, _)) = authority.rsplit_once('@') else {
        return text.to_owned();
    };
    let user = user_info.split(':').next().unwrap_or("");
    let after = rest.get(user_info.len()..).unwrap_or("");
    format!("{scheme}://{user}:{MASK}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_of_a_webhooks_address_are_shown() {
        let masked = format!("https://host:1/{MASK}");
        for (text, expected) in [
            ("https://host:1/a/SECRET", masked.as_str()),
            ("https://host:1?token=SECRET", &masked),
            ("https://host:1?token=SECRET/x", &masked),
            ("https://host:1#SECRET", &masked),
            ("https://host:1/", "https://host:1/"),
            ("https://host:1", "https://host:1"),
            ("HTTPS://host:1/SECRET", &format!("HTTPS://host:1/{MASK}")),
            (
                "https://user:SECRET@host/SECRET",
                &format!("https://user:{MASK}@host/{MASK}"),
            ),
        ] {
            let shown = mask_secrets("webhooks.url", &text.into());
            assert_eq!(shown, Value::from(expected), "{text}");
        }
        // The addresses of other things have no secret behind the host.
        let other = Value::from("https://host/v1/traces");
        assert_eq!(mask_secrets("telemetry.endpoint", &other), other);
    }
}
