//! Recognising names: whether an action type, a parameter's key or a one-word value names an attempt on a guard of the system.
//!
//! A name is taken apart into words, whatever its spelling: `ignore_user_override`, `ignoreUserOverride`, `Ignore-User-Override` and
//! `ignoreuseroverride` are the same name, as are forms in other letters of Unicode that look alike. The words are those of
//! [`crate::vocabulary`]. A name is an attempt when it holds an object (`watchdog`) together with
//! * a verb that can mean nothing else (`disable`, `bypass`), anywhere in the name; or
//! * a verb that could be about something else (`stop`, `clear`), beside the object, before or behind it, where the object is what the verb is
//!   about: `stop_audit` and `audit_log_delete`, not `stop_loss_audit` or `delete_graveyard_shift`, in which another noun follows or leads.
//!
//! This errs on the side of firing: a harmless custom kind called `disable_watchdog_report` is denied and can be renamed. Prose (text
//! with spaces in it) is not judged: to speak of a guard is no attempt on it. `tests/names.txt` is the list by which both errors are measured.

use crate::folding::fold_text;
use crate::vocabulary::{ADVERBS, FILLERS, GUARDS, Guard, ROOTS, SWITCHES, TAILS, UNMISTAKABLE};

/// The guards of the system that an action may try to get rid of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Rule 12: getting rid of the audit.
    Audit,
    /// Rule 13: disabling, bypassing or ignoring a user override.
    UserOverride,
    /// Rule 14: lifting or disabling the emergency halt.
    Halt,
    /// Rule 19: changing the Graveyard.
    Graveyard,
    /// Rule 20: disabling the watchdog.
    Watchdog,
}

impl Attempt {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; ATTEMPTS] = [
        Self::Audit,
        Self::UserOverride,
        Self::Halt,
        Self::Graveyard,
        Self::Watchdog,
    ];
}

/// A set of guards, each by what it is to get rid of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GuardSet(u8);

impl GuardSet {
    /// None of them.
    pub const EMPTY: Self = Self(0);

    /// Adds one.
    pub const fn insert(&mut self, attempt: Attempt) {
        self.0 |= 1 << attempt as u8;
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that both have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What it is to get rid of each.
    pub fn attempts(self) -> impl Iterator<Item = Attempt> {
        Attempt::ALL
            .into_iter()
            .filter(move |&attempt| self.0 & (1 << attempt as u8) != 0)
    }
}

/// What a name says of the guards.
#[derive(Debug, Clone, Copy, Default)]
pub struct GuardReading {
    /// The guards that it is an attempt on.
    pub attempts: GuardSet,
    /// The guards that it is, with nothing else in it: `watchdog`, `the-audit-log`.
    pub guards: GuardSet,
}

/// How many attempts there are: an attempt is an index below it.
pub const ATTEMPTS: usize = Attempt::Watchdog as usize + 1;

/// The action types whose parameters rules read, without separators. A custom kind that differs from one only in its spelling would
/// pass by those rules. System changes are not among them: their names are attempts in every spelling.
const KNOWN_TYPES: [&str; 18] = [
    "trade",
    "order",
    "buy",
    "sell",
    "openposition",
    "closeposition",
    "datahandling",
    "collectdata",
    "storedata",
    "sharedata",
    "fileoperation",
    "delete",
    "remove",
    "executecode",
    "message",
    "publish",
    "report",
    "log",
];

/// The action types of system changes, without separators. No other parameters than theirs stand under these names.
const SYSTEM_TYPES: [&str; 7] = [
    "modifygraveyard",
    "updateethics",
    "changerules",
    "disablewatchdog",
    "disableaudit",
    "clearhalt",
    "overrideuser",
];

/// Whether this is the name of a built-in action type, as the host knows it.
pub fn is_built_in(name: &str) -> bool {
    matches!(
        name,
        "trade"
            | "order"
            | "buy"
            | "sell"
            | "open_position"
            | "close_position"
            | "data_handling"
            | "collect_data"
            | "store_data"
            | "share_data"
            | "file_operation"
            | "delete"
            | "remove"
            | "execute_code"
            | "message"
            | "publish"
            | "report"
            | "log"
            | "modify_graveyard"
            | "update_ethics"
            | "change_rules"
            | "disable_watchdog"
            | "disable_audit"
            | "clear_halt"
            | "override_user"
    )
}

/// Whether a custom kind is a known action type in another spelling (`Execute-Code`).
pub fn imitates_a_known_type(kind: &str) -> bool {
    KNOWN_TYPES.contains(&Name::new(kind).letters.as_str())
}

/// Whether an operator can have declared an action type of this name: it is no spelling of one that is built in, and has a letter or digit.
pub fn can_be_declared(name: &str) -> bool {
    let letters = Name::new(name).letters;
    let letters = letters.as_str();
    !letters.is_empty() && !KNOWN_TYPES.contains(&letters) && !SYSTEM_TYPES.contains(&letters)
}

/// A name, taken apart.
pub struct Name {
    /// Its letters and digits in lower case, with nothing between them.
    pub letters: String,
    /// Where its words start in `letters`: after anything that is no letter or digit, at a capital after a small letter, and at a number.
    starts: Vec<usize>,
}

impl Name {
    /// Takes a name apart.
    pub fn new(text: &str) -> Self {
        let mut reader = NameReader {
            name: Self {
                letters: String::with_capacity(text.len()),
                starts: Vec::with_capacity(4),
            },
            between: true,
            after_small: false,
            after_letter: false,
        };
        fold_text(text, |c| reader.read(c));
        reader.name
    }

