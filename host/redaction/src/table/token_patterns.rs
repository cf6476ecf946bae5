//! The tokens that a prefix of their own gives away: the rows by which the scanner of tokens goes.
//!
//! Invariant: prefixes and lengths are those of the issuers' documentation; a prefix is ASCII and not empty.
//!
//! Must not know: how a text is scanned.

use super::kinds::FindingKind;

/// A token that its prefix gives away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenPattern {
    pub kind: FindingKind,
    /// How it begins.
    pub prefix: &'static str,
    /// Characters besides ASCII letters and digits.
    pub extra: &'static [u8],
    /// The fewest and the most characters after the prefix. More than the most is another word.
    pub length: (usize, usize),
    /// What the characters after the prefix must hold.
    pub check: TokenCheck,
}

/// What the characters after a token's prefix must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenCheck {
    /// Nothing further.
    None,
    /// Upper-case letters and digits only.
    Upper,
    /// Lower-case hexadecimal digits only.
    Hex,
    /// A digit, since words joined by hyphens look like it otherwise.
    Digit,
    /// Two dots or more between parts of at least eight characters, or one dot before another JSON object.
    WebToken,
}

impl TokenCheck {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Upper => "upper-case letters and digits",
            Self::Hex => "hexadecimal digits",
            Self::Digit => "a digit among them",
            Self::WebToken => {
                "two or three parts of 8 or more, the second a JSON object when there are two"
            }
        }
    }
}

const fn token(
    kind: FindingKind,
    prefix: &'static str,
    extra: &'static [u8],
    length: (usize, usize),
    check: TokenCheck,
) -> TokenPattern {
    TokenPattern {
        kind,
        prefix,
        extra,
        length,
        check,
    }
}

/// No issuer's token is longer than this; what goes on is taken up to here.
const LONG: usize = 1024;

/// The tokens with a prefix of their own. The prefixes and lengths are those of the issuers' documentation.
pub(crate) const TOKENS: &[TokenPattern] = &[
    token(
        FindingKind::AwsAccessKey,
        "AKIA",
        b"",
        (16, 16),
        TokenCheck::Upper,
    ),
    token(
        FindingKind::AwsAccessKey,
        "ASIA",
        b"",
        (16, 16),
        TokenCheck::Upper,
    ),
    token(
        FindingKind::GithubToken,
        "ghp_",
        b"",
        (30, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::GithubToken,
        "gho_",
        b"",
        (30, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::GithubToken,
        "ghu_",
        b"",
        (30, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::GithubToken,
        "ghs_",
        b"",
        (30, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::GithubToken,
        "ghr_",
        b"",
        (30, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::GithubToken,
        "github_pat_",
        b"_",
        (20, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::ArkToken,
        "ark_",
        b"",
        (64, 64),
        TokenCheck::Hex,
    ),
    token(
        FindingKind::SlackToken,
        "xoxa-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xoxb-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xoxe-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xoxe.",
        b"-.",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xoxo-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xoxp-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xoxr-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xoxs-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "xapp-",
        b"-",
        (10, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::SlackToken,
        "https://hooks.slack.com/services/",
        b"/",
        (20, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::JsonWebToken,
        "eyJ",
        b"-_.",
        (16, 65536),
        TokenCheck::WebToken,
    ),
    token(
        FindingKind::ApiKey,
        "sk-",
        b"-_",
        (20, 255),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::ApiKey,
        "sk_live_",
        b"",
        (16, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::ApiKey,
        "sk_test_",
        b"",
        (16, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::ApiKey,
        "rk_live_",
        b"",
        (16, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::ApiKey,
        "whsec_",
        b"+/=",
        (24, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::ApiKey,
        "AIza",
        b"-_",
        (35, 35),
        TokenCheck::None,
    ),
    token(
        FindingKind::ApiKey,
        "GOCSPX-",
        b"-_",
        (20, 64),
        TokenCheck::None,
    ),
    token(
        FindingKind::ApiKey,
        "glpat-",
        b"-_.",
        (20, 255),
        TokenCheck::Digit,
    ),
    token(FindingKind::ApiKey, "npm_", b"", (36, 36), TokenCheck::None),
    token(
        FindingKind::ApiKey,
        "pypi-",
        b"-_",
        (16, LONG),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::ApiKey,
        "SG.",
        b"-_.",
        (32, 128),
        TokenCheck::Digit,
    ),
    token(FindingKind::ApiKey, "hf_", b"", (30, 64), TokenCheck::None),
    token(
        FindingKind::ApiKey,
        "dop_v1_",
        b"",
        (64, 64),
        TokenCheck::Hex,
    ),
    token(
        FindingKind::ApiKey,
        "shpat_",
        b"",
        (32, 32),
        TokenCheck::Hex,
    ),
    token(FindingKind::ApiKey, "dapi", b"", (32, 32), TokenCheck::Hex),
    token(
        FindingKind::ApiKey,
        "hvs.",
        b"-_",
        (24, 255),
        TokenCheck::None,
    ),
    token(
        FindingKind::ApiKey,
        "tskey-",
        b"-",
        (20, 128),
        TokenCheck::Digit,
    ),
    token(
        FindingKind::PrivateKey,
        "AGE-SECRET-KEY-1",
        b"",
        (58, 58),
        TokenCheck::Upper,
    ),
    token(
        FindingKind::PrivateKey,
        "xprv",
        b"",
        (107, 108),
        TokenCheck::None,
    ),
    token(
        FindingKind::PrivateKey,
        "zprv",
        b"",
        (107, 108),
        TokenCheck::None,
    ),
];
