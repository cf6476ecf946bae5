//! Compares the schema that a database has with the one that this program's migrations make: a trigger or a constraint that another program has put
//! there changes what is written, and no check of rows shows that.
//!
//! What another program keeps beside the host's tables is a note: a view, a table, and a trigger on such a table, which no statement of the host
//! fires. A table with a foreign key to one of the host's is none of these: it has rows of the host refused, or fires triggers when one is deleted.
//!
//! A migrated database has the text that the same scripts leave in an empty one. Comments and blanks do not count, nor do the quotes of names. What they leave at
//! last is listed in `objects.tsv`, since to run them all takes a tenth of a start; a test compares the two.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::query::select_rows;

use super::migrations::build_schema;
use super::version::{SCHEMA_VERSION, read_version};

/// The full-text index whose tables `SQLite` itself makes, in a text of its own.
const FULL_TEXT_TABLES: &str = "memory_text_";

/// What a database's schema has that the migrations do not make, or lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SchemaFindings {
    /// What changes what is written or how: no host may start.
    pub(crate) faults: Vec<String>,
    /// What changes no row of the host: an unknown table or view, a trigger on one, or an index that only speeds reading up.
    pub(crate) notes: Vec<String>,
    /// The statements that take out what was added among the faults.
    drops: Vec<String>,
}

impl SchemaFindings {
    /// The statements that take out every fault; empty: there is none, or one of them is no addition, so that no statement gives back what was there.
    pub(crate) fn removals(&self) -> &[String] {
        if self.drops.len() == self.faults.len() {
            &self.drops
        } else {
            &[]
        }
    }
}

/// The objects of the latest schema, a line for each: kind, name, the table it is on and its normalized text, with a tab between.
const LATEST_OBJECTS: &str = include_str!("objects.tsv");

/// The text of each object of a schema and the table it is on, by kind and name.
type SchemaObjects = BTreeMap<(String, String), (String, String)>;

/// Compares the schema of a database with the one of its version.
pub(crate) fn compare_schema(connection: &Connection) -> rusqlite::Result<SchemaFindings> {
    let version = read_version(connection)?.min(SCHEMA_VERSION);
    let found = read_objects(connection)?;
    let expected = if version == SCHEMA_VERSION {
        parse_objects(LATEST_OBJECTS)
    } else {
        read_objects(&build_schema(version)?)?
    };
    let tied = read_tied_tables(connection, &found, &expected)?;
    let mut findings = SchemaFindings::default();
    for ((kind, name), (table, sql)) in &expected {
        let problem = match found.get(&(kind.clone(), name.clone())) {
            None => "is missing",
            Some((on, text)) if on != table || text != sql => {
                "is another one than this program makes"
            }
            Some(_) => continue,
        };
        let finding = format!("{} {problem}", describe_object(kind, name, table));
        if kind == "index" && !is_unique(sql) {
            findings.notes.push(finding);
        } else {
            findings.faults.push(finding);
        }
    }
    for ((kind, name), (table, sql)) in &found {
        if expected.contains_key(&(kind.clone(), name.clone())) {
            continue;
        }
        let object = describe_object(kind, name, table);
        let finding = format!("{object} was not made by this program");
        // Of a trigger it is written as its author wrote it.
        let on_known = expected.contains_key(&("table".to_owned(), table.to_ascii_lowercase()));
        let changes_writes = match kind.as_str() {
            "table" => tied.contains(name),
            "view" => false,
            // A constraint on the host's own table refuses rows, or has them left out.
            "index" => on_known && can_refuse(sql),
            // No statement of the host fires a trigger on a view, or on a table that is not its own.
            "trigger" => on_known,
            _ => true,
        };
        if changes_writes {
            findings.faults.push(finding);
            let (kind, name) = (kind.to_uppercase(), name.replace('"', "\"\""));
            findings.drops.push(format!("DROP {kind} \"{name}\""));
        } else {
            findings.notes.push(finding);
        }
    }
    Ok(findings)
}

/// The unknown tables that have a foreign key to a table of the host.
fn read_tied_tables(
    connection: &Connection,
    found: &SchemaObjects,
    expected: &SchemaObjects,
) -> rusqlite::Result<BTreeSet<String>> {
    let mut tied = BTreeSet::new();
    for object in found.keys() {
        let (kind, name) = object;
        if kind != "table" || expected.contains_key(object) {
            continue;
        }
        let parents: Vec<String> = select_rows(
            connection,
            "SELECT lower(\"table\") FROM pragma_foreign_key_list(?1)",
            [name],
            |row| row.get(0),
        )?;
        let is_known = |parent: String| expected.contains_key(&("table".to_owned(), parent));
        if parents.into_iter().any(is_known) {
            tied.insert(name.clone());
        }
    }
    Ok(tied)
}

