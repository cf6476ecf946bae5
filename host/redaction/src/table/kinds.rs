//! The kinds of credentials and personal data, their classes, and the marks that replace them.
//!
//! Invariants: the names are in marks and facts, so that one that there is keeps its name; the order is the precedence.
//!
//! Must not know: by what a kind is found.

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
