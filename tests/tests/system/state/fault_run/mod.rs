//! A host under load meets faults of its files, its clock, its disk and other processes, at random moments, round after round. Nothing that
//! it acknowledged is lost without being said, and nothing opens: a halt stays, calls go on needing a token, and no host starts with an empty database.
//!
//! `ARK_FAULT_ROUNDS` says how many rounds, `ARK_FAULT_SEED` repeats a run. Where the machine allows it the run has a small disk of its own,
//! which it fills; where faketime is installed, clocks are set.

mod faults;
mod place;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ark_tests::{Client, Host, Random, ark_program, trade, wait_for};
use serde_json::json;

use faults::{FAULTS, StorageFault, filler, inflict, set_mode};
use place::{FaultFixture, find_rescued};

/// How many rounds without `ARK_FAULT_ROUNDS`.
const ROUNDS: u64 = 12;
/// After so many rounds a new data directory is begun, so that copies stay small.
const ROUNDS_PER_DIRECTORY: u64 = 10;
/// The size of the disk.
const DISK: &str = "192m";
/// The directory of the run on a disk of its own, for the process that runs there.
const RUN_DIR: &str = "ARK_FAULT_DIR";

/// The name of the test, which runs itself again.
const TEST: &str = "acknowledged_decisions_survive_or_are_reported_lost";

/// What proposers were told in a round.
#[derive(Default)]
struct Told {
    /// The decisions that were acknowledged.
    decisions: Mutex<Vec<String>>,
    /// Whether a halt is in force.
    halted: AtomicBool,
    /// An approval that was given behind the halt.
    behind_halt: Mutex<Option<String>>,
}

/// Starts proposers, who go on until they are stopped or the host has ended.
fn start_load(
    host: &Host,
    token: &str,
    told: &Arc<Told>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    (0..3)
        .map(|worker| {
            let mut client = Client::with_token(host, token);
            let (told, stop) = (Arc::clone(told), Arc::clone(stop));
            std::thread::spawn(move || {
                for number in 0_u64.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let was_halted = told.halted.load(Ordering::Acquire);
                    let request = trade(&format!("W{worker}N{number}"), 0.000_001);
                    let Ok((status, answer)) = client.try_post("/v1/actions", &request) else {
                        return;
                    };
                    if status != 200 {
                        continue;
                    }
                    let id = answer["decision_id"].as_str().expect("an id").to_owned();
                    if was_halted && answer["outcome"] == "approved" {
                        *told.behind_halt.lock().expect("no panic") = Some(id.clone());
                    }
                    told.decisions.lock().expect("no panic").push(id);
                }
            })
        })
        .collect()
}

/// Runs one round. Returns what became of what was acknowledged: `kept`, `copied` or `reported lost`.
fn run_round(place: &mut FaultFixture, fault: StorageFault, random: &mut Random) -> &'static str {
    let snapshot = place.data.with_file_name("snapshot");
    place
        .run_command(&["state", "snapshot", snapshot.to_str().expect("UTF-8")])
        .expect("a snapshot");
    let older = place.data.with_file_name("older.db");
    std::fs::copy(place.data.join("ark.db"), &older).expect("a copy");
    let host = place.start().expect("a host");
    let told = Arc::new(Told::default());
    let stop = Arc::new(AtomicBool::new(false));
    let load = start_load(&host, &place.token, &told, &stop);
    let client = &mut Client::with_token(&host, &place.token);
    wait_for("load", || {
        (told.decisions.lock().expect("no panic").len() > 3).then_some(())
    });
    std::thread::sleep(Duration::from_millis(random.below(150)));
    let halt = json!({"reason": "a drill"});
    let halts = random.below(3);
    let mut order_halt = |now: bool| {
        if now
            && let Ok((status, answer)) = client.try_post("/v1/halt", &halt)
            && (status == 200 || answer["in_force"] == true)
        {
            told.halted.store(true, Ordering::Release);
        }
    };
    order_halt(halts == 0);
    let held = inflict(fault, place, random);
    order_halt(halts == 1);
    std::thread::sleep(Duration::from_millis(random.below(500)));
    // In every other round a lock is held until the host has ended.
    let held = held.filter(|_| random.below(2) == 0);
    let kills = random.below(2) == 0;
    if kills {
        host.send_kill();
    }
    stop.store(true, Ordering::Release);
    for worker in load {
        worker.join().expect("a proposer");
    }
    if kills {
        host.kill();
    } else {
        // Where files were lost, the host says so; it may be copying what it acknowledged.
        let _ = host.terminate();
    }
    drop(held);
    let _ = std::fs::remove_file(filler(&place.data));
    for name in ["ark.db", "ark.db-wal", "ark.db-shm"] {
        set_mode(&place.data.join(name), 0o600);
    }
    if fault == StorageFault::OlderCopy {
        for name in ["ark.db-wal", "ark.db-shm"] {
            let _ = std::fs::remove_file(place.data.join(name));
        }
        let _ = std::fs::copy(&older, place.data.join("ark.db"));
    }
    let decisions = std::mem::take(&mut *told.decisions.lock().expect("no panic"));
    check_after(place, &decisions, told.as_ref(), &snapshot, fault)
}