fn describe_object(kind: &str, name: &str, table: &str) -> String {
    if name == table {
        format!("the {kind} {name}")
    } else {
        format!("the {kind} {name} on {table}")
    }
}

/// Reads what a schema has, without what `SQLite` adds by itself.
fn read_objects(connection: &Connection) -> rusqlite::Result<SchemaObjects> {
    let rows = select_rows(
        connection,
        "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema
         WHERE type NOT IN ('table', 'index') OR name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        [],
        |row| {
            let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
            let (table, sql): (String, String) = (row.get(2)?, row.get(3)?);
            let is_full_text = kind == "table" && name.starts_with(FULL_TEXT_TABLES);
            let sql = if is_full_text {
                String::new()
            } else {
                normalize_sql(&sql)
            };
            Ok(((kind, name), (table, sql)))
        },
    )?;
    Ok(rows.into_iter().collect())
}

/// Parses lines of objects, as [`LATEST_OBJECTS`] has them.
fn parse_objects(lines: &str) -> SchemaObjects {
    lines
        .lines()
        .map(|line| {
            let mut fields = line.splitn(4, '\t').map(str::to_owned);
            let mut next = || fields.next().unwrap_or_default();
            ((next(), next()), (next(), next()))
        })
        .collect()
}

fn is_unique(normalized: &str) -> bool {
    normalized.starts_with("create unique")
}

/// Whether an index can refuse a row: for a value that is there already, or since an expression of it fails (`json(reason)`).
fn can_refuse(normalized: &str) -> bool {
    is_unique(normalized) || normalized.matches('(').count() > 1 || normalized.contains(")where")
}

/// Brings the text of a statement into the form in which it is compared: lower case outside of strings, no comments, no quotes around names, and
/// blanks only between two words.
fn normalize_sql(sql: &str) -> String {
    let mut normalized = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    let mut is_parted = false;
    while let Some(next) = chars.next() {
        match (next, chars.peek().copied()) {
            ('-', Some('-')) => {
                while chars.next().is_some_and(|one| one != '\n') {}
                is_parted = true;
            }
            ('/', Some('*')) => {
                chars.next();
                let mut before = ' ';
                for one in chars.by_ref() {
                    if before == '*' && one == '/' {
                        break;
                    }
                    before = one;
                }
                is_parted = true;
            }
            ('\'', _) => {
                normalized.push('\'');
                for one in chars.by_ref() {
                    normalized.push(one);
                    if one == '\'' {
                        break;
                    }
                }
                is_parted = false;
            }
            ('"', _) => {}
            (blank, _) if blank.is_whitespace() => is_parted = true,
            (one, _) => {
                let is_word = |character: char| character.is_alphanumeric() || character == '_';
                if is_parted && is_word(one) && normalized.ends_with(is_word) {
                    normalized.push(' ');
                }
                normalized.push(one.to_ascii_lowercase());
                is_parted = false;
            }
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_can_refuse_a_row_is_told_from_one_that_cannot() {
        for (sql, refuses) in [
            ("CREATE INDEX i ON halts (reason, at DESC)", false),
            ("CREATE INDEX i ON halts (reason COLLATE nocase)", false),
            ("CREATE UNIQUE INDEX i ON halts (reason)", true),
            ("CREATE INDEX i ON halts (json(reason))", true),
            (
                "CREATE INDEX i ON halts (reason) WHERE json(reason) <> ''",
                true,
            ),
            ("CREATE INDEX i ON halts (reason)  Where at > 1", true),
        ] {
            assert_eq!(can_refuse(&normalize_sql(sql)), refuses, "{sql}");
        }
    }

    #[test]
    fn the_listed_objects_are_those_that_the_migrations_make() {
        let made = read_objects(&build_schema(SCHEMA_VERSION).unwrap()).unwrap();
        let mut lines = String::new();
        for ((kind, name), (table, sql)) in &made {
            lines.push_str(&[kind, name, table, sql].map(String::as_str).join("\t"));
            lines.push('\n');
        }
        assert!(lines == LATEST_OBJECTS, "objects.tsv must be:\n{lines}");
        assert_eq!(parse_objects(LATEST_OBJECTS), made);
    }

    #[test]
    fn only_what_counts_is_compared() {
        let plain = normalize_sql("CREATE TABLE t (a TEXT DEFAULT 'A  b')");
        let other = "create table \"t\"(\n  -- The first.\n  a /* text */ TEXT\tDEFAULT 'A  b' )";
        assert_eq!(normalize_sql(other), plain);
        for different in [
            "CREATE TABLE t (a TEXT DEFAULT 'A b')",
            "CREATE TABLE t (a TEXT DEFAULT 'a  b')",
            "CREATE TABLE t (aTEXT DEFAULT 'A  b')",
        ] {
            assert_ne!(normalize_sql(different), plain);
        }
    }
}
