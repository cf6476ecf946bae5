//! Packed bodies: the records of decisions in a tenth of their bytes.
//!
//! Records resemble each other: most of one is the same as in the one before. A body is compressed (zstd, RFC 8878) with a dictionary made of an
//! earlier record, behind tables that all dictionaries have. The chain, the API and archives have the body itself, so nobody but this module and the column `packed` knows of it. That column
//! has the number of the dictionary ([`NUMBER_BYTES`] bytes), then one frame.
//!
//! Invariants: a dictionary is never changed, and is committed before or with the first row that needs it; it holds no text and no number of a proposed
//! action, since it may stay when rows are archived; a row has one form, so nothing can be hidden beside the frame; what a row unpacks to is bounded.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Error, Row, params};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{compress_bound, find_frame_compressed_size, get_frame_content_size};

use crate::query::{execute_cached, malformed_column, select_row, select_value};

use super::blank_record::blank_values;

/// What a dictionary begins with (RFC 8878, section 5): the entropy tables (Huffman and FSE). Without them zstd makes tables for each body, which takes
/// a third of the time. They were trained on 1,000 records with actions of all built-in families (`ZDICT_finalizeDictionary` of zstd 1.5.7); a body that they
/// do not suit only gets longer. Their number is 0, so that no frame repeats it.
const TABLES: &[u8] = include_bytes!("packing_tables.zdict");
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
/// The number of bodies that are packed with the first dictionary at least; each further one serves for twice as many. So bodies that no dictionary
/// suits make few.
const MIN_ROWS: u64 = 1024;
/// The bytes of the number of a dictionary, with the most significant one first.
const NUMBER_BYTES: usize = 4;
/// How often the dictionary in use is compared with the one in the database.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);
/// A buffer with more bytes than this is not kept for the next body.
const MAX_KEPT_BYTES: usize = 256 * 1024;
/// The level of the compression. At the regular ones zstd encodes also the few bytes that the dictionary does not have, which makes a usual record a sixth shorter
/// and takes a quarter longer; below zero it stores them as they are. The writer waits for it.
const LEVEL: i32 = -3;
/// A longer body is compressed at the lowest regular level: it has long texts, which would take a third more as they are.
const MAX_USUAL_BYTES: usize = 4 * 1024;
/// The level for longer bodies.
const LONG_LEVEL: i32 = 1;

/// Packs bodies. It belongs to the connection that writes.
#[derive(Default)]
pub(crate) struct BodyPacker {
    current: Option<Dictionary>,
    /// The number of the latest dictionary in the database; 0: there is none.
    latest: u32,
    /// The body of which the next transaction makes a dictionary.
    sample: Option<String>,
    /// How many bodies were packed with the current dictionary.
    rows: u64,
    is_loaded: bool,
    /// When the current dictionary was last seen in the database.
    checked: Option<Instant>,
    /// What the last body was compressed to.
    frame: Vec<u8>,
}

struct Dictionary {
    number: u32,
    bytes: Vec<u8>,
    compressor: Compressor<'static>,
    /// For bodies above [`MAX_USUAL_BYTES`], from the first one on: without the tables, since a long body is shorter with tables of its own.
    long_compressor: Option<Compressor<'static>>,
}

/// The content of a dictionary, which frames refer to.
fn strip_tables(dictionary: &[u8]) -> &[u8] {
    dictionary.strip_prefix(TABLES).unwrap_or(dictionary)
}

impl Dictionary {
    fn new(number: u32, bytes: Vec<u8>) -> rusqlite::Result<Self> {
        let compressor = Compressor::with_dictionary(LEVEL, &bytes)
            .map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
        Ok(Self {
            number,
            bytes,
            compressor,
            long_compressor: None,
        })
    }

    fn lacks_tables(&self) -> bool {
        !self.bytes.starts_with(TABLES)
    }

    /// Returns the compressor for a body of so many bytes.
    fn compressor_for(&mut self, bytes: usize) -> std::io::Result<&mut Compressor<'static>> {
        if bytes <= MAX_USUAL_BYTES {
            return Ok(&mut self.compressor);
        }
        match &mut self.long_compressor {
            Some(compressor) => Ok(compressor),
            missing @ None => {
                let content = strip_tables(&self.bytes);
                Ok(missing.insert(Compressor::with_dictionary(LONG_LEVEL, content)?))
            }
        }
    }
}

