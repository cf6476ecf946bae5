//! What a value looks like: a secret, or a placeholder, a type, a call, a word of a sentence.

use std::ops::Range;

use crate::names::find_secret_meaning;
use crate::table::FindingKind;
use crate::vocabulary::Meaning;

/// How a value stands beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// After `:` or `=`, in quotation marks.
    Quoted,
    /// After `:` or `=`, bare.
    Assigned,
    /// After the name and white space alone, in a sentence.
    Spoken,
}

/// Words that stand after `password:` and are none.
const NO_VALUES: &[&str] = &[
    "required",
    "optional",
    "string",
    "text",
    "none",
    "null",
    "nil",
    "true",
    "false",
    "undefined",
    "empty",
    "missing",
    "invalid",
    "valid",
    "wrong",
    "incorrect",
    "correct",
    "unknown",
    "hidden",
    "masked",
    "redacted",
    "removed",
    "rejected",
    "accepted",
    "changed",
    "reset",
    "expired",
    "rotated",
    "updated",
    "protected",
    "unset",
    "never",
    "must",
    "should",
    "yes",
    "please",
    "the",
    "this",
    "that",
    "your",
    "with",
    "from",
    "when",
    "after",
    "before",
    "check",
    "checked",
    "failed",
    "policy",
    "field",
    "here",
    "there",
    "bytes",
    "byte",
    "char",
    "str",
    "object",
    "array",
    "number",
    "integer",
    "boolean",
    "int",
    "bool",
    "varchar",
    "vec",
    "option",
    "secretstring",
    "secret",
    "default",
    "example",
    "placeholder",
    "changeme",
    "todo",
    "same",
    "also",
    "only",
    "into",
    "over",
    "will",
    "have",
    "were",
    "been",
    "authentication",
    "auth",
    "login",
    "reset",
    "length",
    "hash",
    "hashed",
    "sha256",
    "sha512",
    "argon2",
    "argon2id",
    "bcrypt",
    "pbkdf2",
    "scrypt",
    "base64",
    "md5",
    "sha1",
    "oauth2",
    "utf8",
    "utf16",
    "erforderlich",
    "geändert",
    "obligatoire",
    "requerida",
    "изменён",
    "изменен",
    "требуется",
    "self",
    "super",
    "await",
    "async",
    "return",
    "anonymous",
    "prompt",
    "stdin",
    "ask",
    "file",
    "vault",
    "keychain",
    "keyring",
];

/// Returns whether a text has an ASCII letter and a digit.
pub(super) fn has_letter_and_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Returns whether a value stands for another one or hides it: `${NAME}`, `{{ name }}`, `<name>`, `***`, `[redacted]`, a mark of redaction.
pub(super) fn is_placeholder(value: &str) -> bool {
    let Some(first) = value.chars().next() else {
        return true;
    };
    match first {
        '$' => {
            // `$2b$12$…` is a hash of a password; `$NAME`, `${NAME}` and `$(command)` are not.
            value[1..].starts_with(|c: char| c.is_ascii_alphabetic() || "_{(".contains(c))
                && !value[1..].contains('$')
        }
        '<' => value.ends_with('>'),
        '{' => value.ends_with('}') || value.starts_with("{{"),
        '[' => {
            is_mark(value)
                || (value.ends_with(']')
                    && value[1..].starts_with(|c: char| c.is_ascii_alphabetic()))
        }
        '%' => {
            value.len() > 2 && (value.ends_with('%') || value.starts_with("%(")) || value == "%s"
        }
        // `***`, `xxxx`, `....`, `----`
        '*' | 'x' | 'X' | '•' | '.' | '-' | '_' | '?' | '…' => {
            (value.chars().nth(2).is_some() || !first.is_alphanumeric())
                && value.chars().all(|c| c == first)
        }
        _ => false,
    }
}

/// Returns whether a value is a mark of redaction.
pub(super) fn is_mark(value: &str) -> bool {
    (value.starts_with("[credential:") || value.starts_with("[personal:"))
        && value.ends_with(']')
        && value.matches('[').count() == 1
}

/// Returns whether a value is code that yields the secret or its type: a call, a path, an index, a reference.
fn is_expression(value: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let trimmed = value.trim_start_matches(['&', '*', '!']);
    if value.starts_with('&') && trimmed.starts_with(|c: char| c.is_ascii_alphabetic() || c == '\'')
    {
        return true;
    }
    let head = trimmed.find(|c: char| !is_name(c)).unwrap_or(trimmed.len());
    let rest = &trimmed[head..];
    if head > 0 && trimmed.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        // `get_password()`, `env["X"]`, `Option<String>`, `std::env`
        if rest.starts_with('(')
            || rest.starts_with("[\"")
            || rest.starts_with("['")
            || rest.starts_with("::")
            || rest.starts_with('<')
        {
            return true;
        }
        // `settings.DB_PASSWORD`, `process.env.API_KEY`, `os.environ[…`
        if rest.starts_with('.') {
            let mut parts = value.split('.');
            let is_path = parts.all(|part| {
                part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && part.chars().all(|c| is_name(c) || "()[]\"'?".contains(c))
            });
            let looks_like_names = !trimmed.bytes().any(|byte| byte.is_ascii_digit());
            return is_path && looks_like_names;
        }
    }
    // `self.password = password`, `pwd=user_pwd`: the value is itself a name of a secret.
    trimmed.chars().all(is_name)
        && !trimmed.bytes().any(|byte| byte.is_ascii_digit())
        && matches!(
            find_secret_meaning(trimmed),
            Some(Meaning::Secret(_) | Meaning::Pass | Meaning::BareToken)
        )
}

