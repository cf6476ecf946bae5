//! Anchors: the heads of both chains, written from time to time to `anchors.jsonl` beside the database and to the log of the process.
//!
//! They show that the end of a chain was cut off or that the whole database was replaced, which the chains alone cannot show.

use std::fs::File;
use std::io::{BufRead, ErrorKind, Read, Seek, SeekFrom, Write};
use std::iter::Peekable;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ark_model::ids::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::chain::ChainHead;
use crate::directory::{give_to_owner, no_follow};
use crate::error::ReadError;

/// The name of the file, in the data directory.
pub(crate) const ANCHORS_FILE: &str = "anchors.jsonl";

/// How many bytes at the end of the file hold its last line: an anchor has less than 500.
const TAIL_BYTES: u64 = 4096;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The number of rows of the audit log.
    pub seq: u64,
    /// The hash of the last row.
    pub hash: Digest,
    /// When the anchor was written.
    pub at_ms: Millis,
    /// The head of the state's history at that moment; absent in anchors of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ChainHead>,
}

impl Anchor {
    /// The head of the audit log.
    pub(crate) const fn audit(&self) -> ChainHead {
        ChainHead {
            seq: self.seq,
            hash: self.hash,
        }
    }
}

/// Appends an anchor and syncs the file. Returns how many bytes it has now.
pub(crate) fn write_anchor(dir: &Path, audit: ChainHead, state: ChainHead) -> std::io::Result<u64> {
    let anchor = Anchor {
        seq: audit.seq,
        hash: audit.hash,
        at_ms: Millis::now(),
        state: Some(state),
    };
    let mut line = serde_json::to_vec(&anchor)?;
    line.push(b'\n');
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .custom_flags(no_follow())
        .open(dir.join(ANCHORS_FILE))?;
    give_to_owner(&dir.join(ANCHORS_FILE), dir)?;
    // What a full disk or a kill left of an anchor must not become the beginning of this one.
    let tail = read_tail(&mut file)?;
    let unfinished = tail.len() - end_of_lines(&tail);
    if unfinished > 0 {
        file.set_len(file.metadata()?.len() - unfinished as u64)?;
    }
    file.write_all(&line)?;
    file.sync_data()?;
    tracing::info!(seq = anchor.seq, hash = %anchor.hash, "audit log anchored");
    Ok(file.metadata()?.len())
}

/// Returns how many bytes the anchors of a data directory have; without the file none.
pub(crate) fn count_anchor_bytes(dir: &Path) -> std::io::Result<u64> {
    match std::fs::metadata(dir.join(ANCHORS_FILE)) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Reads the last anchor of a file that was written as a whole; `None`: the file has none, or does not exist.
pub(crate) fn read_last_anchor(path: &Path) -> std::io::Result<Option<Anchor>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let tail = read_tail(&mut file)?;
    let lines = &tail[..end_of_lines(&tail)];
    let Some(last) = lines.split(|byte| *byte == b'\n').rev().nth(1) else {
        return Ok(None);
    };
    Ok(Some(serde_json::from_slice(last)?))
}

/// Reads the last [`TAIL_BYTES`] of a file.
fn read_tail(file: &mut File) -> std::io::Result<Vec<u8>> {
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The length of the part that ends with a whole line.
fn end_of_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last + 1)
}

/// Reads all anchors of a data directory, in the order of the file. A directory without the file has none.
pub(crate) fn read_anchors(dir: &Path) -> Result<Vec<Anchor>, ReadError> {
    let path = dir.join(ANCHORS_FILE);
    read_file(&path).map_err(|cause| ReadError::Anchors { path, cause })
}

fn read_file(path: &Path) -> std::io::Result<Vec<Anchor>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut anchors = Vec::new();
    let mut lines = std::io::BufReader::new(file).lines().peekable();
    while let Some(line) = lines.next() {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(anchor) => anchors.push(anchor),
            // A host that was killed while it wrote leaves half a line at the end.
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
    }
    Ok(anchors)
}

/// The anchored heads of one chain, for a walk along that chain.
pub(crate) struct AnchorWalk(Peekable<std::vec::IntoIter<ChainHead>>);

impl AnchorWalk {
    pub(crate) fn new(mut heads: Vec<ChainHead>) -> Self {
        heads.sort_by_key(|head| head.seq);
        Self(heads.into_iter().peekable())
    }

    /// How many anchors the walk is not behind yet.
    pub(crate) fn remaining(&self) -> u64 {
        self.0.len() as u64
    }

    /// Advances behind the anchors up to `head`. Returns whether every anchor at `head` has its hash.
    pub(crate) fn advance_to(&mut self, head: ChainHead) -> bool {
        let mut matches = true;
        while let Some(anchor) = self.0.next_if(|anchor| anchor.seq <= head.seq) {
            matches &= anchor.seq < head.seq || anchor.hash == head.hash;
        }
        matches
    }

    /// The first anchor behind `head`.
    pub(crate) fn first_behind(mut self, head: ChainHead) -> Option<ChainHead> {
        self.0.find(|anchor| anchor.seq > head.seq)
    }
}
