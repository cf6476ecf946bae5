//! What a canary needs: a host that commands start and stop, two fronts, an `HAProxy` before them, a Prometheus, clients. The new version is another
//! build (`ark-next`) whose faults a test switches on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_tests::haproxy::Haproxy;
use ark_tests::ports::free_port;
use ark_tests::prometheus::{Prometheus, PrometheusParts};
use ark_tests::{
    Client, FAULT_VARIABLE, Host, Random, TestDir, ark_program, newer_program, run_ark,
    seed_module_cache, trade, wait_until,
};
use serde_json::Value;

use super::supervisor::Supervisor;

/// Requests a second, by as many senders as a fifth of them.
const SENDERS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);
/// The file with the fault of the new version's front.
const FAULT: &str = "fault";
/// The file with the fault of the new version's program.
const PROGRAM_FAULT: &str = "program-fault";

/// For how many milliseconds the fronts park a request: longer than any test takes.
const HOLD_MS: &str = "300000";

/// Starts the Prometheus of a stage.
type StartPrometheus = Box<dyn FnOnce() -> Prometheus + Send>;

pub(crate) struct CanaryFixture {
    pub(crate) dir: TestDir,
    /// The address of the host's API.
    pub(crate) owner: String,
    pub(crate) stable: Host,
    /// The front of the new version, unless it is supervised.
    pub(crate) canary: Option<Host>,
    _supervisor: Option<Supervisor>,
    pub(crate) haproxy: Haproxy,
    /// It is started when it is first asked for, since it takes seconds.
    pub(crate) prometheus: LazyLock<Prometheus, StartPrometheus>,
}

impl CanaryFixture {
    /// Starts everything. `config`: that of the host. `canary_config`: that of the new version's front.
    pub(crate) fn start(config: &str, canary_config: &str) -> Self {
        Self::start_in(TestDir::new(config), canary_config, HOLD_MS, false)
    }

    /// As [`Self::start`], with a front of the new version that is started again whenever it ends.
    pub(crate) fn start_supervised() -> Self {
        Self::start_in(TestDir::new(""), "", HOLD_MS, true)
    }

    /// As [`Self::start`], with fronts that park a request for so many milliseconds only.
    pub(crate) fn start_holding(hold_ms: &str) -> Self {
        Self::start_in(TestDir::new(""), "", hold_ms, false)
    }

    /// As [`Self::start`], with agents that `copy` puts into their directory.
    pub(crate) fn start_with_agents(config: &str, copy: impl FnOnce(&Path)) -> Self {
        let dir = TestDir::new(config);
        copy(&dir.agents());
        Self::start_in(dir, "", HOLD_MS, false)
    }

    fn start_in(dir: TestDir, canary_config: &str, hold_ms: &str, is_supervised: bool) -> Self {
        let owner = format!("127.0.0.1:{}", free_port());
        let telemetry = format!("127.0.0.1:{}", free_port());
        write_commands(&dir, &owner, &telemetry);
        seed_module_cache(&dir.path().join("data"));
        sh(&script(&dir, "start"));
        wait_until("the host is ready", || is_ready(&owner));
        std::fs::write(dir.path().join("stable.toml"), "").expect("a file");
        std::fs::write(dir.path().join("canary.toml"), canary_config).expect("a file");
        let args = ["--hold-for", hold_ms, "--hold-limit", "5000"];
        let url = format!("http://{owner}");
        let stable = Host::start_front(&url, &dir.path().join("stable.toml"), &args);
        let fault = dir.path().join(FAULT).display().to_string();
        let config = dir.path().join("canary.toml");
        let (mut canary, mut supervisor) = (None, None);
        let (address, canary_telemetry) = if is_supervised {
            let started = supervisor.insert(Supervisor::start(&url, &config, &args, &fault));
            (started.address.clone(), started.telemetry.clone())
        } else {
            let environment = [(FAULT_VARIABLE, fault.as_str())];
            let program = newer_program();
            let started =
                Host::try_start_front_program(&program, &url, &config, &args, &environment);
            let front = canary.insert(started.expect("the front of the new version starts"));
            let telemetry = front.telemetry.clone().expect("an address");
            (front.address.clone(), telemetry)
        };
        for front in [&stable.address, &address] {
            wait_until("a front is ready", || is_ready(front));
        }
        // While a supervised front starts again, its sockets answer late.
        let checks = if is_supervised {
            "inter 1s fall 120 rise 1"
        } else {
            "inter 200ms fall 2 rise 1"
        };
        let servers = [
            ("stable", stable.address.as_str(), 100),
            ("canary", address.as_str(), 0),
        ];
        let haproxy = Haproxy::start(&servers, checks, "10m");
        let front_telemetry = stable.telemetry.clone();
        let start_prometheus = move || {
            let prometheus = Prometheus::start(PrometheusParts {
                target: Some(&telemetry),
                front: front_telemetry.as_deref(),
                canary: Some(&canary_telemetry),
                ..PrometheusParts::default()
            });
            let page =
                "/api/v1/query?query=process_start_time_seconds%7Bjob%3D%22ark-front-canary%22%7D";
            wait_until("the front of the new version is scraped", || {
                let found = prometheus.read_page(page);
                found.is_some_and(|found| found.contains("instance"))
            });
            prometheus
        };
        Self {
            dir,
            owner,
            stable,
            canary,
            _supervisor: supervisor,
            haproxy,
            prometheus: LazyLock::new(Box::new(start_prometheus)),
        }
    }

