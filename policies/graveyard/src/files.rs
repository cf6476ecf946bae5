//! The files that the host itself is made of, found in paths, patterns and code whatever their spelling.
//!
//! A path is decoded (percent, twice encoded too), stripped of `file://`, folded to plain small letters, and taken apart at `/` and `\`. Each of
//! its components is compared as a name or, where it has wildcards, as a pattern that may mean the file. A pattern without a letter or digit
//! (`*`, `*.*`) means no file in particular: it is not held to mean the host's.

use crate::folding::fold_text;

/// The host's files. What begins with one of these names belongs to it (`ark.db-wal`, `ark.toml.bak`).
const FILES: [&str; 9] = [
    "ark.db",
    "ark.toml",
    "ark.lock",
    "ark.service",
    "anchors.jsonl",
    "restore.pending",
    "graveyard.wasm",
    "graveyard.lock",
    "fleet.key",
];
/// The names that patterns are compared with: the files, and what the database has beside it.
const PATTERN_TARGETS: [&str; 12] = [
    "ark.db",
    "ark.db-wal",
    "ark.db-shm",
    "ark.toml",
    "ark.lock",
    "ark.service",
    "anchors.jsonl",
    "restore.pending",
    "graveyard.wasm",
    "graveyard.lock",
    "fleet.key",
    "ark-data",
];
/// Directories of the host, as they are named by default and by the packaged service: everything in them is the host's.
const DIRECTORIES: [&[&str]; 3] = [&["ark-data"], &["etc", "ark"], &["lib", "ark"]];
/// Directories whose components and manifests are the host's: operator policies and agents.
const COMPONENT_DIRECTORIES: [&str; 2] = ["policies", "agents"];
/// The longest path that is looked at, in bytes (`PATH_MAX`); a longer one cannot be opened.
const LONGEST_PATH: usize = 4096;
/// How many patterns the braces of one component may stand for. Beyond, nobody can say what is meant.
const MOST_ALTERNATIVES: usize = 16;
/// How many words of the texts of an action are looked at closely. Texts with more words that may name a file of the host are taken to name one.
const MOST_WORDS: u32 = 800;
/// How many of these may be patterns, which cost more.
const MOST_PATTERNS: u32 = 64;

/// Whether a path or a pattern of paths may name a file of the host. `destroys`: what is done takes away the thing as a whole, so that a
/// directory of the host counts too.
pub fn names_host_file(path: &str, destroys: bool) -> bool {
    if path.len() > LONGEST_PATH || !may_name_host_file(path.as_bytes()) {
        return false;
    }
    let path = normalize_path(path);
    let components = split_components(&path);
    let is_component_directory = |name: &str| COMPONENT_DIRECTORIES.contains(&name);
    components.iter().enumerate().any(|(at, name)| {
        names_file(name)
            || DIRECTORIES
                .iter()
                .any(|directory| components[at..].starts_with(directory))
            || (is_component_directory(name)
                && match components.get(at + 1) {
                    None => destroys,
                    Some(file) => [".wasm", ".toml"]
                        .iter()
                        .any(|extension| file.ends_with(extension)),
                })
    })
}

/// Whether a component of a path begins with `graveyard`: beside the module, what else an operator keeps of it.
pub fn is_in_graveyard(path: &str) -> bool {
    path.len() <= LONGEST_PATH
        && split_components(&normalize_path(path))
            .iter()
            .any(|name| name.starts_with("graveyard"))
}

/// Looks for files of the host in the texts of one action, which are no paths by themselves: code, commands, notes. The work is bounded over all of
/// them.
#[derive(Debug, Default)]
pub struct FileSearch {
    words: u32,
    patterns: u32,
}

impl FileSearch {
    /// Whether a word of the text names a file of the host.
    pub fn is_mentioned(&mut self, text: &str) -> bool {
        if !may_name_host_file(text.as_bytes()) {
            return false;
        }
        text.split(|c: char| {
            c.is_whitespace() || matches!(c, '(' | ')' | ';' | '|' | '&' | '<' | '>' | '=')
        })
        .any(|word| self.is_in_word(word))
    }

