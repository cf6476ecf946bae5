//! Reads imports and definitions from the text of a Rust file.
//!
//! This is a reader of tokens, not a parser: it knows comments, literals, `use` trees, paths and the names of items, which is what the
//! structure needs.

use std::collections::BTreeSet;

/// A module's path from the root of its crate; empty for the root.
pub type ModulePath = Vec<String>;

/// What one file imports and defines.
#[derive(Debug, Default, PartialEq)]
pub struct SourceFile {
    /// Paths that are imported with `use`, or that begin with `crate`, `super` or `self` elsewhere; `Name as Other` without ` as Other`.
    pub paths: BTreeSet<Vec<String>>,
    /// Names that `pub use` gives to paths.
    pub reexports: Vec<(String, Vec<String>)>,
    /// Names of items, also of items in functions and impls.
    pub definitions: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Lexeme {
    Word(String),
    /// `::`
    Separator,
    Punctuation(char),
}

/// Keywords before the name of an item.
const ITEMS: [&str; 9] = [
    "struct",
    "enum",
    "trait",
    "fn",
    "type",
    "const",
    "static",
    "union",
    "macro_rules",
];

impl SourceFile {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Self {
        let tokens = without_test_modules(&tokenize(text));
        let mut source = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                // `use<'a>` lists the lifetimes that a type captures.
                Lexeme::Word(word) if word == "use" && !is_punctuation(&tokens, at + 1, '<') => {
                    at = source.read_use(&tokens, at + 1, is_public(&tokens[..at]));
                    continue;
                }
                Lexeme::Word(word) if matches!(word.as_str(), "crate" | "super" | "self") => {
                    let (path, next) = read_path(&tokens, at);
                    let begins = at == 0 || tokens[at - 1] != Lexeme::Separator;
                    if begins && path.len() > 1 {
                        source.paths.insert(path);
                    }
                    at = next;
                    continue;
                }
                Lexeme::Word(word) if ITEMS.contains(&word.as_str()) => {
                    let name = tokens[at + 1..].iter().find_map(|token| match token {
                        Lexeme::Word(name) if name != "mut" => Some(name),
                        _ => None,
                    });
                    source.definitions.extend(name.cloned());
                }
                _ => {}
            }
            at += 1;
        }
        source
    }

    /// Reads the tree after `use`, from `at` to its `;`. Returns the index behind it.
    fn read_use(&mut self, tokens: &[Lexeme], at: usize, public: bool) -> usize {
        let end = tokens[at..]
            .iter()
            .position(|token| *token == Lexeme::Punctuation(';'))
            .map_or(tokens.len(), |length| at + length);
        let mut found = Vec::new();
        read_tree(&tokens[at..end], &[], &mut found);
        for (name, path) in found {
            if public {
                self.reexports.push((name, path.clone()));
            }
            self.paths.insert(path);
        }
        end + 1
    }
}

/// Whether a file's text has a word in its code; what is in comments, literals and modules of tests does not count.
pub fn contains_word(text: &str, wanted: &str) -> bool {
    without_test_modules(&tokenize(text))
        .iter()
        .any(|token| matches!(token, Lexeme::Word(word) if word == wanted))
}

