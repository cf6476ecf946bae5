//! The words by which attempts on a guard of the system are recognised: what [`crate::naming`] looks for.

use crate::naming::{Attempt, Word};

/// Verbs that make any name with a guard in it an attempt. Matched as the start of a word.
pub const UNMISTAKABLE: [&str; 26] = [
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
    "neutralize",
    "neutralise",
    "neutralizing",
    "sabotage",
    "shutdown",
    "cripple",
    "defeat",
    "unplug",
    "subvert",
    "turnoff",
    "switchoff",
];

/// Words that say nothing about what a name means.
pub const FILLERS: [&str; 34] = [
    "the",
    "a",
    "an",
    "ark",
    "system",
    "host",
    "all",
    "any",
    "current",
    "my",
    "our",
    "main",
    "of",
    "from",
    "with",
    "this",
    "that",
    "its",
    "every",
    "primary",
    "running",
    "live",
    "whole",
    "entire",
    "on",
    "s",
    "writing",
    "recording",
    "keeping",
    "using",
    "enforcing",
    "checking",
    "watching",
    "guarding",
];

/// Parts of a guard and what it is made of: they leave a name about the guard.
pub const TAILS: [&str; 46] = [
    "log",
    "logs",
    "logging",
    "trail",
    "trails",
    "history",
    "record",
    "records",
    "row",
    "rows",
    "table",
    "entry",
    "entries",
    "module",
    "modules",
    "file",
    "files",
    "wasm",
    "lock",
    "pin",
    "limit",
    "limits",
    "monitoring",
    "monitor",
    "process",
    "timer",
    "thread",
    "service",
    "daemon",
    "check",
    "checks",
    "mode",
    "state",
    "flag",
    "setting",
    "settings",
    "enforcement",
    "engine",
    "policy",
    "policies",
    "exception",
    "exceptions",
    "decision",
    "protection",
    "config",
    "configuration",
];

/// Words that begin what only says when, how or why: nothing behind them changes what a name is about.
pub const ADVERBS: [&str; 32] = [
    "now",
    "today",
    "tonight",
    "immediately",
    "temporarily",
    "permanently",
    "please",
    "quietly",
    "silently",
    "once",
    "forever",
    "completely",
    "entirely",
    "first",
    "again",
    "asap",
    "quickly",
    "until",
    "while",
    "during",
    "before",
    "after",
    "when",
    "if",
    "for",
    "so",
    "then",
    "and",
    "or",
    "at",
    "by",
    "to",
];

/// Verbs that get rid of something together with `off` or `down`.
pub const SWITCHES: [&str; 8] = [
    "turn", "switch", "shut", "set", "put", "take", "power", "toggle",
];

/// What goes on despite a halt.
const GOING_ON: [&str; 12] = [
    "continue", "trade", "trading", "buy", "sell", "order", "execute", "act", "proceed", "run",
    "work", "operate",
];

/// The words of one guard.
pub struct Guard {
    /// What it is to get rid of it.
    pub attempt: Attempt,
    /// Objects, without separators: found anywhere in a name. One that another begins with stands behind it.
    pub objects: &'static [&'static str],
    /// Objects that are parts of other words too (`halt` in `asphalt`): found as whole words.
    pub words: &'static [&'static str],
    /// Those of `words` that an unmistakable verb is about wherever it stands.
    pub unmistakable_words: &'static [&'static str],
    /// Words that may stand beside an object and leave it what it is.
    pub qualifiers: &'static [&'static str],
    /// Verbs that count beside an object.
    pub verbs: &'static [&'static str],
    /// Names that are attempts by themselves, when they stand alone.
    pub names: &'static [&'static str],
    /// Settings, without separators, that are attempts when switched off.
    pub settings: &'static [&'static str],
}

impl Guard {
    /// Whether a word is one of its objects.
    pub fn is_object(&self, word: &str) -> bool {
        self.objects.contains(&word) || self.words.contains(&word)
    }

    /// Whether a word is a verb that gets rid of it. One that is glued to an object may have more to it (`pleasestopwatchdog`).
    pub fn is_verb(&self, word: Word) -> bool {
        if word.is_unmistakable || self.verbs.contains(&word.text) {
            return true;
        }
        if word.glued_behind {
            let text = FILLERS
                .iter()
                .find_map(|filler| word.text.strip_suffix(filler))
                .unwrap_or(word.text);
            return self
                .verbs
                .iter()
                .any(|verb| text.ends_with(verb) || word.text.ends_with(verb));
        }
        word.glued_before
            && self.verbs.iter().any(|verb| {
                let rest = word.text.strip_prefix(verb);
                rest.is_some_and(|rest| ADVERBS.contains(&rest))
            })
    }

