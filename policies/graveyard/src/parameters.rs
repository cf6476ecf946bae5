//! Reading the open parameters: the JSON of an action that no type describes.
//!
//! Two things are looked for, at any depth and under every key, repeated ones too: names of attempts on a guard of the system
//! ([`crate::naming`]) and claims. A key whose value is off (`false`, `null`, 0, "", "false", "no", "off", "none", "disabled") asks
//! for nothing, unless it names a guard: `"watchdog": false`. A text value is looked at when it is one word of at most 128 bytes.

use std::fmt;

use ark_guest::policy::{Action, Parameters};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::case::Unjudgeable;
use crate::integrity::names_the_module;
use crate::naming::{ATTEMPTS, Attempt, Name, is_built_in};

/// The longest key, and the longest text that may be a name, in bytes. A longer key is an error: it could hide a name.
const LONGEST_NAME: usize = 128;

const UNREADABLE: Unjudgeable = Unjudgeable(
    "the open parameters are not a JSON object, are nested too deeply, or have a key of more than 128 bytes",
);

/// Keys by which a proposer would attest what only the host can, without separators, and as they are usually written.
const CLAIMS: [(&str, &str); 30] = [
    ("approved", "approved"),
    ("approval", "approval"),
    ("approvedby", "approved_by"),
    ("preapproved", "pre_approved"),
    ("hrmapproved", "hrm_approved"),
    ("hrmapproval", "hrm_approval"),
    ("hrmoverride", "hrm_override"),
    ("humanapproved", "human_approved"),
    ("humanapproval", "human_approval"),
    ("operatorapproved", "operator_approved"),
    ("operatorapproval", "operator_approval"),
    ("authorized", "authorized"),
    ("authorised", "authorised"),
    ("auditok", "audit_ok"),
    ("auditwritable", "audit_writable"),
    ("auditpassed", "audit_passed"),
    ("consent", "consent"),
    ("consentgranted", "consent_granted"),
    ("userconsent", "user_consent"),
    ("userconsentgranted", "user_consent_granted"),
    ("override", "override"),
    ("haltcleared", "halt_cleared"),
    ("watchdogok", "watchdog_ok"),
    ("watchdogbeating", "watchdog_beating"),
    ("pinholds", "pin_holds"),
    ("graveyardok", "graveyard_ok"),
    ("graveyardapproved", "graveyard_approved"),
    ("sourcesvalidated", "sources_validated"),
    ("compliant", "compliant"),
    ("exempt", "exempt"),
];

/// What the open parameters, and the kind of a custom action, name.
#[derive(Default)]
pub struct OpenParameters {
    /// The first name of each attempt, indexed by attempt.
    attempts: [Option<String>; ATTEMPTS],
    /// Which of [`CLAIMS`] are there.
    claims: u32,
    /// The action is of a kind that ARK does not know, so that any text in it may be a path.
    custom: bool,
}

impl OpenParameters {
    /// Reads those of an action whose type fits its parameters.
    ///
    /// # Errors
    /// They are no JSON object, are nested more than 127 deep, or have a key of more than 128 bytes.
    pub fn read(action: &Action) -> Result<Self, Unjudgeable> {
        let mut open = Self::default();
        let name = action.action_type.as_str();
        open.custom = matches!(action.parameters, Parameters::Custom(_));
        if open.custom || !is_built_in(name) {
            open.note(name, Name::new(name).attempts());
        }
        let json = action.parameters.open_json();
        if json != "{}" {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            let kind = Node(&mut open)
                .deserialize(&mut deserializer)
                .map_err(|_| UNREADABLE)?;
            deserializer.end().map_err(|_| UNREADABLE)?;
            if kind != Setting::Object {
                return Err(UNREADABLE);
            }
        }
        Ok(open)
    }

    /// The first name of an attempt, if there is one.
    pub fn attempt(&self, attempt: Attempt) -> Option<&str> {
        self.attempts[attempt as usize].as_deref()
    }

    /// The claims, in the order of the list.
    pub fn claims(&self) -> impl Iterator<Item = &'static str> {
        CLAIMS
            .iter()
            .enumerate()
            .filter(|(at, _)| self.claims & (1 << at) != 0)
            .map(|(_, (_, usual))| *usual)
    }

    fn note(&mut self, name: &str, attempts: impl Iterator<Item = Attempt>) {
        for attempt in attempts {
            self.attempts[attempt as usize]
                .get_or_insert_with(|| name.chars().take(LONGEST_NAME).collect());
        }
    }

    fn key(&mut self, key: &str, setting: Setting) {
        let name = Name::new(key);
        if setting == Setting::Off {
            self.note(key, name.attempts_when_off());
            return;
        }
        self.note(key, name.attempts());
        if let Some(at) = CLAIMS.iter().position(|(claim, _)| *claim == name.letters) {
            self.claims |= 1 << at;
        }
    }

    fn text(&mut self, text: &str) {
        if text.len() <= LONGEST_NAME
            && !text.contains(|c: char| c.is_whitespace() || c == '/' || c == '\\')
        {
            self.note(text, Name::new(text).attempts());
        }
        if self.custom && names_the_module(text) {
            self.note(text, std::iter::once(Attempt::Graveyard));
        }
    }
}

/// What a key is set to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    On,
    Off,
    Object,
}

/// One JSON value, read for its effect on what was found.
struct Node<'o>(&'o mut OpenParameters);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Setting;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Setting, D::Error> {
        deserializer.deserialize_any(self)
    }
}

const fn on_if(on: bool) -> Setting {
    if on { Setting::On } else { Setting::Off }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Setting, E> {
        Ok(on_if(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
        Ok(on_if(value != 0))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Setting, E> {
        Ok(on_if(value != 0))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Setting, E> {
        Ok(on_if(value != 0.0))
    }

    fn visit_unit<E: Error>(self) -> Result<Setting, E> {
        Ok(Setting::Off)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Setting, E> {
        self.0.text(value);
        let word = value.trim();
        let off = ["", "0", "false", "no", "off", "none", "null", "disabled"]
            .iter()
            .any(|off| word.eq_ignore_ascii_case(off));
        Ok(on_if(!off))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Setting, A::Error> {
        while items.next_element_seed(Node(&mut *self.0))?.is_some() {}
        Ok(Setting::On)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Setting, A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            if key.len() > LONGEST_NAME {
                return Err(A::Error::custom("a key is too long"));
            }
            let setting = entries.next_value_seed(Node(&mut *self.0))?;
            self.0.key(&key, setting);
        }
        Ok(Setting::Object)
    }
}
