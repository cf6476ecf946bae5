//! Tools of authors as child processes: each is waited for until a limit, then ended.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a tool may take: it may download packages, compile and run tests.
pub(super) const TOOL_TIMEOUT: Duration = Duration::from_hours(1);

/// Waits for the end of a tool, and ends it past the limit.
///
/// # Errors
/// It takes too long, or cannot be waited for.
pub(super) fn wait_within(
    child: &mut Child,
    timeout: Duration,
    program: &str,
) -> anyhow::Result<ExitStatus> {
    let ends = Instant::now() + timeout;
    loop {
        let ended = child.try_wait();
        if let Some(status) = ended.with_context(|| format!("{program} cannot be waited for"))? {
            return Ok(status);
        }
        if Instant::now() > ends {
            child
                .kill()
                .and_then(|()| child.wait())
                .with_context(|| format!("{program} takes too long and cannot be ended"))?;
            bail!(
                "{program} does not end within {} s and was ended: run it by hand to see what it waits for, e.g. a test that never ends or a network that does not answer",
                timeout.as_secs()
            );
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_tool_that_never_ends_is_ended_and_named() {
        let mut sleeps = Command::new("sleep").arg("60").spawn().unwrap();
        let refused = wait_within(&mut sleeps, Duration::from_millis(200), "sleep").unwrap_err();
        assert!(
            refused.to_string().starts_with("sleep does not end"),
            "{refused}"
        );
        // It was waited for: nothing is left of it.
        assert!(sleeps.try_wait().unwrap().is_some());
        let mut ends = Command::new("false").spawn().unwrap();
        let status = wait_within(&mut ends, Duration::from_mins(1), "false").unwrap();
        assert_eq!(status.code(), Some(1));
    }
}
