//! The table of detectors: what is found, by which form, check and context.
//!
//! `docs/redaction.md` holds [`detectors_markdown`]; a test compares them. The rows of tokens are also what the scanner reads
//! ([`TOKENS`]); the other rows describe the scanners of their names.

use std::fmt::Write as _;

/// Whether a kind is a secret or is about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Anyone who knows it can act in the place of its owner.
    Credential,
    /// It identifies a person or the person's account.
    Personal,
}

impl Class {
    /// Returns the word that marks begin with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Personal => "personal",
        }
    }
}

/// A kind of credential or personal data. The order is the precedence where two overlap: the first names the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// A text that could not be settled. It is withheld as a whole.
    Unreadable,
    /// A private key: PEM, an extended private key, or by its name.
    PrivateKey,
    /// The words from which a wallet is restored.
    SeedPhrase,
    /// The password in a URL.
    UrlPassword,
    /// An access key of AWS.
    AwsAccessKey,
    /// A token of GitHub.
    GithubToken,
    /// A token of this host.
    ArkToken,
    /// A token or webhook of Slack.
    SlackToken,
    /// A JSON web token.
    JsonWebToken,
    /// A key of an API, by its form or its name.
    ApiKey,
    /// What follows `Bearer`, or a scheme after `Authorization`.
    BearerToken,
    /// A token by its name, or a cookie.
    AccessToken,
    /// A password, passphrase or shared secret, by its name.
    Password,
    /// An e-mail address.
    Email,
    /// An international bank account number.
    Iban,
    /// The number of a payment card, or its security code.
    PaymentCard,
    /// A social security number of the United States.
    UsSsn,
    /// A telephone number.
    Phone,
}

impl FindingKind {
    /// Returns the name in marks and facts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::PrivateKey => "private-key",
            Self::SeedPhrase => "seed-phrase",
            Self::UrlPassword => "url-password",
            Self::AwsAccessKey => "aws-access-key",
            Self::GithubToken => "github-token",
            Self::ArkToken => "ark-token",
            Self::SlackToken => "slack-token",
            Self::JsonWebToken => "json-web-token",
            Self::ApiKey => "api-key",
            Self::BearerToken => "bearer-token",
            Self::AccessToken => "access-token",
            Self::Password => "password",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::PaymentCard => "payment-card",
            Self::UsSsn => "us-ssn",
            Self::Phone => "phone",
        }
    }

    /// Returns the class of the kind.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Email | Self::Iban | Self::PaymentCard | Self::UsSsn | Self::Phone => {
                Class::Personal
            }
            _ => Class::Credential,
        }
    }

    /// Returns the text that replaces a value of this kind.
    #[must_use]
    pub fn mark(self) -> String {
        format!("[{}:{}]", self.class().as_str(), self.as_str())
    }
}

/// How sure a match is without looking at what stands around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// The form is the issuer's own, or a check digit and a registry of forms agree.
    High,
    /// The form is common to the kind and rare otherwise; words around it can speak against it.
    Medium,
    /// The form says nothing. Only a name or a word beside it does.
    ByContext,
}

impl Confidence {
    const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::ByContext => "by context",
        }
    }
}

/// A row of the table of detectors.
#[derive(Debug, Clone, Copy)]
pub struct Detector {
    /// The kind that it finds.
    pub kind: FindingKind,
    /// The prefix or the form.
    pub form: &'static str,
    /// The length in characters.
    pub length: &'static str,
    /// What is checked beyond form and length.
    pub check: &'static str,
    /// Which words, names or neighbours speak for or against it.
    pub context: &'static str,
    /// How sure the form alone is.
    pub confidence: Confidence,
}

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
    const fn as_str(self) -> &'static str {
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

