//! When a process began, by the kernel's clock since the boot, which no change of the time of day moves.

use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// When a process began, in clock ticks since the boot; `None`: there is none, or it is not shown here.
pub(crate) fn read_start(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything. After it come the fields from the third on, of which this is the 22nd.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// For how long a process has run; `None`: there is none, or it is not shown here.
pub(crate) fn read_age(pid: u32) -> Option<Duration> {
    let started = read_start(pid)?;
    let started = started.saturating_mul(1000) / clock_ticks_per_second().max(1);
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(now.tv_sec).ok()?,
        u32::try_from(now.tv_nsec).ok()?,
    );
    Some(now.saturating_sub(Duration::from_millis(started)))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_age_of_a_process_grows_as_time_passes() {
        let began = Instant::now();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let of_child = read_age(child.id()).unwrap();
        let passed = began.elapsed();
        let own = read_age(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // A tick is 10 ms.
        let tick = Duration::from_millis(20);
        assert!(of_child <= passed + tick, "{of_child:?} {passed:?}");
        assert!(own + tick >= of_child, "{own:?} {of_child:?}");
        assert!(own > Duration::ZERO);
        assert_eq!(read_age(u32::MAX), None);
    }
}
