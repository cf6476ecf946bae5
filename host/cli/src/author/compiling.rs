//! What compiling an agent takes for its author: a word on what is awaited, and the compiled modules, which are kept for the next time.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ark_runtime::{Engine, EngineConfig};

use crate::output::{StatusLine, print_notice};

/// How often the line on a terminal changes.
const TICK: Duration = Duration::from_millis(500);
/// After this time a user without a terminal gets one line that says what the command waits for.
const NOTICE_AFTER: Duration = Duration::from_secs(2);

/// Returns the directory in which this user's compiled modules are kept, `ark/modules` in `$XDG_CACHE_HOME` or `~/.cache`; makes it if it is
/// missing. They are native code, so it is a directory of this user's alone, which the engine checks. `None`: there is no directory that can be used.
pub(super) fn find_module_cache() -> Option<PathBuf> {
    let dir = locate_cache(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .ok()?;
    // Nothing that stands in the cache may keep an agent from being run.
    tempfile::tempfile_in(&dir).ok()?;
    let config = EngineConfig {
        cache_dir: Some(dir.clone()),
        ..EngineConfig::default()
    };
    Engine::new(&config).is_ok().then_some(dir)
}

/// Where the modules are kept, by the variables of the environment. A relative path counts as none, as the XDG specification has it.
fn locate_cache(cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = cache_home
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".cache")))?;
    Some(base.join("ark/modules"))
}

/// Says that an agent is compiled until it is dropped: at once on a terminal, else when it takes long.
pub(super) struct CompilationNotice {
    ended: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CompilationNotice {
    /// Starts to tell that the agent of this name is compiled.
    pub(super) fn start(name: String) -> Self {
        let (ended, is_ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut line = StatusLine::on_terminal();
            let started = Instant::now();
            let mut is_noticed = false;
            while is_ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let elapsed = started.elapsed();
                if let Some(line) = &mut line {
                    line.show(&format!("compiling {name}, {} s", elapsed.as_secs()));
                } else if !is_noticed && elapsed >= NOTICE_AFTER {
                    is_noticed = true;
                    print_notice!("compiling {name}; a large component takes tens of seconds");
                }
            }
        });
        Self {
            ended: Some(ended),
            thread: Some(thread),
        }
    }
}

impl Drop for CompilationNotice {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(thread) = self.thread.take() {
            // It only prints; a failure of it changes nothing.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::locate_cache;

    #[test]
    fn modules_are_kept_in_the_cache_of_the_user() {
        for (cache_home, home, place) in [
            (Some("/c"), Some("/home/ada"), Some("/c/ark/modules")),
            (
                None,
                Some("/home/ada"),
                Some("/home/ada/.cache/ark/modules"),
            ),
            (
                Some(""),
                Some("/home/ada"),
                Some("/home/ada/.cache/ark/modules"),
            ),
            (
                Some("c"),
                Some("/home/ada"),
                Some("/home/ada/.cache/ark/modules"),
            ),
            (None, Some(""), None),
            (None, None, None),
        ] {
            let found = locate_cache(cache_home.map(Into::into), home.map(Into::into));
            assert_eq!(found, place.map(PathBuf::from), "{cache_home:?} {home:?}");
        }
    }
}
