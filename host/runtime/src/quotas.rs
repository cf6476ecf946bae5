//! The quotas of an agent: how much it may use over all its invocations, in all and within a minute.
//!
//! [`crate::Limits`] bound one invocation; these bound an agent over time. They are kept by the host; here stand their names, their bounds and
//! how a manifest tightens them.

use serde::{Deserialize, Serialize};

/// Declares every quota once: its documentation, its key, its default, and the most that an operator may set.
macro_rules! quotas {
    ($( $(#[doc = $doc:literal])+ $key:ident: $kind:ident = $default:expr, $most:expr; )+) => {
        /// The quotas of one agent. All of them are always in force: no value switches one off.
        ///
        /// An invocation that would exceed one has no effect; its failure names the quota.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Quotas {
            $( $(#[doc = $doc])+ pub $key: u64, )+
        }

        /// A `[quotas]` table of a manifest. It tightens the operator's quotas for one agent; an absent quota stays as the operator set it.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct QuotasTable {
            $( $(#[doc = $doc])+ #[serde(default, skip_serializing_if = "Option::is_none")] pub $key: Option<u64>, )+
        }

        /// One of the quotas.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum QuotaKind {
            $( $(#[doc = $doc])+ $kind, )+
        }

        impl QuotaKind {
            /// Every quota, in the order of declaration.
            pub const ALL: &[Self] = &[ $( Self::$kind, )+ ];

            /// Returns the key in a `[quotas]` table, which is the name in messages, metrics and the API too.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$kind => stringify!($key), )+
                }
            }
        }

        impl QuotasTable {
            /// Returns whether it tightens nothing.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }

        impl Default for Quotas {
            /// Returns the operator's quotas when the configuration names none.
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        impl Quotas {
            /// Every quota's key, in the order of declaration.
            pub const KEYS: &[QuotaKey] = &[ $( QuotaKey {
                name: stringify!($key),
                documentation: concat!($($doc, "\n"),+),
                default: $default,
                most: $most,
            }, )+ ];

            /// Returns a quota.
            #[must_use]
            pub const fn get(&self, kind: QuotaKind) -> u64 {
                match kind {
                    $( QuotaKind::$kind => self.$key, )+
                }
            }

            /// Checks complete quotas as the operator's.
            ///
            /// # Errors
            /// A quota is 0 or above the most of its [`QuotaKey`].
            pub fn check_ceiling(&self) -> Result<(), QuotaError> {
                $( check_quota(stringify!($key), self.$key, $most)?; )+
                Ok(())
            }

            /// Returns these quotas, as the ceiling, with the tighter ones of a manifest.
            ///
            /// # Errors
            /// A quota of the manifest is 0 or above the ceiling.
            pub fn tightened_by(&self, tighter: &QuotasTable) -> Result<Self, QuotaError> {
                $( if let Some(value) = tighter.$key {
                    check_quota(stringify!($key), value, self.$key)?;
                } )+
                Ok(self.bounded_by(tighter))
            }

            /// Returns these quotas with those of a manifest where they are tighter.
            #[must_use]
            pub fn bounded_by(&self, tighter: &QuotasTable) -> Self {
                Self { $( $key: tighter.$key.map_or(self.$key, |value| value.min(self.$key)), )+ }
            }
        }
    };
}

quotas! {
    /// The bytes that are kept for one agent: its state with all its history, its memories, the truths it wrote, and the messages it sent with
    /// the signals they became. At most a quarter of `capacity.max_database_bytes`.
    ///
    /// A deleted key gives its value back and keeps its history; an expired or deleted memory gives everything back.
    stored_bytes: StoredBytes = 4 * 1024 * 1024 * 1024, 1 << 60;
    /// The bytes that one agent may add to those within a minute.
    stored_bytes_per_minute: StoredBytesPerMinute = 64 * 1024 * 1024, 1 << 60;
    /// The keys of an agent's state that have a value.
    keys: Keys = 100_000, 1 << 60;
    /// The memories that are kept of one agent.
    memories: Memories = 100_000, 1 << 60;
    /// The bytes of the audit log about one agent's actions and failures within a minute. An invocation is refused when they are used up
    /// before it.
    audit_bytes_per_minute: AuditBytesPerMinute = 64 * 1024 * 1024, 1 << 60;
    /// The bytes that one agent may log within a minute. Lines past it are not written, and the invocation is refused.
    log_bytes_per_minute: LogBytesPerMinute = 16 * 1024 * 1024, 1 << 60;
    /// The messages that one agent may send within a minute, counted when they are proposed.
    messages_per_minute: MessagesPerMinute = 12_000, 1 << 60;
}

/// The description of one key of a `[quotas]` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaKey {
    /// The key, e.g. `stored_bytes`.
    pub name: &'static str,
    /// What the quota bounds, as the lines of its documentation comment.
    pub documentation: &'static str,
    /// The operator's quota when the configuration names none.
    pub default: u64,
    /// The most that an operator may set.
    pub most: u64,
}

/// A quota is outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("quotas.{field} is {asked}; give 1 to {most}, or leave it out")]
pub struct QuotaError {
    /// The key, without `quotas.`.
    pub field: &'static str,
    /// The value given.
    pub asked: u64,
    /// The most that is allowed: in a manifest the operator's quota, in `ark.toml` the host's own bound.
    pub most: u64,
}

const fn check_quota(field: &'static str, asked: u64, most: u64) -> Result<(), QuotaError> {
    if 1 <= asked && asked <= most {
        return Ok(());
    }
    Err(QuotaError { field, asked, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_can_only_tighten_and_nothing_can_be_switched_off() {
        let ceiling = Quotas {
            keys: 1000,
            ..Quotas::default()
        };
        let table = |json: &str| serde_json::from_str::<QuotasTable>(json).unwrap();
        for (json, refused) in [
            (r#"{"keys": 1000}"#, None),
            (r#"{"keys": 1}"#, None),
            (r#"{"keys": 0}"#, Some("quotas.keys is 0; give 1 to 1000")),
            (
                r#"{"keys": 1001}"#,
                Some("quotas.keys is 1001; give 1 to 1000"),
            ),
        ] {
            let found = ceiling.tightened_by(&table(json));
            match refused {
                None => assert!(found.is_ok(), "{json}: {found:?}"),
                Some(words) => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.starts_with(words), "{json}: {error}");
                }
            }
        }
        let tightened = ceiling.tightened_by(&table(r#"{"memories": 7}"#)).unwrap();
        assert_eq!((tightened.keys, tightened.memories), (1000, 7));
        // An operator who lowers a quota below a manifest's lowers it for that agent too.
        let lowered = Quotas {
            memories: 5,
            ..ceiling
        };
        assert_eq!(lowered.bounded_by(&table(r#"{"memories": 7}"#)).memories, 5);
    }

    #[test]
    fn every_quota_has_a_key_a_kind_and_a_default_within_its_bounds() {
        let fields = serde_json::to_value(Quotas::default()).unwrap();
        assert_eq!(fields.as_object().unwrap().len(), Quotas::KEYS.len());
        for (key, kind) in Quotas::KEYS.iter().zip(QuotaKind::ALL) {
            assert_eq!(key.name, kind.as_str());
            assert_eq!(fields[key.name].as_u64(), Some(key.default), "{}", key.name);
            assert_eq!(Quotas::default().get(*kind), key.default, "{}", key.name);
            let mut zero = fields.clone();
            zero[key.name] = 0.into();
            let zero: Quotas = serde_json::from_value(zero).unwrap();
            assert_eq!(zero.check_ceiling().unwrap_err().field, key.name);
        }
        assert_eq!(Quotas::default().check_ceiling(), Ok(()));
    }
}
