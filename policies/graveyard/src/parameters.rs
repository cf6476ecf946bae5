//! Reading the open parameters: the JSON of an action that no type describes.
//!
//! Four things are looked for, at any depth and under every key, repeated ones too:
//! * names of attempts on a guard of the system ([`crate::naming`]): as a key, as a one-word text of at most 128 bytes, or, in a custom action, as
//!   a guard and a verb beside each other (`{"watchdog": {"enabled": false}}`, `{"service": "watchdog", "action": "stop"}`);
//! * claims of what only the host can attest;
//! * fields of a typed family ([`crate::carried`]) in a custom action, and a trade's in the open parameters of a trade;
//! * files of the host ([`crate::files`]), in a custom action and beside the parameters of code and of a file operation.
//!
//! A key whose value is off (`false`, `null`, 0, "", "false", "no", "off", "none", "disabled") asks for nothing, unless it names a guard:
//! `"watchdog": false`. A key that is another spelling of a typed field of the action's family cannot be judged: what a rule reads and what an
//! executor reads must be the same.

use std::fmt;

use ark_guest::policy::{Action, FileVerb, Parameters};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::carried::Carried;
use crate::case::Unjudgeable;
use crate::fields::Field;
use crate::files::FileSearch;
use crate::naming::{ATTEMPTS, Attempt, GuardReading, GuardSet, Name, is_built_in};

/// The longest key, and the longest text that may be a name, in bytes. A longer key is an error: it could hide a name.
const LONGEST_NAME: usize = 128;

const UNREADABLE: Unjudgeable = Unjudgeable(
    "the open parameters are not a JSON object, are nested too deeply, or have a key of more than 128 bytes",
);
/// How many names may have a word of a guard in them: the work on each is some thousand steps, and all of it must fit into the policy's fuel.
const MOST_LOOKED_AT: u32 = 200;

const TOO_MANY_NAMES: Unjudgeable = Unjudgeable(
    "more than 200 keys and texts of the open parameters may be about a guard (audit, stop, rule, an operation, ...); give fewer",
);
const RESPELLED: Unjudgeable = Unjudgeable(
    "a parameter is another spelling of a typed one of the same action; give it once, in its documented spelling",
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

/// What the open parameters, and the name of an action type that is not built in, name.
#[derive(Default)]
pub struct OpenParameters {
    /// The first name of each attempt, indexed by attempt.
    attempts: [Option<String>; ATTEMPTS],
    /// Which of [`CLAIMS`] are there.
    claims: u32,
    /// What they carry of a typed family.
    pub carried: Carried,
    /// How they are read.
    reading: Reading,
    /// The guards that a verb in the name of the custom action would be about.
    kind_verbs: GuardSet,
    /// A typed field is there in another spelling.
    respelled: bool,
    /// Looks for files of the host.
    files: FileSearch,
    /// How many names were looked at closely, since a word of a guard is in them.
    looked_at: u32,
    /// How many texts were looked at as verbs.
    verbs_read: u32,
}

/// How the open parameters of a family are read.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// The action is custom: any text in it may be a path, any key a field of a family.
    custom: bool,
    /// The action is a trade: spellings of its own fields count at any depth.
    trade: bool,
    /// Texts are paths: custom actions, code, and file operations that change something.
    paths: bool,
    /// The typed fields of the family, by their letters.
    typed: &'static [&'static str],
}

impl Reading {
    fn of(parameters: &Parameters) -> Self {
        let plain = Self::default();
        match parameters {
            Parameters::Trade(_) => Self {
                trade: true,
                typed: &[
                    "symbol",
                    "side",
                    "positionsizepct",
                    "leverage",
                    "entryprice",
                    "stoploss",
                    "takeprofit",
                    "riskrewardratio",
                    "materialnonpublic",
                    "manipulativeintent",
                    "aheadofclientorder",
                ],
                ..plain
            },
            Parameters::ClosePosition(_) => Self {
                typed: &["symbol", "positionsizepct"],
                ..plain
            },
            Parameters::Data(_) => Self {
                typed: &[
                    "operation",
                    "subject",
                    "containspersonaldata",
                    "datasensitivity",
                    "encryption",
                    "anonymized",
                    "destination",
                    "purpose",
                    "userconsent",
                ],
                ..plain
            },
            Parameters::File(file) => Self {
                paths: file.operation != FileVerb::Read,
                typed: &["operation", "path"],
                ..plain
            },
            Parameters::Code(_) => Self {
                paths: true,
                typed: &["language", "code"],
                ..plain
            },
            Parameters::Message(_) => Self {
                typed: &["topic", "to", "symbol", "text", "payload"],
                ..plain
            },
            Parameters::System(_) => plain,
            Parameters::Custom(_) => Self {
                custom: true,
                paths: true,
                ..plain
            },
        }
    }

