//! The detectors that are not a plain prefix, as the documentation has them: what each finds, by which form, check and context.
//!
//! Invariant: a row describes the scanners of its kind (`scan`); it is no part of what they do.
//!
//! Must not know: how a text is scanned.

use super::kinds::FindingKind;

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
    pub(super) const fn as_str(self) -> &'static str {
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