    /// What the name says of the guards.
    pub fn read_guards(&self) -> GuardReading {
        let mut reading = GuardReading::default();
        if !self.has_root() {
            return reading;
        }
        let words = self.words();
        for guard in &GUARDS {
            if is_attempt(&words, guard) {
                reading.attempts.insert(guard.attempt);
            }
            let is_object = |word: &Word| guard.is_object(word.text);
            if words.iter().any(is_object)
                && words
                    .iter()
                    .all(|word| word.says_nothing || is_object(word))
            {
                reading.guards.insert(guard.attempt);
            }
        }
        reading
    }

    /// Whether a word of a guard is in it: most names need no closer look.
    pub fn has_root(&self) -> bool {
        ROOTS
            .iter()
            .any(|root| positions(&self.letters, root).next().is_some())
    }

    /// Which attempts it is to switch the setting of this name off.
    pub fn attempts_when_off(&self) -> GuardSet {
        let mut attempts = GuardSet::default();
        for guard in &GUARDS {
            if guard.settings.contains(&self.letters.as_str()) {
                attempts.insert(guard.attempt);
            }
        }
        attempts
    }

    /// For which guards a word of the name is a verb that gets rid of it: `stop`, `switch_off`.
    pub fn verbs(&self) -> GuardSet {
        let words = self.words();
        let mut verbs = GuardSet::default();
        for guard in &GUARDS {
            let is_verb =
                |word: &Word| guard.is_verb(*word) || matches!(word.text, "off" | "down" | "no");
            if words.iter().any(is_verb) {
                verbs.insert(guard.attempt);
            }
        }
        verbs
    }

    /// Whether one of its words, as it is written, is one of these.
    pub fn has_word(&self, words: &[&str]) -> bool {
        let ends = self.starts.iter().skip(1).copied();
        self.starts
            .iter()
            .zip(ends.chain([self.letters.len()]))
            .any(|(&start, end)| words.contains(&&self.letters[start..end]))
    }

    /// The words, with the long objects of the guards as words of their own, wherever the name is cut.
    fn words(&self) -> Vec<Word<'_>> {
        let mut starts = self.starts.clone();
        let mut glued = Vec::new();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let guards: &[Guard] = if self.has_root() { &GUARDS } else { &[] };
        for object in guards.iter().flat_map(|guard| guard.objects) {
            for at in positions(&self.letters, object) {
                let end = at + object.len();
                if taken.iter().any(|&(from, to)| at < to && from < end) {
                    continue;
                }
                taken.push((at, end));
                starts.retain(|&start| start <= at || start >= end);
                for cut in [at, end] {
                    if cut < self.letters.len() && !starts.contains(&cut) {
                        starts.push(cut);
                        glued.push(cut);
                    }
                }
            }
        }
        starts.sort_unstable();
        let ends = starts.iter().skip(1).copied().chain([self.letters.len()]);
        starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| {
                let text = &self.letters[start..end];
                Word {
                    text,
                    glued_behind: glued.contains(&end),
                    glued_before: glued.contains(&start),
                    says_nothing: FILLERS.contains(&text)
                        || TAILS.contains(&text)
                        || text.bytes().all(|b| b.is_ascii_digit()),
                    is_unmistakable: is_unmistakable(text),
                }
            })
            .collect()
    }
}

