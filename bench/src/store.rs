//! Measures the store beside bare `SQLite`: the same table, page size, WAL and `synchronous=FULL`, and one connection for all writers.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use ark_model::ids::{Millis, Name};
use ark_model::state::StateWrite;
use ark_store::{AttributedChange, OperatorChange, RollbackTarget, Store, StoreConfig, Unit};
use hdrhistogram::Histogram;
use rusqlite::{Connection, params};

use crate::report::{BenchReport, MeasuredQuantity, Question, StoreKind};

/// The number of keys that are read and written.
const KEYS: u64 = 1000;
/// The number of writers beside which reads are measured.
const WRITERS: u64 = 16;
/// How often each query of a history is made.
const QUESTIONS: u64 = 1000;
/// The value of every write.
const VALUE: &str = r#"{"signal":0.731,"trend":"up","window":[1,2,3,4,5]}"#;

/// A store under test.
trait MeasuredStore: Sync {
    fn write(&self, key: u64, revision: u64) -> Result<()>;
    fn read(&self, key: u64) -> Result<()>;
}

struct Ark {
    store: Store,
    agent: Name,
}

impl Ark {
    fn open(dir: &Path) -> Result<Self> {
        Ok(Self {
            store: Store::open(&StoreConfig::in_dir(dir))?,
            agent: agent_name()?,
        })
    }
}

fn agent_name() -> Result<Name> {
    "bench".parse().map_err(|error| anyhow!("{error}"))
}

impl MeasuredStore for Ark {
    fn write(&self, key: u64, revision: u64) -> Result<()> {
        let unit = Unit {
            agent: Some(self.agent.clone()),
            at: Millis::now(),
            state: vec![StateWrite {
                key: format!("k/{key}"),
                value_json: Some(VALUE.to_owned()),
                expected: revision,
                was_live: revision > 0,
            }],
            ..Unit::default()
        };
        self.store.commit(unit)?;
        Ok(())
    }

    fn read(&self, key: u64) -> Result<()> {
        let (_, entry) = self.store.get_state(&self.agent, &format!("k/{key}"))?;
        entry.map(|_| ()).context("the key is there")
    }
}

struct Bare {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Bare {
    fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("bare.db");
        let writer = Connection::open(&path)?;
        writer.execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
             PRAGMA cache_size = -16384;
             CREATE TABLE state (key TEXT PRIMARY KEY, revision INTEGER NOT NULL, value TEXT) STRICT, WITHOUT ROWID;
             CREATE TABLE history (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, revision INTEGER NOT NULL, value TEXT,
                 UNIQUE (key, revision)) STRICT;",
        )?;
        Ok(Self {
            writer: Mutex::new(writer),
            reader: Mutex::new(Connection::open(&path)?),
        })
    }
}

impl MeasuredStore for Bare {
    fn write(&self, key: u64, revision: u64) -> Result<()> {
        let mut connection = self
            .writer
            .lock()
            .map_err(|_| anyhow!("a writer panicked"))?;
        let transaction = connection.transaction()?;
        let key = format!("k/{key}");
        transaction
            .prepare_cached(
                "INSERT INTO state VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET revision = ?2, value = ?3",
            )?
            .execute(params![key, revision + 1, VALUE])?;
        transaction
            .prepare_cached("INSERT INTO history (key, revision, value) VALUES (?1, ?2, ?3)")?
            .execute(params![key, revision + 1, VALUE])?;
        transaction.commit()?;
        Ok(())
    }

    fn read(&self, key: u64) -> Result<()> {
        let connection = self
            .reader
            .lock()
            .map_err(|_| anyhow!("a reader panicked"))?;
        let _: String = connection
            .prepare_cached("SELECT value FROM state WHERE key = ?1")?
            .query_row([format!("k/{key}")], |row| row.get(0))?;
        Ok(())
    }
}

