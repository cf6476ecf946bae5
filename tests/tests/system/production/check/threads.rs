//! The threads that `ark check` says a host starts are those that it has.

use std::fs;
use std::num::NonZero;

use ark_tests::redis::Redis;
use ark_tests::{Host, TestDir, wait_until};

use super::check_line;

/// How many threads a host has, but for those that wait for the disk: they have the name of the two of the ports. Those that serve connections are one
/// for two processors.
fn count_threads(host: &Host) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.pid())).expect("its threads");
    let names = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let others = names.filter(|name| !matches!(name.trim(), "ark-http" | "ark-ports"));
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    2 + (processors / 2).clamp(1, 4) + others.count()
}

#[test]
fn a_host_starts_as_many_threads_as_its_check_says() {
    let redis = Redis::start();
    let bare = "[capacity]\nworkers = 3\nslow_workers = 5\n";
    let streams = format!(
        "{bare}[redis]\nurl = \"redis://127.0.0.1:{}/0\"\n[redis.events]\nstream = \"ark:events\"\n\
         [[redis.signals]]\nstream = \"orders\"\ntopic = \"desk.order\"\nfield = \"event\"\n",
        redis.port
    );
    for config in [bare, &streams] {
        let dir = TestDir::new(config);
        let before = check_line(&dir, "threads");
        let told = before["found"].as_str().expect("text");
        let mut words = told
            .split("the host starts ")
            .nth(1)
            .expect(told)
            .split(' ');
        let number = words.next().and_then(|word| word.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("no number: {told}"));
        let host = dir.start();
        // What comes and goes at a start has gone.
        wait_until(told, || count_threads(&host) == number);
        let while_it_runs = check_line(&dir, "threads");
        assert_eq!(before["status"], while_it_runs["status"], "{while_it_runs}");
        assert_eq!(host.terminate(), Some(0));
    }
}