/// A word of a name.
#[derive(Clone, Copy)]
pub struct Word<'n> {
    /// Its letters.
    pub text: &'n str,
    /// An object follows without anything between.
    pub glued_behind: bool,
    /// An object leads without anything between.
    pub glued_before: bool,
    /// It is an article, a part of a guard, or a number.
    pub says_nothing: bool,
    /// It is a verb that can mean nothing else, in any of its forms.
    pub is_unmistakable: bool,
}

struct NameReader {
    name: Name,
    between: bool,
    after_small: bool,
    after_letter: bool,
}

impl NameReader {
    fn read(&mut self, c: char) {
        if !c.is_alphanumeric() {
            self.between = true;
            return;
        }
        let is_cut =
            (self.after_small && c.is_uppercase()) || (self.after_letter && c.is_ascii_digit());
        if self.between || is_cut {
            self.name.starts.push(self.name.letters.len());
        }
        self.between = false;
        self.after_small = c.is_lowercase() || c.is_ascii_digit();
        self.after_letter = c.is_alphabetic();
        if c.is_ascii() {
            self.name.letters.push(c.to_ascii_lowercase());
        } else {
            self.name.letters.extend(c.to_lowercase());
        }
    }
}

/// What stands beside an object, with what says nothing left out.
enum Beside {
    Nothing,
    Verb,
    Other,
}

fn is_attempt(words: &[Word], guard: &Guard) -> bool {
    if guard.names.iter().any(|name| is_name(words, name)) {
        return true;
    }
    let mut named = false;
    for (at, word) in words.iter().enumerate() {
        let long = guard.objects.contains(&word.text);
        if !long && !guard.words.contains(&word.text) {
            continue;
        }
        named |= long || guard.unmistakable_words.contains(&word.text);
        let before = look_before(&words[..at], guard);
        let (behind, ends) = look_behind(&words[at + 1..], guard);
        let is_object_of_verb = match (before, behind) {
            (Beside::Verb, Beside::Nothing | Beside::Verb) => true,
            // What leads a long object is part of no other noun: `feed_watchdog_stop`.
            (Beside::Nothing, Beside::Verb) => ends,
            (Beside::Other, Beside::Verb) => ends && long,
            _ => false,
        };
        if is_object_of_verb {
            return true;
        }
    }
    named && words.iter().any(|word| word.is_unmistakable)
}

/// Whether a word is a verb that can mean nothing else, in any of its forms.
fn is_unmistakable(word: &str) -> bool {
    UNMISTAKABLE.iter().any(|verb| {
        if verb.len() > 4 {
            positions(word, verb).next().is_some()
        } else {
            word.starts_with(verb)
        }
    })
}

/// Looks for a verb before an object.
fn look_before(words: &[Word], guard: &Guard) -> Beside {
    let (mut goes_on, mut off) = (false, false);
    for word in words.iter().rev() {
        match word.text {
            "no" | "without" | "despite" => return Beside::Verb,
            // `turn_off_auditing`: the verb is further ahead.
            "off" | "down" => off = true,
            "during" | "through" => goes_on = true,
            text if guard.is_verb(*word) || (goes_on && guard.goes_on(text)) => {
                return Beside::Verb;
            }
            text if SWITCHES.contains(&text) => {
                if off {
                    return Beside::Verb;
                }
            }
            text if says_nothing(*word, guard) || text == "after" => {}
            _ => return Beside::Other,
        }
    }
    Beside::Nothing
}

/// Looks for a verb behind an object, and whether nothing but that is there.
fn look_behind(words: &[Word], guard: &Guard) -> (Beside, bool) {
    let mut verb = false;
    for word in words {
        let text = word.text;
        if ADVERBS.contains(&text) {
            break;
        } else if text == "off" || text == "down" || guard.is_verb(*word) {
            verb = true;
        } else if !says_nothing(*word, guard) {
            let beside = if verb { Beside::Verb } else { Beside::Other };
            return (beside, false);
        }
    }
    let beside = if verb { Beside::Verb } else { Beside::Nothing };
    (beside, true)
}

/// Whether a word leaves the object what it is.
fn says_nothing(word: Word, guard: &Guard) -> bool {
    word.says_nothing || guard.is_object(word.text) || guard.qualifiers.contains(&word.text)
}