    /// Switches a fault of the new version's front on; an empty name: off.
    pub(crate) fn set_fault(&self, fault: &str) {
        std::fs::write(self.dir.path().join(FAULT), fault).expect("a file");
    }

    /// Whether the front still has its fault: one that ends the process removes it.
    pub(crate) fn has_fault(&self) -> bool {
        self.dir.path().join(FAULT).exists()
    }

    /// Switches a fault of the new version's `ark` on, with which it replays and serves.
    pub(crate) fn set_program_fault(&self, fault: &str) {
        std::fs::write(self.dir.path().join(PROGRAM_FAULT), fault).expect("a file");
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.path().join("canary.journal")
    }

    pub(crate) fn command(&self, verb: &str, more: &[&str]) -> Command {
        let mut command = Command::new(ark_program());
        command
            .args(["canary", verb, "--json", "--url"])
            .arg(format!("http://{}", self.owner))
            .arg("--journal")
            .arg(self.journal())
            .args(more)
            // Where the journals of upgrades and rollbacks are, beside which no canary begins.
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The options of a canary of seconds.
    pub(crate) fn start_command(&self, more: &[&str]) -> Command {
        let report = self.dir.path().join("baseline.json");
        let text = r#"{"passed": true, "approved": 1000, "denied": 0, "held": 0}"#;
        std::fs::write(&report, text).expect("a file");
        let mut command = self.command("start", &["--name", "2.0.0"]);
        command
            .arg("--haproxy")
            .arg(&self.haproxy.socket)
            .args(["--prometheus", &self.prometheus.url])
            .args(["--latency-window", "5", "--min-samples", "8"]);
        // A test that is not about speed or silence goes by neither: a busy machine is slow, and its clients wait.
        for (option, value) in [
            ("--interval", "1"),
            ("--step", "2"),
            ("--deadline", "60"),
            ("--max-p95", "20000"),
            ("--idle-checks", "1000"),
        ] {
            if !more.contains(&option) {
                command.args([option, value]);
            }
        }
        if !more.contains(&"--baseline") {
            command.arg("--baseline-report").arg(&report);
        }
        command.args(more);
        command
    }

    /// Where the progress of a canary goes that a test goes on beside.
    fn progress(&self) -> PathBuf {
        self.dir.path().join("progress")
    }

    /// Whether the last check of such a canary was one of a pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.checks().last().is_some_and(|line| is_of_pause(line))
    }

    /// How many checks a canary that is paused has made in its pause.
    pub(crate) fn count_paused_checks(&self) -> usize {
        let checks = self.checks();
        checks.iter().filter(|line| is_of_pause(line)).count()
    }