    /// Looks at a word as it stands, without the quotes and escapes in it (`ar"k".db`), and at the parts between them. A pattern of one or two
    /// letters is arithmetic (`a*b`) rather than a pattern; who runs code needs an approval anyway.
    fn is_in_word(&mut self, word: &str) -> bool {
        let is_quote = |c: char| matches!(c, '"' | '\'' | '`');
        if !may_name_host_file(word.as_bytes()) {
            return false;
        }
        let plain: String = word
            .chars()
            .filter(|&c| !is_quote(c) && c != '\\')
            .collect();
        let is_pattern = plain.contains(is_wildcard);
        let letters = plain.chars().filter(|c| c.is_alphanumeric()).count();
        let is_arithmetic = is_pattern && letters + plain.matches('.').count() < 3;
        if is_arithmetic || !(is_pattern || may_name_host_file(plain.as_bytes())) {
            return false;
        }
        self.words += 1;
        self.patterns += u32::from(is_pattern);
        self.words > MOST_WORDS
            || self.patterns > MOST_PATTERNS
            || names_host_file(&plain, false)
            || word
                .split(|c: char| {
                    is_quote(c) || matches!(c, ',' | '[' | ']' | '{' | '}' | ':' | '\\')
                })
                .any(|part| {
                    part.len() < word.len()
                        && !part.contains(is_wildcard)
                        && names_host_file(part, false)
                })
    }
}

/// Cheap and never wrong in saying no: every name of a file of the host has one of these in it, or is hidden behind a wildcard, a code, a quote or
/// letters that are no plain ones; then it has a sign that a name of a file has.
fn may_name_host_file(text: &[u8]) -> bool {
    const ROOTS: [&[u8]; 6] = [
        b"ark",
        b"anchors",
        b"restore",
        b"graveyard",
        b"fleet",
        b"polic",
    ];
    let starts = |at: usize, root: &[u8]| {
        text.get(at..at + root.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(root))
    };
    // The signs of names of files, plain and wide: `.`, `-`, `/`.
    let has_sign = || {
        let wide = [[0xEF, 0xBC, 0x8D], [0xEF, 0xBC, 0x8E], [0xEF, 0xBC, 0x8F]];
        text.iter().any(|byte| matches!(byte, b'.' | b'-' | b'/'))
            || text.windows(3).any(|sign| wide.iter().any(|it| it == sign))
    };
    // Asked once: the answer is the same for every letter of the text.
    if text.iter().any(|byte| *byte >= 0x80) && has_sign() {
        return true;
    }
    text.iter().enumerate().any(|(at, byte)| match byte {
        b'*' | b'?' | b'[' | b'{' | b'%' | b'\\' | b'"' | b'\'' | b'`' => true,
        b'a' | b'A' => starts(at, b"ark") || starts(at, b"anchors") || starts(at, b"agents"),
        b'r' | b'R' | b'g' | b'G' | b'f' | b'F' | b'p' | b'P' => {
            ROOTS.iter().any(|root| starts(at, root))
        }
        _ => false,
    })
}

/// Decodes a path and folds it to plain small letters.
fn normalize_path(path: &str) -> String {
    let mut decoded = path.to_owned();
    for _ in 0..3 {
        match decode_percent(&decoded) {
            Some(next) => decoded = next,
            None => break,
        }
    }
    let lower: String = if decoded.is_ascii() {
        decoded.to_ascii_lowercase()
    } else {
        let mut folded = String::with_capacity(decoded.len());
        fold_text(&decoded, |c| folded.extend(c.to_lowercase()));
        folded
    };
    match lower.trim_start().strip_prefix("file:") {
        Some(rest) => rest.to_owned(),
        None => lower,
    }
}