/// The detectors that are not a plain prefix.
pub const DETECTORS: &[Detector] = &[
    Detector {
        kind: FindingKind::PrivateKey,
        form: "`-----BEGIN … PRIVATE KEY-----` and what follows up to the end mark; without one, up to the last line of Base64",
        length: "16 or more after the header",
        check: "",
        context: "a mere mention of the header is none",
        confidence: Confidence::High,
    },
    Detector {
        kind: FindingKind::PrivateKey,
        form: "the value of a name such as `private_key`, `privkey`, `wif`",
        length: "16 or more",
        check: "no placeholder",
        context: "the name",
        confidence: Confidence::ByContext,
    },
    Detector {
        kind: FindingKind::SeedPhrase,
        form: "words of 3 to 8 lower-case letters after `seed phrase`, `mnemonic`, `recovery phrase`",
        length: "12 to 24 words",
        check: "",
        context: "the words before it",
        confidence: Confidence::ByContext,
    },
    Detector {
        kind: FindingKind::UrlPassword,
        form: "between the first `:` after `scheme://` and the `@` that ends the user's part; `/` may occur in it",
        length: "1 to 256",
        check: "no port, no placeholder",
        context: "",
        confidence: Confidence::High,
    },
    Detector {
        kind: FindingKind::ApiKey,
        form: "8 to 10 digits, `:`, then `AA` and 33 of letters, digits, `_`, `-` (the token of a Telegram bot)",
        length: "44 to 46",
        check: "",
        context: "",
        confidence: Confidence::High,
    },
    Detector {
        kind: FindingKind::ApiKey,
        form: "the value of a name such as `api_key`, `apiSecret`, `X-Api-Key`, `S3_SECRET_KEY`",
        length: "8 or more; 16 or more after white space alone",
        check: "a digit in it, or 20 characters; no placeholder",
        context: "the name",
        confidence: Confidence::ByContext,
    },
    Detector {
        kind: FindingKind::BearerToken,
        form: "the value after `Authorization` (its scheme stays), and what follows `Bearer`",
        length: "6 or more; 16 or more with a digit after `Bearer` alone",
        check: "no placeholder",
        context: "the name or the scheme",
        confidence: Confidence::ByContext,
    },
    Detector {
        kind: FindingKind::AccessToken,
        form: "the value of a name such as `access_token`, `refreshToken`, `_authToken`, `jwt`; each value in `Cookie` and `Set-Cookie`",
        length: "8 or more; for `token` alone 16 or more",
        check: "a digit in it; no placeholder, no address of a contract",
        context: "the name",
        confidence: Confidence::ByContext,
    },
    Detector {
        kind: FindingKind::Password,
        form: "the value of a name such as `password`, `DB_PASSWORD`, `dbPassword`, `clientSecret`, `pwd`, `passphrase`, in the languages of the corpus; `--password VALUE`, `-u NAME:VALUE`",
        length: "4 or more; in a sentence 6 or more",
        check: "no placeholder, type, call or word of a sentence; in a sentence two of letters, digits, signs",
        context: "the name",
        confidence: Confidence::ByContext,
    },
    Detector {
        kind: FindingKind::Email,
        form: "`local@domain.tld`, also with letters of other scripts",
        length: "local 64, domain 255 at most",
        check: "the last label has letters only and is no file's or unit's extension",
        context: "not in a URL's user part, not `git@host:path`",
        confidence: Confidence::High,
    },
    Detector {
        kind: FindingKind::Iban,
        form: "country code, two digits, letters and digits; groups of four may be set apart",
        length: "that of the country",
        check: "remainder 1 modulo 97 (ISO 13616)",
        context: "",
        confidence: Confidence::High,
    },
    Detector {
        kind: FindingKind::PaymentCard,
        form: "digits, together or in the groups of cards, with an issuer's prefix",
        length: "that of the issuer: 13 to 19",
        check: "check digit (ISO/IEC 7812-1)",
        context: "not after words for identifiers, amounts and times (`order 4111…`), unless in groups; `Maestro` only after a word for cards",
        confidence: Confidence::Medium,
    },
    Detector {
        kind: FindingKind::PaymentCard,
        form: "the value of a name such as `card_number`, `cvv`",
        length: "12 to 19; codes 3 or 4",
        check: "digits only",
        context: "the name",
        confidence: Confidence::ByContext,
    },
    Detector {
        kind: FindingKind::UsSsn,
        form: "`AAA-GG-SSSS`; nine digits after `ssn` or `social security`",
        length: "9 digits",
        check: "numbers that are issued: area not 000, 666 or 9xx, no part zero",
        context: "not joined to other text by `-` or `.`, not after words for identifiers",
        confidence: Confidence::Medium,
    },
    Detector {
        kind: FindingKind::Phone,
        form: "`+` and a number of a country's plan; `00` alike when in groups or after a word for telephones",
        length: "that of the country's plan, 15 digits at most",
        check: "the national number is no 0… and not round",
        context: "not after words for amounts, not before a currency or unit",
        confidence: Confidence::Medium,
    },
    Detector {
        kind: FindingKind::Phone,
        form: "`(AAA) BBB-CCCC`, or a national number after a word for telephones",
        length: "7 to 12 digits",
        check: "",
        context: "the word before it",
        confidence: Confidence::ByContext,
    },
];

/// Returns the table of detectors as Markdown, for `docs/redaction.md`.
#[must_use]
pub fn detectors_markdown() -> String {
    let mut text = String::from(
        "| kind | class | prefix or form | length | check | context | confidence |\n|---|---|---|---|---|---|---|\n",
    );
    for row in TOKENS {
        let (least, most) = row.length;
        let length = if least == most {
            format!("{least} after the prefix")
        } else {
            format!("{least} to {most} after the prefix")
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | {length} | {} | | {} |",
            row.kind.as_str(),
            row.kind.class().as_str(),
            row.prefix,
            row.check.as_str(),
            Confidence::High.as_str()
        );
    }
    for row in DETECTORS {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            row.kind.as_str(),
            row.kind.class().as_str(),
            row.form,
            row.length,
            row.check,
            row.context,
            row.confidence.as_str()
        );
    }
    text
}
