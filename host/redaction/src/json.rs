//! JSON by names and values: what the name of a member says holds for everything in it.
//!
//! A text in which nothing is found is left as it is. Otherwise the JSON is written again, with its keys sorted. Two keys that become equal are
//! told apart by a number, so that no member is lost.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ark_json::UniqueKeysJson;
use serde_json::{Map, Number, Value};

use crate::context::NumberContext;
use crate::names::{find_meaning, is_descriptive};
use crate::redactor::Redactor;
use crate::scan::{authorization_secret, cookie_values, find_matches, is_secret_text};
use crate::table::FindingKind;
use crate::vocabulary::Meaning;

/// How deep JSON in texts in JSON is read. Deeper, it is searched as a text.
const MAX_NESTING: usize = 4;

impl Redactor {
    /// Redacts the text of a JSON value, which stays one. Returns whether it was changed.
    pub fn redact_json(&mut self, json: &mut String) -> bool {
        if json == "{}" {
            return false;
        }
        self.count_searched(json);
        match serde_json::from_str::<UniqueKeysJson>(json) {
            Ok(UniqueKeysJson(mut value)) => {
                let changed = self.redact_value(&mut value, None, 0);
                if changed {
                    *json = value.to_string();
                }
                changed
            }
            // Nobody can say which of two equal keys a reader takes. The text as a whole is searched, and stays valid only as a text.
            Err(_) => {
                let changed = self.redact_plain(json, NumberContext::None);
                if changed {
                    *json = Value::from(std::mem::take(json)).to_string();
                }
                changed
            }
        }
    }

    /// Redacts a text that may be JSON.
    pub(crate) fn redact_nested(
        &mut self,
        text: &mut String,
        context: NumberContext,
        depth: usize,
    ) -> bool {
        let trimmed = text.trim_start();
        if depth < MAX_NESTING
            && trimmed.starts_with(['{', '['])
            && let Ok(UniqueKeysJson(mut value)) = serde_json::from_str(text)
        {
            let changed = self.redact_value(&mut value, None, depth + 1);
            if changed {
                *text = value.to_string();
            }
            return changed;
        }
        self.redact_plain(text, context)
    }