    /// The version that was started last: `stable` or `new`.
    pub(crate) fn serving(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("serving")).unwrap_or_default()
    }

    /// Starts a canary that this test goes on beside.
    pub(crate) fn spawn_canary(&self, more: &[&str]) -> Child {
        self.spawn_with_progress(self.start_command(more))
    }

    /// Starts a run that goes on with a canary whose command was killed, and that this test goes on beside.
    pub(crate) fn spawn_resume(&self) -> Child {
        self.spawn_with_progress(self.command("resume", &[]))
    }

    fn spawn_with_progress(&self, mut command: Command) -> Child {
        let progress = std::fs::File::create(self.progress()).expect("a file");
        command.stderr(progress);
        command.spawn().expect("ark starts")
    }

    /// Waits until Prometheus has everything that the front of the new version has judged otherwise, or could not judge, until now.
    pub(crate) fn wait_counted(&self) {
        let front = self.canary.as_ref().expect("a front");
        let mut client = Client::of_telemetry(front);
        wait_until("nothing waits to be judged again", || {
            client.get("/verdicts").1["verdicts"]["waiting"] == 0
        });
        let shown = client.get("/verdicts").1;
        let address = self.prometheus.url.trim_start_matches("http://").to_owned();
        for result in ["different", "unjudged"] {
            let count = shown["verdicts"][result].as_f64().expect("a count");
            let series = format!("job%3D%22ark-front-canary%22%2Cresult%3D%22{result}%22");
            let url = format!("/api/v1/query?query=sum(ark_front_verdicts_total%7B{series}%7D)");
            wait_until("Prometheus has the count", || {
                let (_, answer) = Client::at(&address).get(&url);
                let value = answer["data"]["result"][0]["value"][1].as_str();
                value.and_then(|text| text.parse().ok()) == Some(count)
            });
        }
    }

    /// How many decisions the stable front has judged, by Prometheus.
    pub(crate) fn judged_by_stable(&self) -> f64 {
        self.judged_by("ark-front")
    }

    /// Likewise, the front of the new version.
    pub(crate) fn judged_by_canary(&self) -> f64 {
        self.judged_by("ark-front-canary")
    }

    fn judged_by(&self, job: &str) -> f64 {
        let series = format!("ark_front_judged_total%7Bjob%3D%22{job}%22%7D");
        let address = self.prometheus.url.trim_start_matches("http://");
        let (_, answer) = Client::at(address).get(&format!("/api/v1/query?query=sum({series})"));
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }

    /// Runs a canary to its end. Returns its report.
    pub(crate) fn run_canary(&self, more: &[&str]) -> Value {
        read_report(self.start_command(more))
    }

    /// The checks of the canary that a test went on beside, one a line.
    pub(crate) fn checks(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.progress()).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("ark: check"));
        lines.map(str::to_owned).collect()
    }

    /// Asks something of the canary that runs. Returns whether it was taken, and what is said on standard error.
    pub(crate) fn ask(&self, verb: &str) -> (bool, String) {
        let output = self.command(verb, &[]).output().expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), errors)
    }

    /// The text of the journal.
    pub(crate) fn journal_text(&self) -> String {
        std::fs::read_to_string(self.journal()).unwrap_or_default()
    }

    /// Runs another verb. Returns what it prints.
    pub(crate) fn run_verb(&self, verb: &str) -> Value {
        read_report(self.command(verb, &[]))
    }

    /// The options of a take-over.
    pub(crate) fn take_over_options(&self) -> Vec<String> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let new = path("new-ark");
        [
            ("--new-binary", new),
            ("--data-dir", path("data")),
            ("--snapshots", path("snapshots")),
            ("--stop-command", script(&self.dir, "stop")),
            ("--start-command", script(&self.dir, "start-new")),
            ("--start-stable-command", script(&self.dir, "start")),
            ("--take-over-timeout", "240".to_owned()),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect()
    }

    /// Whether the host is there that was started last.
    pub(crate) fn has_host(&self) -> bool {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).expect("a process id");
        let runs = format!("{} {}", script(&self.dir, "runs"), pid.trim());
        let status = Command::new("sh").args(["-c", &runs]).status();
        status.expect("sh").success()
    }

    /// The commands that kill the host, if it is there, and wait until it is gone.
    pub(crate) fn kill_commands(&self) -> String {
        format!(
            "p=$(cat {pid}); if {runs} $p; then kill -9 $p 2>/dev/null; fi; while {runs} $p; do sleep 0.02; done\n",
            pid = self.dir.path().join("pid").display(),
            runs = script(&self.dir, "runs"),
        )
    }

    pub(crate) fn assert_weights(&self, stable: u32, canary: u32) {
        let found = (self.haproxy.weight("stable"), self.haproxy.weight("canary"));
        assert_eq!(found, (stable, canary));
    }

    /// Sends proposals through `HAProxy` at 50 a second while `work` runs. Returns what it returns and the decisions, none of which failed.
    pub(crate) fn under_load<T>(&self, work: impl FnOnce() -> T) -> (T, BTreeSet<String>) {
        self.under_load_of(Load::default(), work)
    }

    /// As [`Self::under_load`], with a fifth of the requests: for what takes minutes and reads each decision again several times, whose time would
    /// else grow with the square of its own.
    pub(crate) fn under_slow_load<T>(&self, work: impl FnOnce() -> T) -> (T, BTreeSet<String>) {
        let load = Load {
            pause: 5 * PAUSE,
            ..Load::default()
        };
        self.under_load_of(load, work)
    }

    /// As [`Self::under_load`], of which so many percent are denied.
    pub(crate) fn under_denied_load<T>(&self, denied_pct: u64, work: impl FnOnce() -> T) -> T {
        let load = Load {
            denied_pct,
            ..Load::default()
        };
        self.under_load_of(load, work).0
    }

    /// As [`Self::under_load`], but requests may fail: a way back leaves the clients without a token.
    pub(crate) fn under_failing_load<T>(&self, work: impl FnOnce() -> T) -> (T, BTreeSet<String>) {
        let load = Load {
            may_fail: true,
            ..Load::default()
        };
        self.under_load_of(load, work)
    }

    fn under_load_of<T>(&self, load: Load, work: impl FnOnce() -> T) -> (T, BTreeSet<String>) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    scope.spawn({
                        let stop = &stop;
                        move || self.send_until(sender, load, stop)
                    })
                })
                .collect();
            // The load ends also when the work panics.
            let ending = EndLoad(&stop);
            let result = work();
            drop(ending);
            let decided = senders
                .into_iter()
                .flat_map(|sender| sender.join().expect("no panic"));
            let mut ids = BTreeSet::new();
            for id in decided {
                assert!(ids.insert(id.clone()), "{id}: twice");
            }
            (result, ids)
        })
    }

    fn send_until(&self, sender: u32, load: Load, stop: &AtomicBool) -> Vec<String> {
        // By chance, so that no turn of HAProxy's gives one front more of the denied ones.
        let mut random = Random::from_seed(u64::from(sender) * 2 + 1);
        let mut client = Client::at(&self.haproxy.address);
        let mut decided = Vec::new();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let began = std::time::Instant::now();
            let symbol = format!("S{sender}-{number}");
            let is_denied = random.below(100) < load.denied_pct;
            let size = if is_denied { 1.0 } else { 0.000_1 };
            match client.try_post("/v1/actions", &trade(&symbol, size)) {
                Ok((200, answer)) => {
                    decided.push(answer["decision_id"].as_str().expect("an id").to_owned());
                }
                failed => assert!(load.may_fail, "{symbol}: {failed:?}"),
            }
            std::thread::sleep(load.pause.saturating_sub(began.elapsed()));
        }
        decided
    }

    /// The ids of all decisions that the host holds.
    pub(crate) fn recorded(&self) -> BTreeSet<String> {
        Client::at(&self.owner).read_decisions("")
    }

    /// The ids of those of one agent.
    pub(crate) fn recorded_of(&self, agent: &str) -> BTreeSet<String> {
        Client::at(&self.owner).read_decisions(&format!("&agent={agent}"))
    }

    pub(crate) fn assert_chain(&self) {
        let data = self.dir.data().display().to_string();
        wait_until("the chain is whole", || {
            run_ark(&["audit", "verify", "--data-dir", &data])
                .status
                .success()
        });
    }

    /// The steps that the host recorded, newest first.
    pub(crate) fn steps(&self) -> Vec<Value> {
        let (status, page) = Client::at(&self.owner).get("/v1/deployments?limit=500");
        assert_eq!(status, 200, "{page}");
        page["steps"].as_array().expect("steps").clone()
    }
}