/// Decodes `%41` once; `None` when nothing is encoded. Bytes that are no UTF-8 become replacement characters.
fn decode_percent(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let (mut at, mut changed) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let digits = || {
            let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
            u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
        };
        if byte == b'%'
            && let Some(value) = digits()
        {
            decoded.push(value);
            (at, changed) = (at + 3, true);
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    changed.then(|| String::from_utf8_lossy(&decoded).into_owned())
}

/// The components of a path, resolved lexically, without what file systems ignore at their ends.
fn split_components(path: &str) -> Vec<&str> {
    let mut components = Vec::new();
    for component in path.split(['/', '\\']) {
        let component = component.trim();
        match component {
            "" | "." => continue,
            ".." => {
                components.pop();
                continue;
            }
            _ => {}
        }
        // A stream of a file (`ark.db::$DATA`) is the file.
        let name = match component.split_once(':') {
            Some((name, _)) if !component.contains('[') => name,
            _ => component,
        };
        let name = name.trim_end_matches(['.', ' ']);
        if !name.is_empty() {
            components.push(name);
        }
    }
    components
}

/// Whether a component is the name of a file of the host, or a pattern that may mean one.
fn names_file(component: &str) -> bool {
    if FILES.iter().any(|file| component.starts_with(file)) {
        return true;
    }
    if !component.contains(is_wildcard)
        || !component.contains(char::is_alphanumeric)
        || !fits_ends(component.as_bytes())
    {
        return false;
    }
    match expand_braces(component) {
        Some(patterns) => patterns.iter().any(|pattern| {
            PATTERN_TARGETS
                .iter()
                .any(|target| matches_pattern(pattern.as_bytes(), target.as_bytes()))
        }),
        None => true,
    }
}

/// Whether the first and the last byte of a pattern, where they are no wildcards, are those of a target. Most patterns end here.
fn fits_ends(pattern: &[u8]) -> bool {
    let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'{' | b'}');
    let fits = |end: Option<&u8>, of: fn(&[u8]) -> Option<&u8>| {
        end.is_none_or(|byte| {
            is_special(byte)
                || PATTERN_TARGETS
                    .iter()
                    .any(|target| of(target.as_bytes()) == Some(byte))
        })
    };
    fits(pattern.first(), <[u8]>::first) && fits(pattern.last(), <[u8]>::last)
}

const fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '?' | '[' | '{')
}

/// The patterns that one with braces stands for (`{ark,x}.db`); `None` when there are too many.
fn expand_braces(pattern: &str) -> Option<Vec<String>> {
    let mut open = vec![pattern.to_owned()];
    let mut done = Vec::new();
    while let Some(pattern) = open.pop() {
        if open.len() + done.len() >= MOST_ALTERNATIVES {
            return None;
        }
        let Some(close) = pattern.find('}') else {
            done.push(pattern);
            continue;
        };
        // The innermost pair: the last brace that opens before the first one that closes.
        let Some(start) = pattern[..close].rfind('{') else {
            done.push(pattern);
            continue;
        };
        for part in pattern[start + 1..close].split(',') {
            open.push(format!(
                "{}{part}{}",
                &pattern[..start],
                &pattern[close + 1..]
            ));
        }
    }
    Some(done)
}

/// Whether a pattern of `*`, `?` and `[…]` matches a whole name of at most 30 bytes. The time is the product of the two lengths; a pattern with more letters than the
/// name has is refused at once.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    // Bit `at`: what was read of the pattern can match the first `at` bytes of the name.
    let all = (1_u32 << (name.len() + 1)) - 1;
    let mut reached = 1_u32;
    let mut rest = pattern;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'*' {
            // From the first place that was reached on, every place is.
            reached = all & !((reached & reached.wrapping_neg()) - 1);
            rest = tail;
            continue;
        }
        let (class, tail) = read_class(byte, tail);
        rest = tail;
        let mut fits = 0_u32;
        for (at, &byte) in name.iter().enumerate() {
            if reached & (1 << at) != 0 && class.contains(byte) {
                fits |= 1 << at;
            }
        }
        reached = fits << 1;
        if reached == 0 {
            return false;
        }
    }
    reached & (1 << name.len()) != 0
}

/// What one place of a pattern accepts.
enum Class<'p> {
    Any,
    One(u8),
    Set { negated: bool, set: &'p [u8] },
}

impl Class<'_> {
    fn contains(&self, byte: u8) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => *one == byte,
            Self::Set { negated, set } => {
                let listed = set.contains(&byte)
                    || set
                        .windows(3)
                        .any(|range| range[1] == b'-' && (range[0]..=range[2]).contains(&byte));
                // A named class (`[[:alpha:]]`) is not read: it may contain anything.
                set.contains(&b':') || listed != *negated
            }
        }
    }
}

