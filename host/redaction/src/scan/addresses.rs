//! E-mail addresses and the user's part of URLs.

use super::{Scanner, is_unspaced, values};
use crate::table::FindingKind;

/// The longest local part and the longest domain of an address (RFC 5321), in bytes.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 255;
/// The longest user's part of a URL that is looked at, in bytes.
const MAX_USER_INFO: usize = 320;
/// The shortest secret that is a user's part alone: `https://TOKEN@host`.
const MIN_LONE_TOKEN: usize = 20;

/// Endings that look like a top-level domain and are those of files and units: `logo@2x.png`, `getty@tty1.service`.
const FILE_ENDINGS: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "pdf", "js", "mjs", "ts", "tsx", "css",
    "json", "yaml", "yml", "toml", "html", "xml", "txt", "csv", "log", "conf", "service", "socket",
    "timer", "mount", "target", "path", "slice", "scope", "gz", "tgz", "whl", "jar", "wasm",
];

impl Scanner<'_> {
    /// Scans what stands around an `@`.
    pub(super) fn scan_email(&mut self, at: usize) -> usize {
        let next = at + 1;
        let Some(start) = self.local_start(at) else {
            return next;
        };
        let Some(end) = self.domain_end(next) else {
            return next;
        };
        let local = &self.text[start..at];
        if matches!(local, "git" | "hg" | "svn")
            || self.text[..start].ends_with("://")
            || self.is_remote_path(end)
        {
            return end;
        }
        self.push(FindingKind::Email, start..end)
    }

    /// Returns where the local part before `at` begins.
    fn local_start(&self, at: usize) -> Option<usize> {
        let mut start = at;
        for (offset, character) in self.text[..at].char_indices().rev() {
            let fits = if character.is_ascii() {
                character.is_ascii_alphanumeric() || "._%+-'".contains(character)
            } else {
                character.is_alphabetic() && !is_unspaced(character)
            };
            if !fits || at - offset > MAX_LOCAL {
                break;
            }
            start = offset;
        }
        let trimmed = self.text[start..at].trim_start_matches(|c: char| !c.is_alphanumeric());
        let start = at - trimmed.len();
        (start < at && trimmed.ends_with(|c: char| c.is_alphanumeric() || "_+-".contains(c)))
            .then_some(start)
    }

    /// Returns where the domain from `start` ends, if it is one.
    fn domain_end(&self, start: usize) -> Option<usize> {
        let rest = &self.text[start..self.clip_end(start, MAX_DOMAIN)];
        let is_ascii = rest.starts_with(|c: char| c.is_ascii());
        let length = rest
            .find(|c: char| {
                !(c.is_ascii_alphanumeric()
                    || c == '.'
                    || c == '-'
                    || (!c.is_ascii() && c.is_alphabetic() && !(is_ascii && is_unspaced(c))))
            })
            .unwrap_or(rest.len());
        let domain = rest[..length].trim_end_matches(['.', '-']);
        let (host, last) = domain.rsplit_once('.')?;
        // `alice@example.com-and`: the hyphen joins, it is no part of a top-level domain but `xn--`.
        let last = if last.starts_with("xn--") {
            last
        } else {
            last.split('-').next().unwrap_or(last)
        };
        let is_label = |label: &str| !label.is_empty() && !label.starts_with('-');
        let is_top = last.chars().count() >= 2
            && (last.starts_with("xn--") || last.chars().all(char::is_alphabetic))
            && !FILE_ENDINGS.contains(&last.to_ascii_lowercase().as_str());
        (is_top && host.split('.').all(is_label)).then(|| start + host.len() + 1 + last.len())
    }

    /// Returns whether the address is the host of a remote path: `deploy@host.example.com:/srv/app`.
    fn is_remote_path(&self, end: usize) -> bool {
        self.byte(end) == b':' && {
            let stop = self.skip_some(end + 1, 64, |byte| byte.is_ascii_graphic());
            self.bytes[(end + 1).min(stop)..stop].contains(&b'/')
        }
    }

    /// Scans a URL whose `://` begins at `at`.
    pub(super) fn scan_url(&mut self, at: usize) -> usize {
        let start = at + 3;
        if !self.before(at).is_ascii_alphanumeric() {
            return start;
        }
        let limit = self.clip_end(start, MAX_USER_INFO);
        let rest = &self.text[start..limit];
        let length = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '`' | '<' | '>' | '|' | '\\'))
            .unwrap_or(rest.len());
        let rest = &rest[..length];
        let slash = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let colon = rest[..slash].find(':');
        let Some(colon) = colon else {
            let Some(sign) = rest[..slash].rfind('@') else {
                return start;
            };
            let user = &rest[..sign];
            if user.len() >= MIN_LONE_TOKEN && values::has_letter_and_digit(user) {
                self.push(FindingKind::UrlPassword, start..start + sign);
            }
            return start + sign + 1;
        };
        let secret = &rest[colon + 1..];
        let slash = slash - colon - 1;
        // Before the first slash, the last `@` ends the user's part. A password with a slash goes up to the first `@` after it, unless what
        // stands before the slash is a port.
        let is_port = secret[..slash].bytes().all(|byte| byte.is_ascii_digit());
        let sign = secret[..slash]
            .rfind('@')
            .or_else(|| secret.find('@').filter(|_| !is_port));
        let Some(sign) = sign else {
            return start;
        };
        let after = secret[sign + 1..].chars().next();
        let is_host = after
            .is_some_and(|c| c.is_alphanumeric() || c == '[' || c == '_' || c == '{' || c == '$');
        let secret = &secret[..sign];
        let range = start + colon + 1..start + colon + 1 + sign;
        let end = range.end + 1;
        if secret.is_empty() || !is_host || values::is_placeholder(secret) {
            return if is_host { end } else { start };
        }
        self.push(FindingKind::UrlPassword, range);
        end
    }
}
