//! Recognising names: whether a custom kind, a parameter's key or a one-word value names an attempt on a guard of the system.
//!
//! Matching is on words, whatever the spelling: `ignore_user_override`, `ignoreUserOverride`, `Ignore-User-Override` and
//! `ignoreuseroverride` are the same name. A name is an attempt when it holds an object (`watchdog`) together with
//! * a verb that can mean nothing else (`disable`, `bypass`), anywhere in the name; or
//! * a verb that could be about something else (`stop`, `clear`), right before the object: `stop_audit`, not `stop_loss_audit`.
//!
//! This errs on the side of firing: a harmless custom kind called `disable_watchdog_report` is denied and can be renamed. Prose (text
//! with spaces in it) is not judged: to speak of a guard is no attempt on it.

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

/// How many attempts there are: an attempt is an index below it.
pub const ATTEMPTS: usize = Attempt::Watchdog as usize + 1;

/// Verbs that make any name with a guard in it an attempt. Matched as the start of a word.
const UNMISTAKABLE: [&str; 17] = [
    "disable",
    "disabling",
    "deactivate",
    "bypass",
    "ignore",
    "ignoring",
    "circumvent",
    "skip",
    "suppress",
    "mute",
    "silence",
    "disregard",
    "evade",
    "unload",
    "uninstall",
    "turnoff",
    "switchoff",
];

/// Words that make any name with a guard in it an attempt, as whole words.
const UNMISTAKABLE_WORDS: [&str; 3] = ["no", "off", "without"];

/// Words that say nothing about what a name means.
const FILLERS: [&str; 9] = [
    "the", "a", "an", "ark", "system", "host", "all", "any", "current",
];

struct Pattern {
    attempt: Attempt,
    /// Objects, without separators: found anywhere in a name.
    objects: &'static [&'static str],
    /// Objects that are parts of other words too (`halt` in `asphalt`): found as whole words.
    words: &'static [&'static str],
    /// Verbs that count right before an object.
    adjacent: &'static [&'static str],
    /// Names that are attempts by themselves, when they stand alone.
    names: &'static [&'static str],
    /// Settings, without separators, that are attempts when switched off.
    settings: &'static [&'static str],
}

const PATTERNS: [Pattern; 6] = [
    Pattern {
        attempt: Attempt::Audit,
        objects: &["auditlog", "audittrail"],
        words: &["audit", "audits", "auditing", "auditor"],
        adjacent: &[
            "stop", "kill", "pause", "suspend", "remove", "delete", "clear", "erase", "wipe",
            "purge", "truncate", "tamper", "drop", "rewrite", "override", "avoid", "prevent",
            "block",
        ],
        names: &["unaudited"],
        settings: &[
            "audit",
            "audits",
            "auditing",
            "audited",
            "auditenabled",
            "auditlog",
            "auditlogging",
            "auditlogenabled",
            "auditallactions",
            "enableaudit",
            "enableauditlog",
        ],
    },
    Pattern {
        attempt: Attempt::UserOverride,
        objects: &[
            "useroverride",
            "humanoverride",
            "operatoroverride",
            "userveto",
        ],
        words: &[],
        adjacent: &[
            "stop", "kill", "pause", "suspend", "remove", "delete", "clear", "block", "prevent",
            "reject", "refuse", "deny", "cancel", "forbid", "defeat", "override", "avoid",
        ],
        names: &[
            "overrideuser",
            "overridehuman",
            "overrideoperator",
            "overrideuserdecision",
            "userdecisionoverride",
        ],
        settings: &[
            "useroverride",
            "useroverrides",
            "useroverrideallowed",
            "useroverrideenabled",
            "allowuseroverride",
            "enableuseroverride",
            "humanoverride",
            "humanoverrideallowed",
            "allowhumanoverride",
            "respectuseroverride",
        ],
    },
    Pattern {
        attempt: Attempt::Halt,
        objects: &["emergencyhalt", "emergencystop"],
        words: &["halt", "halts", "halted"],
        adjacent: &[
            "clear", "lift", "end", "cancel", "reset", "release", "resume", "remove", "revoke",
            "undo", "unset", "exit", "leave", "override", "stop", "kill", "prevent", "block",
            "suspend", "delete", "avoid",
        ],
        names: &["resume", "unhalt", "resumefromhalt", "resumeafterhalt"],
        settings: &[
            "emergencyhalt",
            "emergencyhaltenabled",
            "haltenabled",
            "enablehalt",
            "enableemergencyhalt",
            "emergencystopenabled",
        ],
    },
    Pattern {
        attempt: Attempt::Graveyard,
        objects: &["graveyard", "ethics"],
        words: &[],
        adjacent: &[
            "modify",
            "update",
            "change",
            "edit",
            "replace",
            "delete",
            "remove",
            "write",
            "overwrite",
            "patch",
            "amend",
            "alter",
            "unpin",
            "repin",
            "swap",
            "install",
            "drop",
            "set",
            "add",
            "reset",
            "override",
            "rewrite",
            "tamper",
            "reload",
            "unlock",
            "stop",
            "kill",
            "pause",
            "suspend",
            "avoid",
        ],
        names: &[],
        settings: &[
            "graveyard",
            "graveyardenabled",
            "enablegraveyard",
            "enforcegraveyard",
            "immutablegraveyard",
            "ethics",
            "ethicsenabled",
            "enforceethics",
            "enforcerules",
        ],
    },
    Pattern {
        attempt: Attempt::Graveyard,
        objects: &[],
        words: &[],
        adjacent: &[],
        names: &[
            "changerules",
            "modifyrules",
            "disablerules",
            "bypassrules",
            "ignorerules",
            "overriderules",
        ],
        settings: &[],
    },
    Pattern {
        attempt: Attempt::Watchdog,
        objects: &["watchdog"],
        words: &[],
        adjacent: &[
            "stop",
            "kill",
            "pause",
            "suspend",
            "remove",
            "delete",
            "block",
            "prevent",
            "terminate",
            "override",
            "avoid",
        ],
        names: &[],
        settings: &[
            "watchdog",
            "watchdogenabled",
            "watchdogactive",
            "watchdogmonitoring",
            "enablewatchdog",
            "watchdogmonitoringenabled",
        ],
    },
];

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