/// Lets a number of writers write for `time`, each on its own keys. Returns writes a second. `beside` runs meanwhile; its flag is set at the end.
fn drive_writers(
    subject: &dyn MeasuredStore,
    writers: u64,
    time: Duration,
    beside: impl FnOnce(&AtomicBool) -> Result<()>,
) -> Result<f64> {
    let over = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let (over, written) = (&over, &written);
                scope.spawn(move || -> Result<()> {
                    for revision in 0.. {
                        for key in (writer..KEYS).step_by(usize::try_from(writers)?) {
                            if over.load(Ordering::Relaxed) {
                                return Ok(());
                            }
                            subject.write(key, revision)?;
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        std::thread::sleep(time / 4);
        let besides = beside(&over);
        std::thread::sleep(time.saturating_sub(started.elapsed()));
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a writer panicked"))??;
        }
        besides
    })?;
    let written = written.load(Ordering::Relaxed);
    Ok(written as f64 / started.elapsed().as_secs_f64())
}

/// Measures durable writes a second of the store and of bare `SQLite`, in turns.
pub fn measure_writes(
    dir: &Path,
    writers: u64,
    time: Duration,
    report: &mut BenchReport,
) -> Result<()> {
    let bare = drive_writers(&Bare::open(&dir.join("bare"))?, writers, time, |_| Ok(()))?;
    let ark = Ark::open(&dir.join("ark"))?;
    let store = drive_writers(&ark, writers, time, |_| Ok(()))?;
    ark.store.close();
    eprintln!("{writers} writers: state {store:.0}/s, bare SQLite {bare:.0}/s");
    report.add_sample(MeasuredQuantity::Writes(writers, StoreKind::Bare), bare);
    report.add_sample(MeasuredQuantity::Writes(writers, StoreKind::Store), store);
    Ok(())
}

/// Measures how long a read takes while others write.
pub fn measure_reads(dir: &Path, time: Duration, report: &mut BenchReport) -> Result<()> {
    let bare = Bare::open(&dir.join("bare"))?;
    let ark = Ark::open(&dir.join("ark"))?;
    for (kind, subject) in [
        (StoreKind::Bare, &bare as &dyn MeasuredStore),
        (StoreKind::Store, &ark),
    ] {
        for key in 0..KEYS {
            // So that every key is there to be read; the writers begin behind them.
            subject.write(KEYS + key, 0)?;
        }
        let mut latency = Histogram::<u64>::new(3)?;
        let until = Instant::now() + time;
        drive_writers(subject, WRITERS, time, |_| {
            for number in 0u64.. {
                let started = Instant::now();
                if started >= until {
                    break;
                }
                subject.read(KEYS + number.wrapping_mul(7919) % KEYS)?;
                latency.record(elapsed_nanos(started))?;
            }
            Ok(())
        })?;
        report.add_latency(&latency, |figure| MeasuredQuantity::Read(kind, figure));
    }
    ark.store.close();
    Ok(())
}

/// Measures queries of a key whose history grows to `largest` revisions.
pub fn measure_history(dir: &Path, largest: u64, report: &mut BenchReport) -> Result<()> {
    let store = Store::open(&StoreConfig::in_dir(dir))?;
    let agent = agent_name()?;
    let mut revisions = 0;
    for rows in [10_000, 100_000, 1_000_000]
        .into_iter()
        .filter(|rows| *rows <= largest)
    {
        while revisions < rows {
            let state = (revisions..(revisions + 1000).min(rows))
                .map(|expected| StateWrite {
                    key: "k".to_owned(),
                    value_json: Some(VALUE.to_owned()),
                    expected,
                    was_live: expected > 0,
                })
                .collect::<Vec<_>>();
            revisions += state.len() as u64;
            store.commit(Unit {
                agent: Some(agent.clone()),
                at: Millis(revisions),
                state,
                ..Unit::default()
            })?;
        }
        for question in [Question::Latest, Question::Moment, Question::Rollback] {
            let asked = if question == Question::Rollback {
                QUESTIONS / 4
            } else {
                QUESTIONS
            };
            let mut latency = Histogram::<u64>::new(3)?;
            for number in 0..asked {
                let place = 1 + number.wrapping_mul(7919) % rows;
                let started = Instant::now();
                match question {
                    Question::Latest => drop(store.latest_state(&agent, "k")?),
                    Question::Moment => drop(store.state_at(&agent, "k", Millis(place))?),
                    Question::Rollback => {
                        let change = OperatorChange::Rollback {
                            agent: agent.clone(),
                            key: "k".to_owned(),
                            target: RollbackTarget::Revision(place),
                            expected: None,
                        };
                        let by = "bench".to_owned();
                        store.commit(Unit {
                            operator_changes: vec![AttributedChange { by, change }],
                            at: Millis(rows),
                            ..Unit::default()
                        })?;
                        revisions += 1;
                    }
                }
                latency.record(elapsed_nanos(started))?;
            }
            report.add_latency(&latency, |figure| {
                MeasuredQuantity::History(rows, question, figure)
            });
        }
        eprintln!("{rows} revisions of one key asked");
    }
    store.close();
    Ok(())
}

fn elapsed_nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
