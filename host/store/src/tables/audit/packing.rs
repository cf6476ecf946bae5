//! Packed bodies: the records of decisions in a tenth of their bytes.
//!
//! Records resemble each other: most of one is the same as in the one before. A body is compressed (zstd, RFC 8878) with a dictionary made of an
//! earlier record. The chain, the API and archives have the body itself, so nobody but this module and the columns `packed` and `dictionary` knows of it.
//!
//! Invariants: a dictionary is never changed, and is committed before or with the first row that needs it; it holds none of the texts that proposers
//! wrote, since it stays when rows are archived; what a row unpacks to is bounded.

use std::cell::RefCell;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Error, Row, params};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

use crate::query::{execute, malformed_column, select_row};

/// Shorter bodies are stored as they are.
const MIN_BODY_BYTES: usize = 256;
/// The longest body that is packed, and that a row may unpack to. A request has 256 KiB, and a record has the texts of one request.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// The longest dictionary.
const MAX_DICTIONARY_BYTES: usize = 16 * 1024;
/// The longest body of which a dictionary is made.
const MAX_SAMPLE_BYTES: usize = 8 * 1024;
/// A dictionary is replaced when a body keeps more than one part in so many of its bytes.
const WANTED_RATIO: usize = 4;
/// So many bodies are packed with one dictionary at least: others that it does not suit are packed less.
const MIN_ROWS: u64 = 1024;
/// The level of the compression: the fastest of the regular ones, since the writer waits for it.
const LEVEL: i32 = 1;

/// A body in its packed form.
pub(crate) struct PackedBody {
    /// The frame.
    pub(super) frame: Vec<u8>,
    /// The number of the dictionary.
    pub(super) dictionary: i64,
}

/// Packs bodies. It belongs to the connection that writes.
#[derive(Default)]
pub(crate) struct BodyPacker {
    current: Option<Dictionary>,
    /// The body of which the next transaction makes a dictionary.
    sample: Option<String>,
    /// How many bodies were packed with the current dictionary.
    rows: u64,
    is_loaded: bool,
}

struct Dictionary {
    id: i64,
    bytes: Vec<u8>,
    compressor: Compressor<'static>,
}

impl Dictionary {
    fn new(id: i64, bytes: Vec<u8>) -> rusqlite::Result<Self> {
        let compressor = Compressor::with_dictionary(LEVEL, &bytes)
            .map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
        Ok(Self {
            id,
            bytes,
            compressor,
        })
    }
}

impl BodyPacker {
    /// Prepares the packer for a transaction that has begun: loads the latest dictionary, and writes a new one when it is time.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub(crate) fn begin(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if !self.is_loaded {
            let latest = "SELECT id, bytes FROM audit_dictionaries ORDER BY id DESC LIMIT 1";
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found: Option<(i64, Vec<u8>)> = select_row(connection, latest, [], read)?;
            self.current = found
                .map(|(id, bytes)| Dictionary::new(id, bytes))
                .transpose()?;
            self.is_loaded = true;
        }
        let Some(sample) = self.sample.take() else {
            return Ok(());
        };
        let mut bytes = blank_texts(&sample);
        let id = match &self.current {
            Some(current) => {
                bytes.extend_from_slice(&current.bytes);
                current.id + 1
            }
            None => 1,
        };
        bytes.truncate(MAX_DICTIONARY_BYTES);
        execute(
            connection,
            "INSERT INTO audit_dictionaries (id, bytes) VALUES (?1, ?2)",
            params![id, bytes],
        )?;
        self.current = Some(Dictionary::new(id, bytes)?);
        self.rows = 0;
        Ok(())
    }

    /// Forgets what a transaction that failed may have written.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Packs a body; `None`: it is stored as it is.
    pub(super) fn pack(&mut self, body: &str) -> Option<PackedBody> {
        if !(MIN_BODY_BYTES..=MAX_BODY_BYTES).contains(&body.len()) {
            return None;
        }
        let Some(current) = &mut self.current else {
            self.offer_sample(body);
            return None;
        };
        let frame = current.compressor.compress(body.as_bytes()).ok()?;
        let packed = PackedBody {
            frame,
            dictionary: current.id,
        };
        self.rows += 1;
        if packed.frame.len() * WANTED_RATIO > body.len() && self.rows >= MIN_ROWS {
            self.offer_sample(body);
        }
        (packed.frame.len() < body.len()).then_some(packed)
    }

    fn offer_sample(&mut self, body: &str) {
        if self.is_loaded && self.sample.is_none() && body.len() <= MAX_SAMPLE_BYTES {
            self.sample = Some(body.to_owned());
        }
    }
}

/// A body without the texts that somebody wrote: of its string values only digests and words in small letters stay, which is what the form of a
/// record consists of.
fn blank_texts(body: &str) -> Vec<u8> {
    let bytes = body.as_bytes();
    let mut blanked = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'"' {
            blanked.push(bytes[at]);
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let text = &bytes[at + 1..end.min(bytes.len())];
        let is_name = bytes.get(end + 1) == Some(&b':');
        blanked.push(b'"');
        if is_name || is_form(text) {
            blanked.extend_from_slice(text);
        }
        blanked.push(b'"');
        at = end + 1;
    }
    blanked
}

/// Whether a text is a keyword or a digest.
fn is_form(text: &[u8]) -> bool {
    let is_word = text.len() <= 16
        && text
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_'));
    let is_digest = text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit);
    is_word || is_digest
}

