//! What the steps of a newcomer's journeys take: author, consumer, operator.
//!
//! Tests run in processes of their own, so each writes its part into a file below `target/tmp/journeys`, named so that the files are in order;
//! `.ci/run` prints them at the end. They are figures to look at and no limits: how fast a machine is says nothing about the guides.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The most characters of what a step is named by.
const NAME_CHARS: usize = 72;

/// A step that was done.
pub(crate) struct JourneyStep {
    /// What was done.
    pub(crate) name: String,
    pub(crate) seconds: f64,
}

/// Records the steps of one part of a journey, e.g. of a page. `place`: where in the journey the part stands.
pub(crate) fn record_steps(journey: &str, place: usize, part: &str, steps: &[JourneyStep]) {
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        let name: String = step.name.chars().take(NAME_CHARS).collect();
        let _ = writeln!(
            text,
            "journey {journey}: {part}, step {} of {} {:.1} s ({name})",
            index + 1,
            steps.len(),
            step.seconds
        );
    }
    let all: f64 = steps.iter().map(|step| step.seconds).sum();
    let _ = writeln!(text, "journey {journey}: {part}, in all {all:.1} s");
    print!("{text}");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("journeys");
    fs::create_dir_all(&dir).expect("a directory");
    let name = format!("{journey}-{place}-{}.txt", part.replace('/', "-"));
    // Somebody may read the file at any time.
    let partial = dir.join(format!(".{name}.{}", std::process::id()));
    fs::write(&partial, text).expect("a file");
    fs::rename(&partial, dir.join(name)).expect("a file");
}