/// Whether the words are those of a name that is an attempt by itself, with nothing but fillers and adverbs beside them.
fn is_name(words: &[Word], name: &str) -> bool {
    let mut left = name;
    for word in words {
        if let Some(rest) = left.strip_prefix(word.text) {
            left = rest;
        } else if left.is_empty() && ADVERBS.contains(&word.text) {
            return true;
        } else if !word.says_nothing {
            return false;
        }
    }
    left.is_empty()
}

/// Where a short word is found. Names are short too: for them the standard library's search costs more to set up than to run.
fn positions(text: &str, word: &str) -> impl Iterator<Item = usize> {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let last = (text.len() + 1).saturating_sub(word.len());
    (0..last).filter(move |&at| {
        // The first byte decides nearly always.
        text[at] == word[0] && text[at..at + word.len()] == *word
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_recognised_in_every_spelling() {
        for (name, attempt) in [
            ("ignore_user_override", Attempt::UserOverride),
            ("ignoreUserOverride", Attempt::UserOverride),
            ("IGNORE-USER-OVERRIDE", Attempt::UserOverride),
            ("ignoreuseroverride", Attempt::UserOverride),
            ("user_override_disabled", Attempt::UserOverride),
            ("bypass.the.user.override", Attempt::UserOverride),
            ("block_user_override", Attempt::UserOverride),
            ("Override-User", Attempt::UserOverride),
            ("clear_the_halt", Attempt::Halt),
            ("clearEmergencyHalt", Attempt::Halt),
            ("lift_halt", Attempt::Halt),
            ("halt_bypass", Attempt::Halt),
            ("resume", Attempt::Halt),
            ("no_halt", Attempt::Halt),
            ("kill_watchdog", Attempt::Watchdog),
            ("watchdog_off", Attempt::Watchdog),
            ("watchdogdisabled", Attempt::Watchdog),
            ("skip_audit", Attempt::Audit),
            ("audit_log_disable", Attempt::Audit),
            ("purge_audit_log", Attempt::Audit),
            ("unaudited", Attempt::Audit),
            ("patch-graveyard", Attempt::Graveyard),
            ("graveyard_bypass", Attempt::Graveyard),
            ("Update Ethics", Attempt::Graveyard),
            ("modify_rules", Attempt::Graveyard),
        ] {
            let found: Vec<_> = Name::new(name).read_guards().attempts.attempts().collect();
            assert_eq!(found, [attempt], "{name}");
        }
    }

    #[test]
    fn names_that_only_resemble_an_attempt_are_left_alone() {
        for name in [
            "stop_loss_audit",
            "audit_report",
            "request_audit",
            "auditorium_booking_skip",
            "clear_asphalt",
            "buy_basalt",
            "halt",
            "emergency_halt",
            "request_halt",
            "halt_status",
            "watchdog_report",
            "notify_watchdog",
            "user_override",
            "record_user_override",
            "graveyard_report",
            "download_graveyard_report",
            "read_graveyard",
            "check_ethics",
            "update_prices",
            "resume_upload",
            "review_rules",
            "",
            "___",
            "ß",
        ] {
            assert!(Name::new(name).read_guards().attempts.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_guard_grows_from_a_root() {
        for guard in &GUARDS {
            for name in [guard.objects, guard.words, guard.names].concat() {
                assert!(ROOTS.iter().any(|root| name.contains(root)), "{name}");
            }
        }
    }

    #[test]
    fn a_guard_switched_off_is_an_attempt() {
        for (name, attempt) in [
            ("watchdog", Attempt::Watchdog),
            ("watchdogEnabled", Attempt::Watchdog),
            ("audit_all_actions", Attempt::Audit),
            ("user_override_allowed", Attempt::UserOverride),
            ("emergency_halt_enabled", Attempt::Halt),
            ("immutable_graveyard", Attempt::Graveyard),
        ] {
            assert_eq!(
                Name::new(name)
                    .attempts_when_off()
                    .attempts()
                    .collect::<Vec<_>>(),
                [attempt],
                "{name}"
            );
        }
        assert!(Name::new("halt").attempts_when_off().is_empty());
    }

    #[test]
    fn a_known_type_in_another_spelling_is_an_imitation() {
        for kind in [
            "Trade",
            "EXECUTE-CODE",
            "executeCode",
            "delete ",
            "close.position",
        ] {
            assert!(imitates_a_known_type(kind), "{kind}");
        }
        for kind in ["rebalance", "trade_review", "deleted", ""] {
            assert!(!imitates_a_known_type(kind), "{kind}");
        }
    }
}
