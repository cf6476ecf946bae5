//! Why a journal cannot be used, and what to do about that; how large it may be.

use std::path::PathBuf;

/// The most bytes of a journal, which is read as a whole. That of rollbacks is their history, with a few thousand bytes each; the others are emptied.
pub(super) const MAX_JOURNAL: u64 = 64 << 20;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {path}: {cause}; {remedy}", path = path.display(), remedy = find_remedy(cause, *option))]
    File {
        /// The file.
        path: PathBuf,
        /// The option that names it; `None`: the command has none for it.
        option: Option<&'static str>,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// The file is something else. Nothing in it was changed.
    #[error("{path} is not the journal of `{command}` for {host}; {remedy}", path = path.display(), remedy = name_place(*option))]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The option that names it; `None`: the command has none for it.
        option: Option<&'static str>,
        /// The command whose journal was wanted.
        command: String,
        /// The address of the host it was wanted for.
        host: String,
    },
    /// A line is damaged, so what an earlier run left is not known. Nothing in the file was changed.
    #[error("the journal {path}, line {line}: {cause}; undo by hand what the lines around it say, then remove the file", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// It has more than any run reads, as those of earlier versions can. Nothing in the file was changed.
    #[error("the journal {path} has more than {most} bytes, which no run reads; undo by hand what its last lines began and did not end, then move it away and run the command again", path = path.display(), most = MAX_JOURNAL)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// With the next entry it would have more than any run reads.
    #[error("the journal {path} is full: with the next entry it would have more than {most} bytes, which no run reads; the step was not begun: run the command again, which goes on by the journal, or move it away once nothing that it names is under way", path = path.display(), most = MAX_JOURNAL)]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another run uses it.
    #[error("another run uses the journal {path}; wait for its end{other}", path = path.display(), other = option.map_or_else(String::new, |option| format!(", or give another one with {option}")))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The option that names it; `None`: the command has none for it.
        option: Option<&'static str>,
    },
}

impl JournalError {
    /// The error of a command whose option for this journal is another one; `None`: it has none.
    pub(crate) fn with_option(mut self, named: Option<&'static str>) -> Self {
        match &mut self {
            Self::File { option, .. }
            | Self::Foreign { option, .. }
            | Self::InUse { option, .. } => *option = named,
            Self::Damaged { .. } | Self::TooLarge { .. } | Self::Full { .. } => {}
        }
        self
    }

    /// What is wrong, without what is said of a step that is not begun: for one that is taken all the same.
    pub(crate) fn describe_cause(&self) -> String {
        match self {
            Self::File { path, cause, .. } => format!("{}: {cause}", path.display()),
            error => error.to_string(),
        }
    }
}

/// What to do about a file that cannot be used. A journal without room stays where it is: what was begun is in it.
fn find_remedy(cause: &std::io::Error, option: Option<&'static str>) -> String {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match cause.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "the step was not begun: make room there, then run the command again".to_owned()
        }
        _ => name_place(option),
    }
}

/// How a journal gets another place.
fn name_place(option: Option<&'static str>) -> String {
    option.map_or_else(
        || "correct that, or move it away, then run the command again".to_owned(),
        |option| format!("give another place with {option}"),
    )
}