fn read_class(byte: u8, tail: &[u8]) -> (Class<'_>, &[u8]) {
    match byte {
        b'?' => (Class::Any, tail),
        b'[' => {
            // The first byte of a class does not end it; a named class in it ends with `:]`.
            let named_end = tail.windows(3).position(|end| end == b":]]");
            let end = match named_end {
                Some(at) => Some(at + 2),
                None => tail
                    .iter()
                    .skip(1)
                    .position(|&b| b == b']')
                    .map(|at| at + 1),
            };
            match end {
                Some(end) => {
                    let (set, tail) = (&tail[..end], &tail[end + 1..]);
                    let negated = matches!(set.first(), Some(b'!' | b'^'));
                    let set = &set[usize::from(negated)..];
                    (Class::Set { negated, set }, tail)
                }
                None => (Class::One(byte), tail),
            }
        }
        _ => (Class::One(byte), tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_host_are_found_in_every_spelling() {
        for path in [
            "ark.db",
            "/var/lib/x/ARK.DB",
            "data/ark.db-wal",
            "ark.db-shm",
            "ark.db.restoring",
            "conf/ark.toml",
            "ark.toml.bak",
            "anchors.jsonl",
            "restore.pending",
            "policies/graveyard.wasm",
            "Graveyard.lock",
            "a\\b\\ark.db",
            "ark%2Edb",
            "%61rk.db",
            "ark%252Edb",
            "%25%36%31rk.db",
            "file:///srv/ark.db",
            "FILE:ark.db",
            "x/../ark.db",
            "x/./ark.db.",
            "ark.db . ",
            " ark.db",
            "ark.db::$DATA",
            "ark.*",
            "*.db",
            "a?k.db",
            "ar[k].db",
            "[a-b]rk.db",
            "[!b]rk.db",
            "[[:alpha:]]rk.db",
            "{ark,x}.db",
            "{a,b}{r,s}k.{db,toml}",
            "ark.{db,toml}",
            "ark.d*",
            "**/ark.*",
            "anchors.*",
            "g*.wasm",
            "ａｒｋ.ｄｂ",
            "аrk.db",
            "a\u{200b}rk.db",
            "policies/limits.wasm",
            "agents/kyle.toml",
            "/etc/ark/tls.pem",
            "/var/lib/ark/capsules/1",
            "ark-data/anything",
            "a/{{ark,b},c}.db",
        ] {
            assert!(names_host_file(path, false), "{path}");
        }
        for path in ["policies", "/srv/agents/", "./policies/"] {
            assert!(names_host_file(path, true), "{path}");
            assert!(!names_host_file(path, false), "{path}");
        }
    }

    #[test]
    fn files_that_only_resemble_one_are_left_alone() {
        for path in [
            "",
            "a.txt",
            "notes/my-graveyard.txt",
            "noah/ark/notes.txt",
            "park.db",
            "mark.toml",
            "market.db",
            "data/ark.dbx/../x",
            "spark.service.md",
            "*",
            "**",
            "*.*",
            "/srv/*",
            "*.txt",
            "{a,b}.csv",
            "[ab].db2",
            "policies/refund.md",
            "policies/travel/rules.pdf",
            "agents.csv",
            "100%",
            "a%zz",
            "x?y",
            "sparkle*",
        ] {
            assert!(!names_host_file(path, false), "{path}");
        }
        assert!(!names_host_file(&"ark.db/".repeat(1000), true));
    }

    #[test]
    fn code_that_names_a_file_is_found_and_other_code_is_not() {
        for code in [
            "rm ark.db",
            "open('ARK.DB')",
            "open(\"/srv/ark.toml\")",
            "rm -rf graveyard.wasm",
            "cp x ark.{db,toml}",
            "rm *.db",
            "ar'k'.db",
            "rm a\\rk.db",
            "cat<ark.db>y",
            "x=ark.toml",
            "[\"a\",\"ark.db\"]",
            "shutil.rmtree('/var/lib/ark')",
            "unlink(%61rk.db)",
            "url:ark.db",
        ] {
            assert!(FileSearch::default().is_mentioned(code), "{code}");
        }
        for code in [
            "",
            "print('graves')",
            "a * b / c",
            "mark.database()",
            "x[1] ? y : z",
            "spark = 1; park.db",
            "glob('*')",
            "y=a*b",
            "x[a] = a*b - c",
            "match k { a => [b] }",
        ] {
            assert!(!FileSearch::default().is_mentioned(code), "{code}");
        }
    }

    #[test]
    fn hostile_patterns_take_bounded_time() {
        let braces = "{a,b}".repeat(800);
        assert!(names_host_file(&braces, false), "too many to say");
        assert!(!names_host_file(&"a*".repeat(2000), false));
        let mentions = |text: &str| FileSearch::default().is_mentioned(text);
        assert!(!mentions(&"abcd* ".repeat(60)));
        assert!(mentions(&"abcd* ".repeat(10_000)), "too many to say");
        assert!(mentions(&"x%61y ".repeat(10_000)), "too many to say");
        assert!(!mentions(&"'quoted' \"words\" ".repeat(4_000)));
        assert!(!mentions(&"слова прозой ".repeat(2_000)));
    }
}
