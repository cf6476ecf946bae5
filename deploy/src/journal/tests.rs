use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::*;

fn build_owner() -> JournalOwner {
    JournalOwner {
        command: "ark synthetic",
        host: "http://127.0.0.1:8000".to_owned(),
        option: OWN_JOURNAL,
    }
}

fn open(path: &Path) -> Result<(Journal, Vec<u32>), JournalError> {
    Journal::open(path, &build_owner())
}

#[test]
fn what_was_recorded_is_there_after_a_kill_and_a_cut_line_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/journal");
    let (mut journal, found) = open(&path).unwrap();
    assert!(found.is_empty());
    journal.record_entry(&1).unwrap();
    journal.record_entry(&2).unwrap();
    assert!(matches!(open(&path), Err(JournalError::InUse { .. })));
    assert_eq!(
        Journal::read_entries::<u32>(&path, &build_owner()).unwrap(),
        [1, 2]
    );
    drop(journal);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"3").unwrap();
    drop(file);
    let (mut journal, found) = open(&path).unwrap();
    assert_eq!(found, [1, 2]);
    journal.record_entry(&4).unwrap();
    drop(journal);
    let (mut journal, found) = open(&path).unwrap();
    assert_eq!(found, [1, 2, 4]);
    journal.clear_entries().unwrap();
    drop(journal);
    let (mut journal, found) = open(&path).unwrap();
    assert!(found.is_empty());
    journal.record_entry(&5).unwrap();
    drop(journal);
    assert_eq!(open(&path).unwrap().1, [5]);
    // Cut off at any byte, it is the journal still.
    let text = std::fs::read(&path).unwrap();
    for length in 0..text.len() {
        std::fs::write(&path, &text[..length]).unwrap();
        let (mut journal, found) = open(&path).unwrap();
        assert!(found.is_empty(), "{length}");
        journal.record_entry(&6).unwrap();
        drop(journal);
        assert_eq!(open(&path).unwrap().1, [6]);
    }
}

#[test]
fn a_file_that_is_something_else_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.toml");
    let another = JournalOwner {
        host: "http://127.0.0.1:8001".to_owned(),
        ..build_owner()
    };
    let (mut journal, _) = Journal::open::<u32>(&path, &another).unwrap();
    journal.record_entry(&1).unwrap();
    drop(journal);
    let of_another_host = std::fs::read(&path).unwrap();
    for content in [
        b"listen = \"127.0.0.1:8000\"\n".as_slice(),
        b"no line",
        b"\n",
        b"\xff\xfe",
        b"1\n2\n",
        &of_another_host,
    ] {
        std::fs::write(&path, content).unwrap();
        let refused = open(&path).unwrap_err();
        assert!(matches!(refused, JournalError::Foreign { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    assert!(matches!(
        open(dir.path()),
        Err(JournalError::Foreign { .. })
    ));
}

#[test]
fn a_journal_belongs_to_its_host_however_the_address_was_spelt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let text = "{\"journal\":\"ark synthetic\",\"host\":\"http://localhost:8000\"}\n1\n";
    std::fs::write(&path, text).unwrap();
    let read = Journal::read_entries::<u32>(&path, &build_owner()).unwrap();
    assert_eq!(read, [1]);
    let (mut journal, found) = open(&path).unwrap();
    assert_eq!(found, [1]);
    journal.record_entry(&2).unwrap();
    drop(journal);
    assert_eq!(open(&path).unwrap().1, [1, 2]);
}

#[test]
fn a_damaged_line_is_told_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (mut journal, _) = open(&path).unwrap();
    journal.record_entry(&1).unwrap();
    drop(journal);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"x\n2\n").unwrap();
    drop(file);
    let begin = std::fs::read(&path).unwrap();
    let header = begin.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // Also where it is no text, or empty: the journal is not to be given up for another one.
    for (lines, line) in [
        (b"1\nx\n2\n".as_slice(), 3),
        (b"1\n\xff\xfe\n2\n", 3),
        (b"\xff\n", 2),
        (b"1\n\n2\n", 3),
        (b"\0\0\0\0\n", 2),
    ] {
        let text = [&begin[..header], lines].concat();
        std::fs::write(&path, &text).unwrap();
        let read = Journal::read_entries::<u32>(&path, &build_owner()).unwrap_err();
        for refused in [open(&path).unwrap_err(), read] {
            let JournalError::Damaged { line: found, .. } = refused else {
                panic!("{refused}");
            };
            assert_eq!(found, line);
        }
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(MAX_JOURNAL * 2).unwrap();
    for refused in [
        open(&path).unwrap_err(),
        Journal::read_entries::<u32>(&path, &build_owner()).unwrap_err(),
    ] {
        assert!(
            matches!(refused, JournalError::TooLarge { .. }),
            "{refused}"
        );
        let told = refused.to_string();
        assert!(
            told.contains("more than 67108864 bytes") && told.contains("move it away"),
            "{told}"
        );
    }
}

#[test]
fn a_journal_takes_no_entry_that_makes_it_larger_than_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (mut journal, _) = open(&path).unwrap();
    journal.record_entry(&1).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len();
    // An entry of a digit has two bytes, with the end of its line.
    journal.file.set_len(MAX_JOURNAL - 3).unwrap();
    journal.file.seek(SeekFrom::End(0)).unwrap();
    journal.record_entry(&2).unwrap();
    assert_eq!(length(), MAX_JOURNAL - 1);
    let refused = journal.record_entry(&3).unwrap_err();
    assert!(matches!(refused, JournalError::Full { .. }), "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains("the step was not begun") && told.contains("run the command again"),
        "{told}"
    );
    assert_eq!(length(), MAX_JOURNAL - 1, "nothing of it was written");
    journal.clear_entries().unwrap();
    journal.record_entry(&3).unwrap();
    drop(journal);
    assert_eq!(open(&path).unwrap().1, [3]);
}

#[test]
fn reserved_room_outlives_the_process_and_is_used_by_entries_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    // Blocks of 512 bytes, whatever those of the file system are.
    let blocks = || std::fs::metadata(&path).unwrap().blocks();
    let (mut journal, _) = open(&path).unwrap();
    journal.record_entry(&1).unwrap();
    let before = blocks();
    journal.reserve_room(EXCHANGE_ROOM).unwrap();
    let reserved = blocks();
    assert!(reserved >= before + (EXCHANGE_ROOM >> 10), "{reserved}");
    drop(journal);
    let (mut journal, entries) = open(&path).unwrap();
    assert_eq!((entries, blocks()), (vec![1], reserved));
    for entry in 0..500 {
        journal.record_entry(&entry).unwrap();
    }
    assert_eq!(blocks(), reserved, "no entry needs more room");
    journal.release_room();
    assert!(blocks() < reserved);
    drop(journal);
    assert_eq!(open(&path).unwrap().1.len(), 501);
}
