//! Wrong command lines that clap lets pass: values that are out of range or do not go together. Their exit code is 2, as that of those which clap
//! refuses.

/// What is wrong with the command line, and what to give.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl UsageError {
    /// Makes the error of an option that is missing or wrong.
    pub(crate) fn new(problem: impl std::fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

/// Returns a [`UsageError`] with the message if the condition does not hold.
macro_rules! ensure_usage {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return ::std::result::Result::Err($crate::usage::UsageError::new(::std::format_args!($($message)+)).into());
        }
    };
}

pub(crate) use ensure_usage;