impl BodyPacker {
    /// Prepares the packer for a transaction that has begun: loads the latest dictionary, sees to it that the database still has it, and writes a new
    /// one when it is time. `may_write`: whether there is room for more than what must be written.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub(crate) fn begin(
        &mut self,
        connection: &Connection,
        may_write: bool,
    ) -> rusqlite::Result<()> {
        if !self.is_loaded {
            let latest = "SELECT id, bytes FROM audit_dictionaries ORDER BY id DESC LIMIT 1";
            let read = |row: &Row<'_>| Ok((read_number(row)?, row.get(1)?));
            let found: Option<(u32, Vec<u8>)> = select_row(connection, latest, [], read)?;
            self.latest = found.as_ref().map_or(0, |(number, _)| *number);
            self.current = found
                .map(|(number, bytes)| Dictionary::new(number, bytes))
                .transpose()?;
            self.is_loaded = true;
        }
        self.keep_current(connection)?;
        let sample = self.sample.take();
        // A dictionary of an earlier version has none.
        let lacks_tables = self.current.as_ref().is_some_and(Dictionary::lacks_tables);
        if !may_write || (sample.is_none() && !lacks_tables) {
            return Ok(());
        }
        let mut bytes = TABLES.to_vec();
        if let Some(sample) = sample {
            bytes.append(&mut blank_values(&sample));
        }
        if let Some(current) = &self.current {
            bytes.extend_from_slice(strip_tables(&current.bytes));
        }
        let Some(number) = self.latest.checked_add(1) else {
            return Ok(());
        };
        bytes.truncate(MAX_DICTIONARY_BYTES);
        execute_cached(
            connection,
            "INSERT INTO audit_dictionaries (id, bytes) VALUES (?1, ?2)",
            params![number.to_be_bytes(), bytes],
        )?;
        self.current = Some(Dictionary::new(number, bytes)?);
        self.latest = number;
        self.checked = Some(Instant::now());
        self.rows = 0;
        Ok(())
    }

    /// Writes the current dictionary again if the database has another one under its number: what is packed from now on could not be read, and
    /// neither could what was packed before.
    fn keep_current(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let now = Instant::now();
        let is_due = |checked| now.saturating_duration_since(checked) >= CHECK_INTERVAL;
        if !self.checked.is_none_or(is_due) {
            return Ok(());
        }
        let number = current.number.to_be_bytes();
        let is_there: bool = select_value(
            connection,
            "SELECT EXISTS (SELECT 1 FROM audit_dictionaries WHERE id = ?1 AND bytes = ?2)",
            params![number, current.bytes],
        )?;
        if !is_there {
            tracing::error!(
                dictionary = current.number,
                "a dictionary of the audit log was changed in the database; it is written again"
            );
            execute_cached(
                connection,
                "INSERT INTO audit_dictionaries (id, bytes) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET bytes = ?2",
                params![number, current.bytes],
            )?;
        }
        self.checked = Some(now);
        Ok(())
    }

    /// Forgets what a transaction that failed may have written.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Packs a body, for the column `packed`: appends what that gets to `packed`. Returns false, and appends nothing, for a body that is stored as
    /// it is.
    pub(super) fn pack(&mut self, body: &str, packed: &mut Vec<u8>) -> bool {
        if !(MIN_BODY_BYTES..=MAX_BODY_BYTES).contains(&body.len()) {
            return false;
        }
        let Some(current) = &mut self.current else {
            self.offer_sample(body);
            return false;
        };
        let number = current.number;
        self.frame.clear();
        self.frame.reserve(compress_bound(body.len()));
        let compressed = current
            .compressor_for(body.len())
            .and_then(|compressor| compressor.compress_to_buffer(body.as_bytes(), &mut self.frame));
        if let Err(error) = compressed {
            tracing::error!(dictionary = number, %error, "a record cannot be compressed with this dictionary: it is stored as it is, and another dictionary is made");
            self.current = None;
            self.frame = Vec::new();
            self.offer_sample(body);
            return false;
        }
        let bytes = NUMBER_BYTES + self.frame.len();
        let least = MIN_ROWS << number.saturating_sub(1).min(20);
        self.rows += 1;
        if bytes * WANTED_RATIO > body.len() && self.rows >= least {
            self.offer_sample(body);
        }
        let is_shorter = bytes < body.len();
        if is_shorter {
            packed.extend_from_slice(&number.to_be_bytes());
            packed.extend_from_slice(&self.frame);
        }
        if self.frame.capacity() > MAX_KEPT_BYTES {
            self.frame = Vec::new();
        }
        is_shorter
    }

    fn offer_sample(&mut self, body: &str) {
        if self.is_loaded && self.sample.is_none() && body.len() <= MAX_SAMPLE_BYTES {
            self.sample = Some(body.to_owned());
        }
    }
}