/// Starts the host again and checks what is there.
fn check_after(
    place: &mut FaultFixture,
    decisions: &[String],
    told: &Told,
    snapshot: &Path,
    fault: StorageFault,
) -> &'static str {
    let what = format!("{fault:?}");
    let was_rescued = find_rescued(&place.data).is_some();
    let behind = told.behind_halt.lock().expect("no panic").take();
    assert_eq!(behind, None, "{what}: approved behind a halt");
    if fault == StorageFault::RemoveDirectory
        && !place.data.join("ark.lock").exists()
        && !was_rescued
    {
        // The host was killed before it saw that everything is gone: nothing is left that could tell. Its operator removed it all.
        let _ = std::fs::remove_dir_all(&place.data);
        let path = snapshot.to_str().expect("UTF-8");
        place
            .run_command(&["state", "restore", path])
            .expect("a restore");
    }
    let (host, lost) = place.recover(snapshot);
    let lost = lost || (fault == StorageFault::RemoveDirectory && !was_rescued);
    assert_eq!(
        Client::new(&host).get("/v1/decisions").0,
        401,
        "{what}: the host is open"
    );
    let client = &mut Client::with_token(&host, &place.token);
    let is_halted = client.get("/v1/watchdog").1["halt"].is_object();
    let was_halted = told.halted.load(Ordering::Acquire);
    // A halt is attested beside the database; where the whole directory went, the restored snapshot is all there is.
    assert!(
        is_halted || !was_halted || fault == StorageFault::RemoveDirectory,
        "{what}: the halt is gone"
    );
    if is_halted {
        let (status, answer) = client.post("/v1/resume", &json!({"reason": "it was a drill"}));
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) = client.post("/v1/actions", &trade("CHECK", 0.000_001));
    assert_eq!(status, 200, "{what}: {answer}");
    assert_eq!(host.terminate(), Some(0), "{what}");
    place.check_present(&place.known, &what);
    if !lost {
        place.check_present(decisions, &what);
        place.known.extend_from_slice(decisions);
    }
    for command in [["audit", "verify"], ["state", "check"]] {
        place
            .run_command(&command)
            .unwrap_or_else(|error| panic!("{what}: {command:?}: {error}"));
    }
    clean_up(place, snapshot);
    match (lost, was_rescued) {
        (true, _) => "reported lost",
        (false, true) => "copied",
        (false, false) => "kept",
    }
}

/// Removes the copies of a round, and sets the clock right.
fn clean_up(place: &FaultFixture, snapshot: &Path) {
    let _ = std::fs::remove_dir_all(snapshot);
    for entry in std::fs::read_dir(&place.data)
        .expect("the directory")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("before-") || name.starts_with("rescued-") {
            let _ = std::fs::remove_dir_all(entry.path());
        } else if entry.path().extension().is_some_and(|end| end == "db") && name != "ark.db" {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    std::fs::write(&place.clock, "+0\n").expect("a clock");
}

fn read_number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}: a number")),
    )
}

/// Runs this test again on a disk of its own. Returns whether that was possible; then it has passed.
fn rerun_on_a_disk(dir: &Path, seed: u64) -> bool {
    let script = format!(
        "mount -t tmpfs -o size={DISK} tmpfs {} && exec \"$@\"",
        dir.display()
    );
    let unshare = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .args(words);
        command
    };
    if !unshare(&["true"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return false;
    }
    let program = std::env::current_exe().expect("this program");
    let (_, module) = module_path!()
        .split_once("::")
        .expect("a module of a crate");
    let name = format!("{module}::{TEST}");
    let status = unshare(&[
        program.to_str().expect("UTF-8"),
        "--exact",
        &name,
        "--nocapture",
    ])
    .env(RUN_DIR, dir)
    .env("ARK_FAULT_SEED", seed.to_string())
    .status()
    .expect("it runs");
    assert!(
        status.success(),
        "the run failed; repeat it with ARK_FAULT_SEED={seed}"
    );
    true
}

#[test]
fn acknowledged_decisions_survive_or_are_reported_lost() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    let seed =
        read_number("ARK_FAULT_SEED").unwrap_or(u64::from(now.subsec_nanos()) + now.as_secs());
    let temporary = tempfile::tempdir().expect("a directory");
    let disk = std::env::var_os(RUN_DIR).map(PathBuf::from);
    if disk.is_none() && rerun_on_a_disk(temporary.path(), seed) {
        return;
    }
    let rounds = read_number("ARK_FAULT_ROUNDS").unwrap_or(ROUNDS);
    println!(
        "{rounds} rounds with ARK_FAULT_SEED={seed}, ark at {}",
        ark_program().display()
    );
    let run = disk.as_deref().unwrap_or(temporary.path());
    let mut random = Random::from_seed(seed);
    let mut results: BTreeMap<(StorageFault, &str), u64> = BTreeMap::new();
    let mut place = None;
    for round in 0..rounds {
        if round % ROUNDS_PER_DIRECTORY == 0 {
            place = None;
            let _ = std::fs::remove_dir_all(run.join(format!(
                "place-{}",
                round.saturating_sub(ROUNDS_PER_DIRECTORY)
            )));
        }
        let place = place.get_or_insert_with(|| FaultFixture::new(run, round));
        // Every kind comes, in an order of its own for each seed.
        let fault = match *random.pick(&FAULTS) {
            StorageFault::FillDisk if disk.is_none() => StorageFault::Nothing,
            fault => fault,
        };
        let result = run_round(place, fault, &mut random);
        println!("round {round}: {fault:?}: {result}");
        *results.entry((fault, result)).or_default() += 1;
    }
    for ((fault, result), count) in results {
        println!("{fault:?}: {count} {result}");
    }
}