    /// Redacts a value. `meaning` is what the name of the member that holds it says.
    fn redact_value(&mut self, value: &mut Value, meaning: Option<Meaning>, depth: usize) -> bool {
        match value {
            Value::String(text) => self.redact_string(text, meaning, depth),
            Value::Array(items) => self.redact_items(items, meaning, depth),
            Value::Object(members) => self.redact_members(members, meaning, depth),
            Value::Number(number) => {
                let Some(kind) = number_kind(number, meaning) else {
                    return false;
                };
                self.note(kind);
                *value = Value::from(kind.mark());
                true
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    fn redact_string(&mut self, text: &mut String, meaning: Option<Meaning>, depth: usize) -> bool {
        let named = meaning.is_some_and(|meaning| self.redact_by_name(text, meaning));
        let nested = self.redact_nested(text, NumberContext::from_meaning(meaning), depth);
        if nested && let Some(meaning) = meaning {
            // What is left can look like a secret now.
            self.redact_by_name(text, meaning);
        }
        named | nested
    }

    /// Redacts what the name of the member says of its text. Returns whether it was changed.
    fn redact_by_name(&mut self, text: &mut String, meaning: Meaning) -> bool {
        let (range, kind) = match meaning {
            Meaning::Cookie => return self.redact_cookies(text),
            Meaning::Authorization => (authorization_secret(text), FindingKind::BearerToken),
            Meaning::Card => (
                is_digits(text, 12, 19).then_some(0..text.len()),
                FindingKind::PaymentCard,
            ),
            Meaning::CardCode => (
                is_digits(text, 3, 4).then_some(0..text.len()),
                FindingKind::PaymentCard,
            ),
            meaning => (
                is_secret_text(text, meaning).then_some(0..text.len()),
                secret_kind(meaning),
            ),
        };
        let Some(range) = range else {
            return false;
        };
        text.replace_range(range, &kind.mark());
        self.note(kind);
        true
    }

    fn redact_cookies(&mut self, text: &mut String) -> bool {
        let ranges: Vec<_> = cookie_values(text).collect();
        for range in ranges.iter().rev() {
            text.replace_range(range.clone(), &FindingKind::AccessToken.mark());
            self.note(FindingKind::AccessToken);
        }
        !ranges.is_empty()
    }

    fn redact_items(
        &mut self,
        items: &mut [Value],
        meaning: Option<Meaning>,
        depth: usize,
    ) -> bool {
        // `["Authorization", "Basic …"]`: a pair of a name and its value.
        if let [Value::String(name), Value::String(_)] = items
            && let Some(meaning) = label_meaning(name)
        {
            let changed = self.redact_value(&mut items[0], None, depth);
            return self.redact_value(&mut items[1], Some(meaning), depth) | changed;
        }
        let mut changed = false;
        for item in items {
            changed |= self.redact_value(item, meaning, depth);
        }
        changed
    }

    fn redact_members(
        &mut self,
        members: &mut Map<String, Value>,
        meaning: Option<Meaning>,
        depth: usize,
    ) -> bool {
        let named = pair_meaning(members);
        let mut changed = false;
        let mut renamed = false;
        for (name, value) in members.iter_mut() {
            let mut shown = name.clone();
            // The name that is kept decides, so that a second redaction finds the same.
            let is_renamed = self.redact_plain(&mut shown, NumberContext::None);
            renamed |= is_renamed;
            let own = find_meaning(&remove_marks(&shown));
            let inherited =
                meaning.filter(|meaning| is_secret_meaning(*meaning) && !is_descriptive(&shown));
            let meaning = match named {
                Some(meaning) if is_value_name(&shown) => Some(meaning),
                _ => own
                    .filter(|own| is_secret_meaning(*own))
                    .or(inherited)
                    .or(own),
            };
            changed |= self.redact_value(value, meaning, depth);
        }
        if renamed {
            // How often each redacted name was given: a search for a free one must not start again each time.
            let mut given: BTreeMap<String, usize> = BTreeMap::new();
            for (mut name, value) in std::mem::take(members) {
                self.redact_plain(&mut name, NumberContext::None);
                let base = name.clone();
                let count = given.entry(base.clone()).or_insert(1);
                while members.contains_key(&name) {
                    *count += 1;
                    name = format!("{base} ({count})");
                }
                members.insert(name, value);
            }
        }
        changed | renamed
    }
}

/// Takes the marks of redaction out of a name: they say nothing about its value.
fn remove_marks(name: &str) -> Cow<'_, str> {
    if !name.contains("[credential:") && !name.contains("[personal:") {
        return Cow::Borrowed(name);
    }
    let mut rest = name;
    let mut kept = String::new();
    while let Some(at) = rest
        .find("[credential:")
        .or_else(|| rest.find("[personal:"))
    {
        kept.push_str(&rest[..at]);
        rest = rest[at..].find(']').map_or("", |end| &rest[at + end + 1..]);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// Returns the kind of data that a number is.
fn number_kind(number: &Number, meaning: Option<Meaning>) -> Option<FindingKind> {
    match meaning {
        // `"access_tokens": 12` counts them.
        Some(Meaning::Secret(kind))
            if kind != FindingKind::AccessToken || number.as_u64() > Some(99_999) =>
        {
            return Some(kind);
        }
        Some(Meaning::CardCode) if is_digits(&number.to_string(), 3, 4) => {
            return Some(FindingKind::PaymentCard);
        }
        Some(Meaning::Card) if is_digits(&number.to_string(), 12, 19) => {
            return Some(FindingKind::PaymentCard);
        }
        _ => {}
    }
    if !(number.is_u64() || number.is_i64()) {
        return None;
    }
    let text = number.to_string();
    let matches = find_matches(&text, NumberContext::from_meaning(meaning));
    matches.first().map(|found| found.kind)
}

fn secret_kind(meaning: Meaning) -> FindingKind {
    match meaning {
        Meaning::Secret(kind) => kind,
        Meaning::BareToken => FindingKind::AccessToken,
        Meaning::SeedPhrase => FindingKind::SeedPhrase,
        _ => FindingKind::Password,
    }
}

fn is_secret_meaning(meaning: Meaning) -> bool {
    matches!(
        meaning,
        Meaning::Secret(_)
            | Meaning::Pass
            | Meaning::BareToken
            | Meaning::Authorization
            | Meaning::Cookie
            | Meaning::SeedPhrase
    )
}

fn is_digits(text: &str, least: usize, most: usize) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (least..=most).contains(&digits)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'))
}

/// Returns what the member `value` of `{"name": "DB_PASSWORD", "value": "…"}` holds.
fn pair_meaning(members: &Map<String, Value>) -> Option<Meaning> {
    let name = [
        "name", "key", "field", "header", "variable", "param", "label",
    ]
    .iter()
    .find_map(|name| members.get(*name)?.as_str())?;
    label_meaning(name)
}

/// Returns the secret that a text names, when it is a name and no sentence.
fn label_meaning(name: &str) -> Option<Meaning> {
    if name.contains(|c: char| c.is_whitespace() || "[]".contains(c)) {
        return None;
    }
    find_meaning(name).filter(|meaning| is_secret_meaning(*meaning))
}

fn is_value_name(name: &str) -> bool {
    matches!(
        name,
        "value" | "val" | "content" | "data" | "default" | "text"
    )
}