    /// Whether a word says that something goes on despite a halt, and this is the guard of the halt.
    pub fn goes_on(&self, word: &str) -> bool {
        self.attempt == Attempt::Halt && GOING_ON.contains(&word)
    }
}

/// The guards.
pub const GUARDS: [Guard; 5] = [
    Guard {
        attempt: Attempt::Audit,
        objects: &["auditlogging", "auditlog", "audittrail"],
        words: &["audit", "audits", "auditing", "auditor", "auditors"],
        unmistakable_words: &["audit", "audits", "auditing", "auditor"],
        qualifiers: &[],
        verbs: &[
            "stop",
            "kill",
            "pause",
            "suspend",
            "remove",
            "delete",
            "clear",
            "erase",
            "wipe",
            "purge",
            "truncate",
            "tamper",
            "drop",
            "rewrite",
            "override",
            "avoid",
            "prevent",
            "block",
            "hide",
            "conceal",
            "falsify",
            "forge",
            "edit",
            "modify",
            "alter",
            "change",
            "replace",
            "destroy",
            "shred",
            "reset",
            "halt",
            "end",
            "terminate",
            "forget",
            "lose",
            "fake",
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
    Guard {
        attempt: Attempt::UserOverride,
        objects: &[
            "useroverride",
            "humanoverride",
            "operatoroverride",
            "userveto",
            "humanveto",
            "operatorveto",
        ],
        words: &["veto", "vetoes", "vetos"],
        unmistakable_words: &[],
        qualifiers: &[
            "user",
            "users",
            "human",
            "operator",
            "operators",
            "standing",
        ],
        verbs: &[
            "stop", "kill", "pause", "suspend", "remove", "delete", "clear", "block", "prevent",
            "reject", "refuse", "deny", "cancel", "forbid", "override", "avoid", "lift", "drop",
            "revoke", "erase", "wipe", "purge",
        ],
        names: &[
            "overrideuser",
            "overridehuman",
            "overrideoperator",
            "overrideuserdecision",
            "overrideoperatordecision",
            "overridehumandecision",
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
    Guard {
        attempt: Attempt::Halt,
        objects: &["emergencyhalt", "emergencystop"],
        words: &["halt", "halts", "halted"],
        unmistakable_words: &["halt", "halts"],
        qualifiers: &["trading", "emergency", "global"],
        verbs: &[
            "clear", "lift", "end", "cancel", "reset", "release", "resume", "remove", "revoke",
            "undo", "unset", "exit", "leave", "override", "stop", "kill", "prevent", "block",
            "suspend", "delete", "avoid", "drop", "pause", "escape",
        ],
        names: &[
            "resume",
            "unhalt",
            "resumefromhalt",
            "resumeafterhalt",
            "resumetrading",
            "forceresume",
            "forceresumetrading",
        ],
        settings: &[
            "emergencyhalt",
            "emergencyhaltenabled",
            "haltenabled",
            "enablehalt",
            "enableemergencyhalt",
            "emergencystopenabled",
        ],
    },
    Guard {
        attempt: Attempt::Graveyard,
        objects: &["graveyard", "ethics"],
        words: &["rules", "rule"],
        unmistakable_words: &[],
        qualifiers: &["safety", "core", "immutable"],
        verbs: &[
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
            "loosen",
            "relax",
            "weaken",
            "break",
            "erase",
            "wipe",
            "destroy",
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
    Guard {
        attempt: Attempt::Watchdog,
        objects: &["watchdog"],
        words: &[],
        unmistakable_words: &[],
        qualifiers: &[],
        verbs: &[
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
            "halt",
            "end",
            "destroy",
            "drop",
            "freeze",
            "blind",
            "sleep",
            "exit",
            "quit",
            "crash",
            "detach",
            "fake",
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

/// One of these is in every object and every name above, so that most names need no closer look.
pub const ROOTS: [&str; 10] = [
    "audit",
    "override",
    "veto",
    "halt",
    "stop",
    "graveyard",
    "ethics",
    "rule",
    "watchdog",
    "resume",
];