thread_local! {
    /// The last dictionary that this thread unpacked with, since the rows of a walk share few.
    static UNPACKER: RefCell<Option<(Vec<u8>, Decompressor<'static>)>> = const { RefCell::new(None) };
}

/// Reads the body of a row of the log: what the column `body` has, and what `packed` unpacks to. A row that the program wrote has one of the two.
///
/// # Errors
/// [`Error::FromSqlConversionFailure`] when the row does not unpack.
pub(super) fn read_body(row: &Row<'_>) -> rusqlite::Result<String> {
    let body: String = row.get(8)?;
    let (packed, dictionary) = match (row.get_ref(10)?, row.get_ref(11)?) {
        (ValueRef::Null, _) => return Ok(body),
        (ValueRef::Blob(packed), ValueRef::Blob(dictionary)) => (packed, dictionary),
        _ => return Err(malformed_column(10, "a body without its dictionary")),
    };
    let unpacked = unpack(packed, dictionary)
        .map_err(|error| Error::FromSqlConversionFailure(10, Type::Blob, error))?;
    Ok(body + &unpacked)
}

fn unpack(
    frame: &[u8],
    dictionary: &[u8],
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let size = get_frame_content_size(frame)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= MAX_BODY_BYTES)
        .ok_or("it is no packed body")?;
    UNPACKER.with_borrow_mut(|unpacker| {
        let last = unpacker
            .take()
            .filter(|(bytes, _)| bytes.as_slice() == dictionary);
        let (bytes, mut decompressor) = match last {
            Some(last) => last,
            None => (
                dictionary.to_vec(),
                Decompressor::with_dictionary(dictionary)?,
            ),
        };
        let unpacked = decompressor.decompress(frame, size);
        *unpacker = Some((bytes, decompressor));
        Ok(String::from_utf8(unpacked?)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{SCHEMA_VERSION, migrate};

    fn body(text: &str, number: u32) -> String {
        let answers: Vec<String> = (1..40)
            .map(|rule| format!(r#"[{rule},"pass",{number}.5,{rule}.25]"#))
            .collect();
        format!(
            r#"{{"action":{{"reasoning":"{text}","size":{number}}},"verdicts":[{{"answers":[{}]}}]}}"#,
            answers.join(",")
        )
    }

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = std::path::Path::new("ark.db");
        migrate(&mut connection, path, 0..SCHEMA_VERSION, None).unwrap();
        connection
    }

    #[test]
    fn packed_bodies_unpack_to_themselves_also_after_a_failed_transaction_and_a_new_dictionary() {
        let connection = database();
        let mut packer = BodyPacker::default();
        packer.begin(&connection).unwrap();
        assert!(packer.pack("{}").is_none());
        assert!(packer.pack(&body("a", 0)).is_none(), "no dictionary yet");
        connection.execute_batch("BEGIN").unwrap();
        packer.begin(&connection).unwrap();
        assert!(packer.pack(&body("a", 1)).is_some());
        connection.execute_batch("ROLLBACK").unwrap();
        packer.forget();
        packer.begin(&connection).unwrap();
        assert!(
            packer.pack(&body("a", 1)).is_none(),
            "the dictionary was rolled back"
        );
        let dictionary = |id: i64| -> Vec<u8> {
            let sql = "SELECT bytes FROM audit_dictionaries WHERE id = ?1";
            connection.query_row(sql, [id], |row| row.get(0)).unwrap()
        };
        let check = |packer: &mut BodyPacker, body: &str| -> usize {
            let packed = packer.pack(body).unwrap();
            let bytes = dictionary(packed.dictionary);
            assert_eq!(unpack(&packed.frame, &bytes).unwrap(), body);
            packed.frame.len()
        };
        packer.begin(&connection).unwrap();
        for number in 0..2_000 {
            let body = body("somebody wrote \\\"this\\\"", number);
            assert!(check(&mut packer, &body) * WANTED_RATIO < body.len());
        }
        // Bodies of another form get a dictionary in time, and the first form keeps its own.
        let other = |number: u32| -> String {
            let words: Vec<String> = (0..90)
                .map(|n| format!(r#""f{}":{}"#, n * 7919 % 1000, (n * 7907 + 13) % 997))
                .collect();
            format!(r#"{{"n":{number},{}}}"#, words.join(","))
        };
        let before = check(&mut packer, &other(1));
        packer.begin(&connection).unwrap();
        assert!(check(&mut packer, &other(2)) * 4 < before);
        assert!(check(&mut packer, &body("x", 3)) * WANTED_RATIO < body("x", 3).len());
        assert!(!String::from_utf8(dictionary(2)).unwrap().contains("wrote"));
        // What was changed does not unpack to something else unnoticed, and nothing unpacks without bound.
        assert!(unpack(b"no frame", &dictionary(1)).is_err());
        let huge = zstd::bulk::compress(&vec![0; 17 * 1024 * 1024], 1).unwrap();
        assert!(unpack(&huge, &dictionary(1)).is_err());
    }

    #[test]
    fn a_dictionary_has_no_text_that_somebody_wrote() {
        let body = r#"{"action":{"symbol":"BTC-USD","reasoning":"he said \"no\": 5","side":"buy","list":["Some text","x y"]},"digest":"133c455b22ccd607f400c3d2c44c765f61e8121e476ae85a7d98adce67bc3dab","answers":[[3,"not-applicable"]]}"#;
        let expected = r#"{"action":{"symbol":"","reasoning":"","side":"buy","list":["",""]},"digest":"133c455b22ccd607f400c3d2c44c765f61e8121e476ae85a7d98adce67bc3dab","answers":[[3,"not-applicable"]]}"#;
        assert_eq!(blank_texts(body), expected.as_bytes());
        // A body that breaks off is no reason to panic.
        for end in 0..body.len() {
            let _ = blank_texts(&body[..end]);
        }
    }
}