impl Drop for CanaryFixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Why a host that a script starts is not there is nowhere else.
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("the last lines of the hosts, latest first: {lines:#?}");
        }
        sh(&script(&self.dir, "stop"));
    }
}

fn is_of_pause(check: &str) -> bool {
    check.ends_with(" (paused)")
}

/// What is sent through `HAProxy`.
#[derive(Clone, Copy)]
struct Load {
    /// The time from one request of a sender to its next.
    pause: Duration,
    /// Whether requests may fail.
    may_fail: bool,
    /// The share of proposals that every version denies, in percent.
    denied_pct: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            pause: PAUSE,
            may_fail: false,
            denied_pct: 0,
        }
    }
}

/// Tells a load to end when it is dropped, also by a panic.
pub(crate) struct EndLoad<'a>(pub(crate) &'a AtomicBool);

impl Drop for EndLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for the end of a canary. Returns its report.
pub(crate) fn wait_report(mut canary: Child) -> Value {
    let mut text = String::new();
    let mut stdout = canary.stdout.take().expect("its output");
    std::io::Read::read_to_string(&mut stdout, &mut text).expect("text");
    canary.wait().expect("its end");
    serde_json::from_str(&text).expect("JSON")
}

fn read_report(mut command: Command) -> Value {
    let output = command.output().expect("ark starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// The same command, run by the newer version, which has a later schema.
pub(crate) fn run_by_newer(command: &Command) -> Command {
    let mut newer = Command::new(newer_program());
    newer.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            newer.env(name, value);
        }
    }
    newer
        .env("TEST_ARK_LATER_SCHEMA", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    newer
}

pub(crate) fn is_ready(address: &str) -> bool {
    let answer = Client::at(address).request("GET", "/readyz", &[], b"");
    answer.is_ok_and(|(status, ..)| status == 200)
}

pub(crate) fn script(dir: &TestDir, name: &str) -> String {
    format!("sh {}", dir.path().join(format!("{name}.sh")).display())
}

pub(crate) fn sh(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status();
    assert!(status.expect("sh").success(), "{command}");
}

/// Writes the commands that start and stop the host, and the program of the new version.
fn write_commands(dir: &TestDir, listen: &str, telemetry: &str) {
    let write = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).expect("a file");
    };
    let at = |name: &str| dir.path().join(name).display().to_string();
    let ark = ark_program().display().to_string();
    let new = format!(
        "#!/bin/sh\nexport {FAULT_VARIABLE}={fault}\nexec {program} \"$@\"\n",
        fault = at(PROGRAM_FAULT),
        program = newer_program().display()
    );
    write("new-ark", new);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path().join("new-ark"), mode).expect("a mode");
    let agents = if dir.agents().exists() {
        format!("--agents {}", at("agents"))
    } else {
        String::new()
    };
    for (name, version, program) in [
        ("start.sh", "stable", &ark),
        ("start-new.sh", "new", &at("new-ark")),
    ] {
        let text = format!(
            "if [ -e {pid} ] && {runs} $(cat {pid}); then exit 0; fi\n\
             ARK_LOG=warn {program} serve --data-dir {data} --config {config} --listen {listen} --telemetry-listen {telemetry} {agents} >>{log} 2>&1 &\n\
             echo $! >{pid}\n\
             printf {version} >{serving}\n",
            serving = at("serving"),
            runs = script(dir, "runs"),
            pid = at("pid"),
            data = at("data"),
            config = at("ark.toml"),
            log = at("log"),
        );
        write(name, text);
    }
    // The id of a host that has ended is soon another process's: one of this stage names its directory, before and after it becomes the host. A zombie
    // has no arguments any more.
    let runs = format!(
        "tr '\\0' ' ' 2>/dev/null </proc/$1/cmdline | grep -qF {}/\n",
        dir.path().display()
    );
    write("runs.sh", runs);
    // A host that is killed has no arguments before its files are closed, of which the next one needs the lock.
    let stop = format!(
        "if [ -e {pid} ]; then p=$(cat {pid}); if {runs} $p; then kill $p 2>/dev/null; fi; while {runs} $p; do sleep 0.02; done; flock {lock} true; fi\n",
        runs = script(dir, "runs"),
        pid = at("pid"),
        lock = at("data/ark.lock")
    );
    write("stop.sh", stop);
}