/// One of these is in every object and every name above, so that most names need no closer look.
const ROOTS: [&str; 10] = [
    "audit",
    "override",
    "veto",
    "halt",
    "stop",
    "graveyard",
    "ethics",
    "rules",
    "watchdog",
    "resume",
];

/// A name, taken apart.
pub struct Name {
    /// Its letters and digits in lower case, with nothing between them.
    pub letters: String,
    /// Where its words start in `letters`: after anything that is no letter or digit, and at a capital after a small letter.
    starts: Vec<usize>,
}

impl Name {
    /// Takes a name apart.
    pub fn new(text: &str) -> Self {
        let mut name = Self {
            letters: String::with_capacity(text.len()),
            starts: Vec::with_capacity(4),
        };
        let (mut between, mut after_small) = (true, false);
        for c in text.chars() {
            if !c.is_alphanumeric() {
                between = true;
                continue;
            }
            if between || (after_small && c.is_uppercase()) {
                name.starts.push(name.letters.len());
            }
            (between, after_small) = (false, c.is_lowercase() || c.is_ascii_digit());
            if c.is_ascii() {
                name.letters.push(c.to_ascii_lowercase());
            } else {
                name.letters.extend(c.to_lowercase());
            }
        }
        name
    }

    /// Which attempts the name is.
    pub fn attempts(&self) -> impl Iterator<Item = Attempt> {
        let looked_at = ROOTS
            .iter()
            .any(|root| positions(&self.letters, root).next().is_some());
        let patterns: &[Pattern] = if looked_at { &PATTERNS } else { &[] };
        // The letters without the fillers, so that `clear_the_halt` has `clearhalt` in it.
        let dense: String = if looked_at {
            self.words()
                .filter(|word| !FILLERS.contains(word))
                .collect()
        } else {
            String::new()
        };
        patterns
            .iter()
            .filter(move |pattern| self.is_attempt(&dense, pattern))
            .map(|pattern| pattern.attempt)
    }

    /// Which attempts it is to switch the setting of this name off.
    pub fn attempts_when_off(&self) -> impl Iterator<Item = Attempt> {
        PATTERNS
            .iter()
            .filter(|pattern| pattern.settings.contains(&self.letters.as_str()))
            .map(|pattern| pattern.attempt)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let ends = self
            .starts
            .iter()
            .skip(1)
            .copied()
            .chain([self.letters.len()]);
        self.starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| &self.letters[start..end])
    }

    fn is_attempt(&self, dense: &str, pattern: &Pattern) -> bool {
        if pattern.names.contains(&self.letters.as_str()) {
            return true;
        }
        let mut named = false;
        for object in pattern.objects.iter().chain(pattern.words) {
            for at in positions(dense, object) {
                let before = &dense.as_bytes()[..at];
                if pattern
                    .adjacent
                    .iter()
                    .chain(&UNMISTAKABLE)
                    .any(|verb| before.ends_with(verb.as_bytes()))
                {
                    return true;
                }
                named |=
                    pattern.objects.contains(object) || self.words().any(|word| word == *object);
            }
        }
        named && self.has_unmistakable_verb(dense)
    }

    fn has_unmistakable_verb(&self, dense: &str) -> bool {
        self.words().any(|word| {
            UNMISTAKABLE_WORDS.contains(&word)
                || UNMISTAKABLE.iter().any(|verb| word.starts_with(verb))
        }) || UNMISTAKABLE
            .iter()
            .any(|verb| verb.len() > 4 && positions(dense, verb).next().is_some())
    }
}

/// Where a short word is found. Names are short too: for them the standard library's search costs more to set up than to run.
fn positions(text: &str, word: &str) -> impl Iterator<Item = usize> {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    text.windows(word.len())
        .enumerate()
        .filter(move |(_, window)| *window == word)
        .map(|(at, _)| at)
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
            let found: Vec<_> = Name::new(name).attempts().collect();
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
            assert_eq!(Name::new(name).attempts().count(), 0, "{name}");
        }
    }

    #[test]
    fn every_pattern_grows_from_a_root() {
        for pattern in &PATTERNS {
            for name in [pattern.objects, pattern.words, pattern.names].concat() {
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
                Name::new(name).attempts_when_off().collect::<Vec<_>>(),
                [attempt],
                "{name}"
            );
        }
        assert_eq!(Name::new("halt").attempts_when_off().count(), 0);
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
