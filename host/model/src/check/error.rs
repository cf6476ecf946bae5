//! The error that names a field.

/// An input that cannot be accepted: which field, what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct FieldError {
    /// The field, as a dotted path, e.g. `parameters.position_size_pct`.
    pub field: String,
    /// What is wrong with it, as a predicate of the field: "is empty".
    pub problem: String,
    /// What would be right, as a request: "give a number from 0 to 1".
    pub remedy: String,
}

impl FieldError {
    /// Creates an error from its three parts.
    pub fn new(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// Returns what is wrong, as a sentence without the remedy.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{}: {}", self.field, self.problem)
    }

    /// Returns the same error, said of another field, e.g. of the flag that gave the value. Two names before a problem read as two problems.
    #[must_use]
    pub fn of_field(self, field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            ..self
        }
    }
}
