//! Whether a change that was accepted may still be made when its turn comes.

use std::fmt;
use std::sync::Arc;

/// Tells whether the one who asked for a change may still make it: an upload that is compiled for minutes can outlive the token it came with.
#[derive(Clone, Default)]
pub struct Permit(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

/// The one who asked for a change may not make it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token was revoked or has expired since the upload was accepted, so nothing has changed"
)]
pub struct PermitEnded;

impl Permit {
    /// Returns a permit that lasts as long as `is_in_force` says so. The default one has no end.
    #[must_use]
    pub fn while_true(is_in_force: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_in_force)))
    }

    /// Checks that the change may still be made.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self) -> Result<(), PermitEnded> {
        match &self.0 {
            Some(is_in_force) if !is_in_force() => Err(PermitEnded),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Permit")
            .field(&self.check().is_ok())
            .finish()
    }
}