fn read_number(row: &Row<'_>) -> rusqlite::Result<u32> {
    let bytes: Vec<u8> = row.get(0)?;
    let bytes = <[u8; NUMBER_BYTES]>::try_from(bytes);
    let bytes = bytes.map_err(|_| malformed_column(0, "the number of a dictionary"))?;
    Ok(u32::from_be_bytes(bytes))
}

/// Deletes the dictionaries that no row of the log needs, but for the latest.
///
/// Their numbers rise with the rows, so those before that of the first packed row are not needed.
pub(crate) fn delete_unused_dictionaries(connection: &Connection) -> rusqlite::Result<usize> {
    execute_cached(
        connection,
        "DELETE FROM audit_dictionaries WHERE id < coalesce(
             (SELECT substr(packed, 1, 4) FROM audit_log WHERE packed IS NOT NULL ORDER BY seq LIMIT 1),
             (SELECT max(id) FROM audit_dictionaries))",
        [],
    )
}

thread_local! {
    /// The last dictionary that this thread unpacked with, since the rows of a walk share few.
    static UNPACKER: RefCell<Option<(Vec<u8>, Decompressor<'static>)>> = const { RefCell::new(None) };
}

/// Reads the body of a row of the log: what the column `make_body` has, or what `packed` unpacks to.
///
/// # Errors
/// [`Error::FromSqlConversionFailure`] when the row does not unpack, or is not in the one form that the program writes.
pub(super) fn read_body(row: &Row<'_>) -> rusqlite::Result<String> {
    let body: String = row.get(8)?;
    let (packed, dictionary) = match (row.get_ref(10)?, row.get_ref(11)?) {
        (ValueRef::Null, _) => return Ok(body),
        (ValueRef::Blob(packed), ValueRef::Blob(dictionary)) if body.is_empty() => {
            (packed, dictionary)
        }
        _ => {
            return Err(malformed_column(
                10,
                "a packed body without its dictionary, or beside another body",
            ));
        }
    };
    let frame = packed.get(NUMBER_BYTES..).unwrap_or_default();
    unpack_body(frame, dictionary)
        .map_err(|error| Error::FromSqlConversionFailure(10, Type::Blob, error))
}

fn unpack_body(
    frame: &[u8],
    dictionary: &[u8],
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let size = get_frame_content_size(frame)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= MAX_BODY_BYTES)
        .ok_or("it is no packed body")?;
    if find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err("it has more than one frame".into());
    }
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
    use crate::schema::{SCHEMA_VERSION, migrate_schema};

    fn make_body(text: &str, number: u32) -> String {
        let answers: Vec<String> = (1..40)
            .map(|rule| {
                let observed = if rule % 4 == 0 { number } else { rule };
                format!(r#"[{rule},"pass",{observed}.5,{rule}.25]"#)
            })
            .collect();
        format!(
            r#"{{"action":{{"reasoning":"{text}","size":{number}}},"verdicts":[{{"answers":[{}]}}]}}"#,
            answers.join(",")
        )
    }

    /// What the column `packed` gets of a body; `None`: it is stored as it is.
    fn pack(packer: &mut BodyPacker, body: &str) -> Option<Vec<u8>> {
        let mut packed = b"others".to_vec();
        let is_packed = packer.pack(body, &mut packed);
        let own = packed.split_off(6);
        assert_eq!(
            (packed.as_slice(), own.is_empty()),
            (&b"others"[..], !is_packed)
        );
        is_packed.then_some(own)
    }

    fn open_database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = std::path::Path::new("ark.db");
        migrate_schema(&mut connection, path, 0..SCHEMA_VERSION, None).unwrap();
        connection
    }

    #[test]
    fn packed_bodies_unpack_to_themselves_also_after_a_failed_transaction_and_a_new_dictionary() {
        let connection = open_database();
        let mut packer = BodyPacker::default();
        packer.begin(&connection, true).unwrap();
        assert!(pack(&mut packer, "{}").is_none());
        assert!(
            pack(&mut packer, &make_body("a", 0)).is_none(),
            "no dictionary yet"
        );
        connection.execute_batch("BEGIN").unwrap();
        packer.begin(&connection, true).unwrap();
        assert!(pack(&mut packer, &make_body("a", 1)).is_some());
        connection.execute_batch("ROLLBACK").unwrap();
        packer.forget();
        packer.begin(&connection, true).unwrap();
        assert!(
            pack(&mut packer, &make_body("a", 1)).is_none(),
            "the dictionary was rolled back"
        );
        let dictionary = |number: u32| -> Vec<u8> {
            let sql = "SELECT bytes FROM audit_dictionaries WHERE id = ?1";
            let number = number.to_be_bytes();
            connection
                .query_row(sql, [number], |row| row.get(0))
                .unwrap()
        };
        let check = |packer: &mut BodyPacker, body: &str| -> usize {
            let packed = pack(packer, body).unwrap();
            let (number, frame) = packed.split_at(NUMBER_BYTES);
            let bytes = dictionary(u32::from_be_bytes(number.try_into().unwrap()));
            assert_eq!(unpack_body(frame, &bytes).unwrap(), body);
            for hidden in [frame, b"\x50\x2a\x4d\x18\x04\0\0\0hide"] {
                assert!(unpack_body(&[frame, hidden].concat(), &bytes).is_err());
            }
            packed.len()
        };
        packer.begin(&connection, true).unwrap();
        for number in 0..2_000 {
            let body = make_body("somebody wrote \\\"this\\\"", number);
            assert!(check(&mut packer, &body) * WANTED_RATIO < body.len());
        }
        // Bodies of another form get a dictionary in time, and the first form keeps its own.
        let other = |number: u32| -> String {
            let words: Vec<String> = (0..90)
                .map(|n| format!(r#""f{}":{}"#, n * 7919 % 1000, (n * 7907 + 13) % 997))
                .collect();
            format!(r#"{{"n":{number},"verdicts":{{{}}}}}"#, words.join(","))
        };
        let before = check(&mut packer, &other(1));
        packer.begin(&connection, true).unwrap();
        assert!(check(&mut packer, &other(2)) * 4 < before);
        assert!(check(&mut packer, &make_body("x", 3)) * WANTED_RATIO < make_body("x", 3).len());
        let content = dictionary(2).split_off(TABLES.len());
        assert!(!String::from_utf8(content).unwrap().contains("wrote"));
        // What was changed does not unpack to something else unnoticed, and nothing unpacks without bound.
        assert!(unpack_body(b"no frame", &dictionary(1)).is_err());
        let huge = zstd::bulk::compress(&vec![0; 17 * 1024 * 1024], 1).unwrap();
        assert!(unpack_body(&huge, &dictionary(1)).is_err());
    }

    /// The record of an approved trade.
    const RECORD: &str = r#"{"action":{"action_type":"buy","parameters":{"symbol":"S096045334008","side":"buy","position_size_pct":0.001,"leverage":1.0,"entry_price":100.0,"stop_loss":95.0,"take_profit":110.0,"material_nonpublic":false},"reasoning":"a breakout above the high","reversible":true,"criticality":"normal"},"facts":{"agent":"api","now_ms":1796045334260,"approval":"none","halt_active":false,"audit_writable":true,"symbol_exposure":0.0,"daily_loss":0.0,"open_positions":6,"consent":"unknown","causal_depth":0,"identical_actions":0},"verdicts":[{"policy":"graveyard","digest":"133c455b22ccd607f400c3d2c44c765f61e8121e476ae85a7d98adce67bc3dab","answers":[[1,"pass",false,false],[2,"pass",null,60.0],[3,"not-applicable"],[4,"pass",false,false],[5,"pass",0.001,0.1,0.001],[6,"pass",0.0,0.05,0.0],[7,"pass",1.0,2.0,1.0],[8,"pass",95.0,100.0,95.0],[10,"warn",6.0,5.0,4.0],[15,"not-applicable"]],"warnings":[],"compliance_score":1.0}],"compliance_score":1.0}"#;

    fn count_dictionaries(connection: &Connection) -> u32 {
        select_value(connection, "SELECT count(*) FROM audit_dictionaries", []).unwrap()
    }

    #[test]
    fn a_dictionary_of_an_earlier_version_gets_the_tables_and_what_it_packed_stays_readable() {
        let connection = open_database();
        let earlier = blank_values(RECORD);
        connection
            .execute(
                "INSERT INTO audit_dictionaries VALUES (x'00000001', ?1)",
                [&earlier],
            )
            .unwrap();
        let mut before = BodyPacker {
            current: Some(Dictionary::new(1, earlier.clone()).unwrap()),
            latest: 1,
            is_loaded: true,
            ..BodyPacker::default()
        };
        let another = RECORD
            .replace("S096045334008", "BTC-USD")
            .replace("now_ms\":1796045334260", "now_ms\":1796045339999");
        let packed_before = pack(&mut before, &another).unwrap();

        let mut packer = BodyPacker::default();
        // Without room for more than what must be written the earlier dictionary is used on.
        packer.begin(&connection, false).unwrap();
        assert_eq!(pack(&mut packer, &another).unwrap(), packed_before);
        packer.begin(&connection, true).unwrap();
        let packed = pack(&mut packer, &another).unwrap();
        let read = |number: u32| -> Vec<u8> {
            let sql = "SELECT bytes FROM audit_dictionaries WHERE id = ?1";
            select_value(&connection, sql, [number.to_be_bytes()]).unwrap()
        };
        assert_eq!(packed[..NUMBER_BYTES], 2_u32.to_be_bytes());
        assert_eq!(read(2), [TABLES, &earlier].concat());
        // The tables make it shorter, and no frame has a number of its own besides the row's.
        assert!(
            packed.len() < packed_before.len(),
            "{} {}",
            packed.len(),
            packed_before.len()
        );
        for (packed, dictionary) in [(&packed_before, read(1)), (&packed, read(2))] {
            assert_eq!(
                unpack_body(&packed[NUMBER_BYTES..], &dictionary).unwrap(),
                another
            );
            assert_eq!(
                zstd::zstd_safe::get_dict_id_from_frame(&packed[NUMBER_BYTES..]),
                None
            );
        }
        // A long body is packed without the tables, and read with the same dictionary.
        let long = "a breakout above the high of the last 20 days, ".repeat(150);
        let long = RECORD.replace("a breakout above the high", &long);
        let packed = pack(&mut packer, &long).unwrap();
        assert!(packed.len() * WANTED_RATIO < long.len());
        assert_eq!(
            unpack_body(&packed[NUMBER_BYTES..], &read(2)).unwrap(),
            long
        );
        // Once is enough, also for a program that starts.
        packer.begin(&connection, true).unwrap();
        BodyPacker::default().begin(&connection, true).unwrap();
        assert_eq!(count_dictionaries(&connection), 2);
    }

    #[test]
    fn a_dictionary_that_cannot_be_used_is_followed_by_another() {
        let connection = open_database();
        // Its tables were changed.
        let changed = [&TABLES[..8], &[0xff; 140], &blank_values(RECORD)].concat();
        connection
            .execute(
                "INSERT INTO audit_dictionaries VALUES (x'00000007', ?1)",
                [&changed],
            )
            .unwrap();
        let mut packer = BodyPacker::default();
        packer.begin(&connection, false).unwrap();
        assert!(pack(&mut packer, RECORD).is_none());
        packer.begin(&connection, true).unwrap();
        let packed = pack(&mut packer, RECORD).unwrap();
        assert_eq!(packed[..NUMBER_BYTES], 8_u32.to_be_bytes());
    }

    #[test]
    fn a_dictionary_that_was_changed_in_the_database_is_written_again_and_unused_ones_are_deleted()
    {
        let connection = open_database();
        let mut packer = BodyPacker::default();
        packer.begin(&connection, true).unwrap();
        assert!(pack(&mut packer, &make_body("a", 0)).is_none());
        // Without room for more than what must be written, there is no new dictionary.
        packer.begin(&connection, false).unwrap();
        let count = || -> u32 {
            let sql = "SELECT count(*) FROM audit_dictionaries";
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count(), 0);
        assert!(pack(&mut packer, &make_body("a", 0)).is_none());
        packer.begin(&connection, true).unwrap();
        assert_eq!(count(), 1);
        let read = || -> Vec<u8> {
            let sql = "SELECT bytes FROM audit_dictionaries ORDER BY id DESC LIMIT 1";
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        let before = read();
        for change in [
            "UPDATE audit_dictionaries SET bytes = x'00'",
            "DELETE FROM audit_dictionaries",
        ] {
            connection.execute_batch(change).unwrap();
            packer.checked = None;
            packer.begin(&connection, false).unwrap();
            assert_eq!(read(), before);
        }
        connection
            .execute_batch(
                "INSERT INTO audit_dictionaries VALUES (x'00000002', x'00'), (x'00000003', x'00');
                 INSERT INTO audit_log (seq, at, kind, id, body, hash, packed) VALUES (7, 1, 'decision', 'a', '', x'00', x'0000000200')",
            )
            .unwrap();
        assert_eq!(delete_unused_dictionaries(&connection).unwrap(), 1);
        connection.execute_batch("DELETE FROM audit_log").unwrap();
        assert_eq!(delete_unused_dictionaries(&connection).unwrap(), 1);
        assert_eq!(count(), 1);
    }
}