    /// The fields that a key says its value is, of those that count in this family.
    fn fields_of(self, key: &Name) -> FieldSet {
        if !self.custom && !self.trade {
            return FieldSet::default();
        }
        let mut fields = FieldSet::default();
        for field in Field::of(key) {
            if self.custom || (self.typed.contains(&key.letters.as_str()) && field.adds_up()) {
                fields.insert(field);
            }
        }
        fields
    }
}

/// A set of fields.
#[derive(Debug, Clone, Copy, Default)]
struct FieldSet(u32);

impl FieldSet {
    const fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as u32;
    }

    const fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL
            .into_iter()
            .filter(move |&field| self.contains(field))
    }
}

impl OpenParameters {
    /// Reads those of an action whose type fits its parameters.
    ///
    /// # Errors
    /// They are no JSON object, are nested more than 127 deep, or have a key of more than 128 bytes.
    pub fn read(action: &Action) -> Result<Self, Unjudgeable> {
        let mut open = Self {
            reading: Reading::of(&action.parameters),
            ..Self::default()
        };
        let action_type = action.action_type.as_str();
        if open.reading.custom || !is_built_in(action_type) {
            let name = Name::new(action_type);
            open.note(action_type, name.read_guards().attempts);
            if open.reading.custom {
                open.carried.note_kind(&name);
                open.kind_verbs = name.verbs();
            }
        }
        let json = action.parameters.open_json();
        if json != "{}" {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            let node = Node {
                open: &mut open,
                place: Place::default(),
            };
            let seen = node
                .deserialize(&mut deserializer)
                .map_err(|_| UNREADABLE)?;
            deserializer.end().map_err(|_| UNREADABLE)?;
            if seen.setting != Setting::Object {
                return Err(UNREADABLE);
            }
        }
        if open.looked_at.max(open.verbs_read) > MOST_LOOKED_AT {
            return Err(TOO_MANY_NAMES);
        }
        Ok(open)
    }

    /// What a name says of the guards.
    fn read_name(&mut self, name: &Name) -> GuardReading {
        if !name.has_root() {
            return GuardReading::default();
        }
        self.looked_at += 1;
        if self.looked_at > MOST_LOOKED_AT {
            return GuardReading::default();
        }
        name.read_guards()
    }

    /// The first name of an attempt, if there is one.
    ///
    /// # Errors
    /// A typed field is there in another spelling too: then nobody can say which of the two is meant.
    pub fn attempt(&self, attempt: Attempt) -> Result<Option<&str>, Unjudgeable> {
        match self.attempts[attempt as usize].as_deref() {
            None if self.respelled => Err(RESPELLED),
            name => Ok(name),
        }
    }

    /// The claims, in the order of the list.
    pub fn claims(&self) -> impl Iterator<Item = &'static str> {
        CLAIMS
            .iter()
            .enumerate()
            .filter(|(at, _)| self.claims & (1 << at) != 0)
            .map(|(_, (_, usual))| *usual)
    }

    fn note(&mut self, name: &str, attempts: GuardSet) {
        for attempt in attempts.attempts() {
            self.attempts[attempt as usize]
                .get_or_insert_with(|| name.chars().take(LONGEST_NAME).collect());
        }
    }

    /// Notes a file of the host.
    fn note_file(&mut self, name: &str) {
        let mut attempt = GuardSet::default();
        attempt.insert(Attempt::Graveyard);
        self.note(name, attempt);
    }

    /// Notes a key, of which `attempts` are the attempts that it names, and what its value was seen to be.
    fn note_key(&mut self, key: &str, name: &Name, attempts: GuardSet, seen: Seen, place: Place) {
        let off = matches!(seen.setting, Setting::Off | Setting::OffList);
        if off {
            self.note(key, name.attempts_when_off());
            if !place.guards.is_empty() && SWITCH_KEYS.contains(&name.letters.as_str()) {
                self.note(key, place.guards);
            }
        }
        if seen.setting == Setting::Off {
            return;
        }
        self.note(key, attempts);
        if let Some(at) = CLAIMS.iter().position(|(claim, _)| *claim == name.letters) {
            self.claims |= 1 << at;
        }
        if self.reading.custom {
            // `{"stop": "watchdog"}` and `{"watchdog": {"stop": true}}`
            let about = seen.guards.union(place.guards);
            self.verbs_read += u32::from(!about.is_empty());
            if !about.is_empty() && self.verbs_read <= MOST_LOOKED_AT {
                self.note(key, name.verbs().intersection(about));
            }
            self.carried.note_key(name);
            if self.files.is_mentioned(key) {
                self.note_file(key);
            }
        }
    }

    /// Notes a text, and returns the guards that it is, and those that it is a verb about.
    fn note_text(&mut self, text: &str, off: bool, place: Place) -> (GuardSet, GuardSet) {
        let is_word = text.len() <= LONGEST_NAME
            && !text.contains(|c: char| c.is_whitespace() || c == '/' || c == '\\');
        let mut seen = (GuardSet::default(), GuardSet::default());
        if is_word {
            let name = Name::new(text);
            let reading = self.read_name(&name);
            self.note(text, reading.attempts);
            if self.reading.custom {
                seen.0 = reading.guards;
                // A verb says something here only below the name of a guard or under a key that says what is done.
                let is_heeded = !place.guards.is_empty()
                    || place.switches
                    || place.fields.contains(Field::Operation);
                if is_heeded {
                    self.verbs_read += 1;
                }
                if is_heeded && self.verbs_read <= MOST_LOOKED_AT {
                    seen.1 = name.verbs();
                    self.note(text, seen.1.intersection(place.guards));
                }
            }
        }
        if self.reading.paths && self.files.is_mentioned(text) {
            self.note_file(text);
        }
        if self.reading.custom && text.contains(['/', '\\']) {
            self.carried.note_path();
        }
        for field in place.fields.fields() {
            self.carried.note_text(field, text, off);
        }
        seen
    }

    fn note_number(&mut self, value: f64, place: Place) {
        for field in place.fields.fields() {
            self.carried.note_number(field, value);
        }
    }
}