/// Reads the branches of a `use` tree: the name and the path of each import.
fn read_tree(tokens: &[Lexeme], prefix: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let mut depth = 0_u32;
    let branches = tokens.split(|token| {
        match token {
            Lexeme::Punctuation('{') => depth += 1,
            Lexeme::Punctuation('}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *token == Lexeme::Punctuation(',')
    });
    for branch in branches {
        let (segments, next) = read_path(branch, 0);
        let mut path = prefix.to_vec();
        // `a::{self}` imports `a`.
        path.extend(
            segments
                .into_iter()
                .filter(|segment| segment != "self" || prefix.is_empty()),
        );
        match branch.get(next) {
            Some(Lexeme::Punctuation('{')) => {
                let inside = &branch[next + 1..branch.len().saturating_sub(1).max(next + 1)];
                read_tree(inside, &path, found);
            }
            Some(Lexeme::Punctuation('*')) => found.push(("*".to_owned(), path)),
            Some(Lexeme::Word(word)) if word == "as" => {
                if let Some(Lexeme::Word(name)) = branch.get(next + 1) {
                    found.push((name.clone(), path));
                }
            }
            _ => {
                if let Some(name) = path.last().cloned() {
                    found.push((name, path));
                }
            }
        }
    }
}

/// Reads `word::word::…` from `at`. Returns the path and the index behind it, which is also behind a `::` at the end.
fn read_path(tokens: &[Lexeme], at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    let mut next = at;
    if tokens.get(next) == Some(&Lexeme::Separator) {
        next += 1;
    }
    while let Some(Lexeme::Word(word)) = tokens.get(next) {
        path.push(word.clone());
        next += 1;
        if tokens.get(next) != Some(&Lexeme::Separator) {
            break;
        }
        next += 1;
    }
    (path, next)
}

/// Returns whether the tokens end with `pub` or `pub(…)`.
fn is_public(tokens: &[Lexeme]) -> bool {
    let tokens = match tokens.last() {
        Some(Lexeme::Punctuation(')')) => {
            let open = tokens
                .iter()
                .rposition(|token| *token == Lexeme::Punctuation('('));
            &tokens[..open.unwrap_or(0)]
        }
        _ => tokens,
    };
    tokens.last() == Some(&Lexeme::Word("pub".to_owned()))
}

fn is_punctuation(tokens: &[Lexeme], at: usize, wanted: char) -> bool {
    tokens.get(at) == Some(&Lexeme::Punctuation(wanted))
}

/// Takes out `#[cfg(test)] mod name { … }`.
fn without_test_modules(tokens: &[Lexeme]) -> Vec<Lexeme> {
    let word = |text: &str| Lexeme::Word(text.to_owned());
    let attribute = [
        Lexeme::Punctuation('#'),
        Lexeme::Punctuation('['),
        word("cfg"),
        Lexeme::Punctuation('('),
        word("test"),
        Lexeme::Punctuation(')'),
        Lexeme::Punctuation(']'),
        word("mod"),
    ];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let body = at + attribute.len() + 1;
        if tokens[at..].starts_with(&attribute) && is_punctuation(tokens, body, '{') {
            let mut depth = 0_usize;
            at = body;
            while at < tokens.len() {
                match tokens[at] {
                    Lexeme::Punctuation('{') => depth += 1,
                    Lexeme::Punctuation('}') => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Splits a text into tokens, without comments, literals and lifetimes.
fn tokenize(text: &str) -> Vec<Lexeme> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment_length(rest)
        } else if let Some(length) = string_length(rest) {
            length
        } else if first == '\'' {
            quote_length(rest)
        } else if rest.starts_with("::") {
            tokens.push(Lexeme::Separator);
            2
        } else if first == '_' || first.is_alphanumeric() {
            let end = rest.find(|character: char| character != '_' && !character.is_alphanumeric());
            let word = &rest[..end.unwrap_or(rest.len())];
            tokens.push(Lexeme::Word(word.to_owned()));
            word.len()
        } else {
            if !first.is_whitespace() {
                tokens.push(Lexeme::Punctuation(first));
            }
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    tokens
}

/// Returns the length of the block comment that a text begins with, with the comments in it.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the length of the string literal that a text begins with: `"…"`, `b"…"`, `c"…"`, `r#"…"#` and their combinations.
fn string_length(text: &str) -> Option<usize> {
    let prefix = text.find(['"', '#'])?;
    if !matches!(&text[..prefix], "" | "b" | "c" | "r" | "br" | "cr") {
        return None;
    }
    let raw = text[..prefix].ends_with('r');
    let hashes = text[prefix..].chars().take_while(|c| *c == '#').count();
    let body = prefix + hashes + 1;
    if text.as_bytes().get(body - 1) != Some(&b'"') || (hashes > 0 && !raw) {
        return None;
    }
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(
            text[body..]
                .find(&end)
                .map_or(text.len(), |length| body + length + end.len()),
        );
    }
    let mut escaped = false;
    for (at, character) in text[body..].char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(body + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Returns the length of the character literal that a text begins with, or 1 for the quote of a lifetime.
fn quote_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            characters.next();
            let end = characters.find(|(_, character)| *character == '\'');
            end.map_or(text.len(), |(at, _)| at + 1)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::SourceFile;

    fn list_paths(text: &str) -> Vec<String> {
        let source = SourceFile::parse(text);
        source.paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn imports_are_read_from_trees() {
        let text = "use crate::a::{self, B, c::{D as E, F}};\npub use super::g::*;\nuse ::std::fmt;\nuse h;";
        let expected = [
            "crate::a",
            "crate::a::B",
            "crate::a::c::D",
            "crate::a::c::F",
            "h",
            "std::fmt",
            "super::g",
        ];
        assert_eq!(list_paths(text), expected);
    }

    #[test]
    fn paths_elsewhere_count_when_they_begin_in_the_crate() {
        let text = "fn f(x: crate::a::B) -> impl Fn() + use<'_> { other::c(); super::d::<u8>(); self.e; Self::g(); v.crate_name }";
        assert_eq!(list_paths(text), ["crate::a::B", "super::d"]);
    }

    #[test]
    fn comments_and_literals_are_not_read_as_code() {
        let text = r##"
            // use crate::comment;
            /* use crate::block; /* nested */ use crate::block2; */
            const A: &str = "use crate::string; \" use crate::escaped;";
            const B: &str = r#"use crate::raw; " use crate::raw2;"#;
            const C: [char; 3] = ['"', '\'', '\\'];
            fn f<'a>(x: &'a str) {}
            #[cfg(test)]
            mod tests { use super::in_tests; mod deeper { use crate::deeper; } }
            use crate::real;
        "##;
        assert_eq!(list_paths(text), ["crate::real"]);
    }

    #[test]
    fn definitions_and_reexports_are_named() {
        let source = SourceFile::parse(
            "pub(crate) use a::{B, C as D}; use e::F; struct G; static mut H: u8 = 1; macro_rules! i { () => {} } const fn j() {}",
        );
        let names: Vec<&str> = source
            .reexports
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["B", "D"]);
        for name in ["G", "H", "i", "j"] {
            assert!(source.definitions.contains(name), "{name}");
        }
    }
}
