//! Chains of hashes: what makes a changed, missing, moved or added row show.
//!
//! `hash(n) = SHA-256(hash(n-1) || canonical row n)`, where `hash(0)` is 32 zero bytes. The canonical row is its columns in a fixed order,
//! numbers first, each as its length (4 bytes, little endian) and its bytes; a number is 8 bytes, little endian; an absent column has the
//! length 0xFFFFFFFF and no bytes. So no two different rows have the same canonical form.
//!
//! The audit log is one such chain, the history of agents' state another.

use ark_model::ids::Digest;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use crate::query::{digest_column, select_row};

/// The last row of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// The number of the row, and so the number of rows.
    pub seq: u64,
    /// The hash of the row.
    pub hash: Digest,
}

impl ChainHead {
    /// The head of a chain without a row.
    pub const GENESIS: Self = Self {
        seq: 0,
        hash: Digest::from_bytes([0; 32]),
    };

    /// Reads the head from the columns seq and hash.
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            hash: digest_column(row, 1)?,
        })
    }

    /// Reads the head with a query for the columns seq and hash; `None` when it has no row.
    pub(crate) fn select(connection: &Connection, sql: &str) -> rusqlite::Result<Option<Self>> {
        select_row(connection, sql, [], Self::from_row)
    }
}

/// The first fault of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainFault {
    /// The number of the row.
    pub seq: u64,
    /// What is wrong with the row: the rest of a sentence that begins with the row.
    pub problem: String,
}

impl ChainFault {
    /// A row does not have the hash that its columns and the row before it give.
    pub(crate) const CHANGED: &'static str =
        "does not match its hash: it was changed, inserted or moved";

    /// The packed body of a row cannot be unpacked.
    pub(crate) const UNREADABLE: &'static str =
        "cannot be unpacked: it, or the dictionary that it was packed with, was changed";

    pub(crate) fn new(seq: u64, problem: impl Into<String>) -> Self {
        Self {
            seq,
            problem: problem.into(),
        }
    }
}

/// The hash of the row that follows `previous`, from its numbers and texts in their order.
pub(crate) fn chain_hash(previous: Digest, numbers: &[u64], texts: &[Option<&str>]) -> Digest {
    // The last text of an audit row is its body, usually longer than the rest: it is hashed where it is.
    let last = texts.last().copied().flatten().unwrap_or_default();
    let bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
    let mut canonical = Vec::with_capacity(128 + bytes - last.len());
    canonical.extend_from_slice(previous.as_bytes());
    for number in numbers {
        canonical.extend_from_slice(&8u32.to_le_bytes());
        canonical.extend_from_slice(&number.to_le_bytes());
    }
    for (index, text) in texts.iter().enumerate() {
        // A column is shorter than 4 GiB: SQLite's own limit is 1 GB.
        let length = text.map_or(u32::MAX, |text| {
            u32::try_from(text.len()).unwrap_or(u32::MAX - 1)
        });
        canonical.extend_from_slice(&length.to_le_bytes());
        if index + 1 < texts.len() {
            canonical.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
    }
    Digest::hash_parts([canonical.as_slice(), last.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_canonical_row() {
        let previous = Digest::hash_bytes(b"previous");
        let long = "body".repeat(300);
        let rows: [&[Option<&str>]; 6] = [
            &[],
            &[None],
            &[Some("")],
            &[Some("a"), None],
            &[Some("a"), None, Some("bc"), Some("")],
            &[None, Some("a"), Some(&long)],
        ];
        for texts in rows {
            let mut canonical = previous.as_bytes().to_vec();
            for number in [7_u64, u64::MAX] {
                canonical.extend([8, 0, 0, 0]);
                canonical.extend(number.to_le_bytes());
            }
            for text in texts {
                match text {
                    None => canonical.extend([0xFF; 4]),
                    Some(text) => {
                        canonical.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
                        canonical.extend(text.bytes());
                    }
                }
            }
            assert_eq!(
                chain_hash(previous, &[7, u64::MAX], texts),
                Digest::hash_bytes(&canonical),
                "{texts:?}"
            );
        }
    }
}