/// Returns how many of letters, digits and signs a value has.
fn count_classes(value: &str) -> usize {
    let signs = "!#$%&*@^~+=?";
    [
        value.chars().any(char::is_alphabetic),
        value.chars().any(|c| c.is_ascii_digit()),
        value.chars().any(|c| signs.contains(c)),
    ]
    .into_iter()
    .filter(|has| *has)
    .count()
}

/// Returns whether the value of a name with this meaning is a secret, as it stands in a text.
pub(super) fn is_secret(value: &str, meaning: Meaning, style: Style) -> bool {
    if is_placeholder(value)
        || NO_VALUES.contains(&value.to_lowercase().trim_end_matches(['.', '!', '?', ':']))
    {
        return false;
    }
    if style != Style::Quoted && is_expression(value) {
        return false;
    }
    let length = value.chars().count();
    let has_digit = value.bytes().any(|byte| byte.is_ascii_digit());
    match meaning {
        Meaning::Secret(FindingKind::Password) => match style {
            Style::Quoted => length >= 4,
            // Passwords are typed in ASCII: letters of other scripts alone are a sentence.
            Style::Assigned => {
                length >= 4
                    && value.bytes().any(|byte| byte.is_ascii_alphanumeric())
                    && !is_path(value)
            }
            Style::Spoken => length >= 6 && count_classes(value) >= 2 && !is_reference(value),
        },
        Meaning::Pass => length >= 4 && count_classes(value) >= 2,
        Meaning::BareToken => {
            length >= 16
                && has_letter_and_digit(value)
                && !is_address(value)
                && !is_reference(value)
        }
        Meaning::Secret(_) => {
            let least = if style == Style::Spoken { 16 } else { 8 };
            length >= least
                && (has_digit || (length >= 20 && style != Style::Spoken))
                && !is_reference(value)
                && (style != Style::Spoken || has_letter_and_digit(value))
        }
        _ => false,
    }
}

/// Returns whether a value is the path of a file.
fn is_path(value: &str) -> bool {
    value.starts_with(['/', '.', '~'])
        && value.matches('/').count() >= 2
        && !value.contains(['!', '#', '$', '%', '&', '*', '@', '^', '+', '='])
}

/// Returns whether a value is a path, a URL, an assignment or a call rather than one word.
fn is_reference(value: &str) -> bool {
    value.contains("://")
        || value.contains('(')
        || value.starts_with(['/', '.', '~'])
        || value.trim_end_matches('=').contains('=')
        || value.starts_with("arn:")
}

/// Returns whether a value is the address of a contract or an account of a chain, which is public.
fn is_address(value: &str) -> bool {
    value
        .strip_prefix("0x")
        .is_some_and(|hex| hex.len() <= 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || value.starts_with("bc1")
        || value.starts_with("erd1")
        || value.starts_with("cosmos1")
}

/// Returns whether a text that is the whole value of a member is the secret that the member's name says.
pub(crate) fn is_secret_text(value: &str, meaning: Meaning) -> bool {
    let value = value.trim();
    match meaning {
        Meaning::Secret(FindingKind::Password) => {
            !is_placeholder(value) && !NO_VALUES.contains(&value.to_lowercase().as_str())
        }
        Meaning::Secret(_) => {
            !is_placeholder(value)
                && !NO_VALUES.contains(&value.to_lowercase().as_str())
                && !value.contains("://")
        }
        Meaning::Pass | Meaning::BareToken => is_secret(value, meaning, Style::Quoted),
        Meaning::SeedPhrase => value.split_whitespace().count() >= 12,
        _ => false,
    }
}

/// The shortest secret after an authorization scheme.
const MIN_AUTHORIZATION: usize = 6;

/// Returns where the secret is in the value of `Authorization`: after the scheme, or all of it where there is none.
pub(crate) fn authorization_secret(value: &str) -> Option<Range<usize>> {
    let start = value.len() - value.trim_start().len();
    let trimmed = value.trim();
    let secret = match trimmed.split_once(' ') {
        Some((scheme, rest))
            if scheme.len() <= 24
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
        {
            let rest = rest.trim_start();
            let from = start + trimmed.len() - rest.len();
            from..start + trimmed.len()
        }
        _ => start..start + trimmed.len(),
    };
    let text = &value[secret.clone()];
    let long = text.chars().count() >= MIN_AUTHORIZATION;
    (long && !is_placeholder(text) && !NO_VALUES.contains(&text.to_lowercase().as_str()))
        .then_some(secret)
}

/// The shortest value of a cookie that is taken for a secret.
const MIN_COOKIE: usize = 8;
/// Attributes of `Set-Cookie`.
const COOKIE_ATTRIBUTES: &[&str] = &[
    "path", "expires", "domain", "max-age", "samesite", "priority", "version",
];

/// Returns where the secrets are in the value of `Cookie` or `Set-Cookie`.
pub(crate) fn cookie_values(value: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    value.split(';').filter_map(move |pair| {
        let from = start;
        start += pair.len() + 1;
        let (name, secret) = pair.split_once('=')?;
        let trimmed = secret.trim().trim_matches('"');
        let at = from + name.len() + 1 + secret.find(trimmed)?;
        let is_attribute = COOKIE_ATTRIBUTES.contains(&name.trim().to_ascii_lowercase().as_str());
        let is_secret = !is_attribute
            && trimmed.len() >= MIN_COOKIE
            && trimmed.bytes().any(|byte| byte.is_ascii_digit())
            && !is_placeholder(trimmed);
        is_secret.then_some(at..at + trimmed.len())
    })
}
