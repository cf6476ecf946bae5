//! The memory index: what agents remember, by kind, for a time or permanently, with full-text search (`SQLite` FTS5).

use ark_model::ids::{Millis, Name};
use ark_model::state::{Memory, NewMemory};
use rusqlite::{Connection, Row, params};

use crate::error::{MissingItem, ReadError, WriteError};
use crate::query::{
    execute_cached, millis_column, optional_millis, parse_required, select_row, select_rows,
};
use crate::reader::Reader;
use crate::usage::{MEMORY_BYTES_SQL, UnitUsage, count_memory, to_signed};
use ark_model::usage::QuotaHolder;

/// A memory as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRow {
    /// The id; later memories have greater ones.
    pub id: i64,
    /// The memory.
    pub memory: Memory,
    /// When it was made.
    pub at: Millis,
    /// When it expires; `None`: never.
    pub expires_at: Option<Millis>,
}

/// Which memories to list. A memory must match everything that is given.
#[derive(Debug, Clone, Default)]
pub struct MemoryFilter {
    /// The kind.
    pub kind: Option<String>,
    /// Words that the content must contain, all of them. A word that ends in `*` matches every word that begins with it.
    pub words: Option<String>,
    /// The memory before which the page begins.
    pub before: Option<i64>,
}

/// Writes a memory and counts it for its agent. Returns its id.
pub(crate) fn write_memory(
    connection: &Connection,
    agent: &Name,
    new: &NewMemory,
    at: Millis,
    (writer, usage): (Option<&QuotaHolder>, &mut UnitUsage),
) -> rusqlite::Result<i64> {
    let expires = new
        .ttl_seconds
        .map(|ttl| at.0.saturating_add(ttl.saturating_mul(1000)).min(1 << 62));
    execute_cached(
        connection,
        "INSERT INTO memory_index (agent, kind, content, metadata, at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            agent.as_str(),
            new.memory.kind,
            new.memory.content,
            new.memory.metadata_json,
            at.0,
            expires
        ],
    )?;
    usage.add_kept(agent, to_signed(count_memory(&new.memory)), writer);
    usage.of_holder(&QuotaHolder::Agent(agent.clone())).memories += 1;
    Ok(connection.last_insert_rowid())
}

/// Deletes a memory of an agent, which gets its bytes back.
pub(crate) fn delete_memory(
    connection: &Connection,
    agent: &Name,
    id: i64,
    usage: &mut UnitUsage,
) -> Result<(), WriteError> {
    let sql = format!(
        "DELETE FROM memory_index WHERE agent = ?1 AND id = ?2 RETURNING {MEMORY_BYTES_SQL}"
    );
    let params = params![agent.as_str(), id];
    let Some(bytes) = select_row(connection, &sql, params, |row| row.get(0))? else {
        return Err(WriteError::refuse(MissingItem::Memory {
            agent: agent.clone(),
            id,
        }));
    };
    give_back_memory(usage, agent, bytes);
    Ok(())
}

/// Deletes the memories that have expired. Their agents get the bytes back.
pub(crate) fn delete_expired_memories(
    connection: &Connection,
    now: Millis,
    usage: &mut UnitUsage,
) -> rusqlite::Result<()> {
    let sql = format!(
        "DELETE FROM memory_index WHERE expires_at <= ?1 RETURNING agent, {MEMORY_BYTES_SQL}"
    );
    let expired = select_rows(connection, &sql, [now.0], |row| {
        Ok((parse_required(row, 0)?, row.get(1)?))
    })?;
    for (agent, bytes) in expired {
        give_back_memory(usage, &agent, bytes);
    }
    Ok(())
}

fn give_back_memory(usage: &mut UnitUsage, agent: &Name, bytes: i64) {
    let growth = usage.of_holder(&QuotaHolder::Agent(agent.clone()));
    growth.stored = growth.stored.saturating_sub(bytes);
    growth.memories -= 1;
}

/// Writes each word as a string of FTS5's query language, so that no word is taken for an operator.
fn fts_query(words: &str) -> String {
    let words = words.split_whitespace().map(|word| {
        let (word, star) = match word.strip_suffix('*') {
            Some(start) if !start.is_empty() => (start, "*"),
            _ => (word, ""),
        };
        format!("\"{}\"{star}", word.replace('"', "\"\""))
    });
    words.collect::<Vec<_>>().join(" ")
}

fn read_memory_row(row: &Row<'_>) -> rusqlite::Result<MemoryRow> {
    Ok(MemoryRow {
        id: row.get(0)?,
        memory: Memory {
            kind: row.get(1)?,
            content: row.get(2)?,
            metadata_json: row.get(3)?,
        },
        at: millis_column(row, 4)?,
        expires_at: optional_millis(row, 5)?,
    })
}

impl Reader {
    /// An agent's latest memories that have not expired, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn recent_memories(
        &self,
        agent: &Name,
        kind: Option<&str>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Memory>, ReadError> {
        let filter = MemoryFilter {
            kind: kind.map(str::to_owned),
            ..MemoryFilter::default()
        };
        let rows = self.memories_page(agent, &filter, limit, now)?;
        Ok(rows.into_iter().map(|row| row.memory).collect())
    }

    /// An agent's memories that match and have not expired, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn memories_page(
        &self,
        agent: &Name,
        filter: &MemoryFilter,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<MemoryRow>, ReadError> {
        let words = filter.words.as_deref().map(fts_query);
        let sql = format!(
            "SELECT id, kind, content, metadata, at, expires_at FROM memory_index
             WHERE agent = ?1 AND (?2 IS NULL OR kind = ?2)
             AND (expires_at IS NULL OR expires_at > ?3) AND id < ?5 {} ORDER BY id DESC LIMIT ?4",
            match words {
                Some(_) => "AND id IN (SELECT rowid FROM memory_text WHERE memory_text MATCH ?6)",
                None => "AND ?6 IS NULL",
            },
        );
        let params = params![
            agent.as_str(),
            filter.kind,
            now.0,
            limit,
            filter.before.unwrap_or(i64::MAX),
            words
        ];
        self.select_rows(&sql, params, read_memory_row)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_never_operators() {
        for (words, query) in [
            ("stop loss", "\"stop\" \"loss\""),
            ("a OR b", "\"a\" \"OR\" \"b\""),
            ("x\" OR \"y", "\"x\"\"\" \"OR\" \"\"\"y\""),
            ("brea* *", "\"brea\"* \"*\""),
        ] {
            assert_eq!(super::fts_query(words), query);
        }
    }
}