/// Keys that switch on and off what they stand in.
const SWITCH_KEYS: [&str; 8] = [
    "enabled", "enable", "active", "on", "running", "value", "state", "status",
];

/// Where a value stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// How many objects it stands in.
    depth: u8,
    /// What the keys above say it is.
    fields: FieldSet,
    /// The guards that the keys above name.
    guards: GuardSet,
    /// The key is one of [`SWITCH_KEYS`].
    switches: bool,
}

/// What a value was seen to be.
#[derive(Debug, Clone, Copy)]
struct Seen {
    setting: Setting,
    /// The guards that it names.
    guards: GuardSet,
    /// The guards that it is a verb about.
    verbs: GuardSet,
}

impl Seen {
    const fn plain(setting: Setting) -> Self {
        Self {
            setting,
            guards: GuardSet::EMPTY,
            verbs: GuardSet::EMPTY,
        }
    }

    const fn on_if(on: bool) -> Self {
        Self::plain(if on { Setting::On } else { Setting::Off })
    }
}

/// What a key is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    On,
    Off,
    /// A list in which everything is off, or nothing is.
    OffList,
    Object,
}

/// One JSON value, read for its effect on what was found.
struct Node<'o> {
    open: &'o mut OpenParameters,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Seen, E> {
        for field in self.place.fields.fields() {
            self.open.carried.note_truth(field, value);
        }
        Ok(Seen::on_if(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Seen, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Seen, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Seen, E> {
        self.open.note_number(value, self.place);
        Ok(Seen::on_if(value != 0.0))
    }

    fn visit_unit<E: Error>(self) -> Result<Seen, E> {
        Ok(Seen::plain(Setting::Off))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Seen, E> {
        let word = value.trim();
        let off = ["", "0", "false", "no", "off", "none", "null", "disabled"]
            .iter()
            .any(|off| word.eq_ignore_ascii_case(off));
        let (guards, verbs) = self.open.note_text(value, off, self.place);
        Ok(Seen {
            guards,
            verbs,
            ..Seen::on_if(!off)
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seen, A::Error> {
        let mut list = Seen::plain(Setting::OffList);
        loop {
            let node = Node {
                open: &mut *self.open,
                place: self.place,
            };
            let Some(seen) = items.next_element_seed(node)? else {
                return Ok(list);
            };
            list.guards = list.guards.union(seen.guards);
            list.verbs = list.verbs.union(seen.verbs);
            if !matches!(seen.setting, Setting::Off | Setting::OffList) {
                list.setting = Setting::On;
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Seen, A::Error> {
        let (open, place) = (self.open, self.place);
        let (mut named, mut verbs) = (GuardSet::default(), open.kind_verbs);
        while let Some(key) = entries.next_key::<String>()? {
            if key.len() > LONGEST_NAME {
                return Err(A::Error::custom("a key is too long"));
            }
            let name = Name::new(&key);
            open.respelled |=
                place.depth == 0 && open.reading.typed.contains(&name.letters.as_str());
            let own_fields = open.reading.fields_of(&name);
            let reading = open.read_name(&name);
            let guards = if open.reading.custom {
                place.guards.union(reading.guards)
            } else {
                GuardSet::default()
            };
            let below = Place {
                depth: place.depth.saturating_add(1),
                fields: FieldSet(place.fields.0 | own_fields.0),
                guards,
                switches: open.reading.custom && SWITCH_KEYS.contains(&name.letters.as_str()),
            };
            let seen = entries.next_value_seed(Node {
                open: &mut *open,
                place: below,
            })?;
            open.note_key(&key, &name, reading.attempts, seen, place);
            named = named.union(seen.guards);
            if own_fields.contains(Field::Operation) || SWITCH_KEYS.contains(&name.letters.as_str())
            {
                verbs = verbs.union(seen.verbs);
            }
        }
        if open.reading.custom {
            let both = named.intersection(verbs);
            open.note("a guard, and a verb that gets rid of it", both);
        }
        Ok(Seen::plain(Setting::Object))
    }
}
