//! Commands of a stage that wait where a test wants them to.

use ark_tests::wait_until;

use crate::production::canary::stage::CanaryFixture;

/// The scripts that can be held up, and when: that stops the host, those that start it, and the new version where it is asked something.
const PLACES: [(&str, &str, &str); 5] = [
    ("stop", "stop.sh", ""),
    ("start", "start.sh", ""),
    ("start-new", "start-new.sh", ""),
    ("check", "new-ark", "[ \"$1\" = check ] && "),
    ("replay", "new-ark", "[ \"$1\" = audit ] && "),
];

/// Holds a script of a stage up, once, until it is let go.
pub(super) struct Gates<'a>(&'a CanaryFixture);

impl<'a> Gates<'a> {
    pub(super) fn install(stage: &'a CanaryFixture) -> Self {
        for (name, file, condition) in PLACES {
            let path = stage.dir.path().join(file);
            let text = std::fs::read_to_string(&path).expect("a script");
            let at = |state: &str| {
                stage
                    .dir
                    .path()
                    .join(format!("{name}.{state}"))
                    .display()
                    .to_string()
            };
            let (closed, held) = (at("closed"), at("held"));
            let gate = format!(
                "if {condition}mv {closed} {held} 2>/dev/null; then while [ -e {held} ]; do sleep 0.1; done; fi\n"
            );
            let text = match text.strip_prefix("#!/bin/sh\n") {
                Some(rest) => format!("#!/bin/sh\n{gate}{rest}"),
                None => gate + &text,
            };
            std::fs::write(&path, text).expect("a script");
        }
        Self(stage)
    }

    fn at(&self, name: &str, state: &str) -> std::path::PathBuf {
        self.0.dir.path().join(format!("{name}.{state}"))
    }

    /// Holds the script up that comes here next.
    pub(super) fn close(&self, name: &str) {
        assert!(PLACES.iter().any(|(place, ..)| *place == name), "{name}");
        std::fs::write(self.at(name, "closed"), "").expect("a file");
    }

    /// Waits until a script is held up here.
    pub(super) fn wait_held(&self, name: &str) {
        wait_until("a script is held up", || self.at(name, "held").exists());
    }

    /// Lets everything go.
    pub(super) fn open(&self) {
        for (name, ..) in PLACES {
            for state in ["closed", "held"] {
                let _ = std::fs::remove_file(self.at(name, state));
            }
        }
    }
}

impl Drop for Gates<'_> {
    fn drop(&mut self) {
        self.open();
    }
}
