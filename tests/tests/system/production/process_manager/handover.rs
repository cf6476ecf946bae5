//! `ark upgrade --unit` with a unit whose socket is open: what connects while no host serves waits for the next one. What stands for systemd holds the
//! socket, starts the host for a connection and by order, and runs until the test ends it. Clients connect to the host itself, with no front before it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_tests::{Client, TestDir, ark_program, newer_program, run_ark, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::activation::{send_while, start_activated};
use crate::production::canary::stage::{EndLoad, is_ready};

/// What an exchange orders that leaves the socket open.
const EXCHANGE: [&str; 3] = ["stop ark.service", "start ark.socket", "start ark.service"];
/// The pause between two looks of what stands for systemd.
const TICK: Duration = Duration::from_millis(10);
/// How long a host may take to start, and to end.
const PATIENCE: Duration = Duration::from_mins(4);
/// `StartLimitBurst=` of the unit, whose interval is longer than a test.
const START_LIMIT: u32 = 5;
/// The exit status of `systemctl is-active` for a unit that is not.
const NOT_ACTIVE: u8 = 3;

/// What stands for systemd, with `ark.service` and `ark.socket`.
struct Manager<'a> {
    dir: &'a TestDir,
    address: SocketAddr,
    /// The socket while it is active.
    listener: Option<TcpListener>,
    /// What hosts say of themselves.
    notices: UnixDatagram,
    host: Option<Child>,
    /// How often the service was started since its failures were forgotten.
    starts: u32,
    /// The orders that it got.
    orders: Vec<String>,
}

impl<'a> Manager<'a> {
    fn new(dir: &'a TestDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let notices = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        notices
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        std::fs::create_dir(dir.path().join("requests")).expect("a directory");
        std::fs::create_dir(dir.path().join("bin")).expect("a directory");
        // Each call is a file with its arguments, and waits for one with its exit status.
        let systemctl = format!(
            "#!/bin/sh\nr={}/$$\necho \"$*\" >$r.new\nmv $r.new $r.asked\n\
             while [ ! -e $r.answer ]; do sleep 0.02; done\n\
             code=$(cat $r.answer)\nrm $r.answer\nexit $code\n",
            dir.path().join("requests").display()
        );
        write_program(&dir.path().join("bin/systemctl"), &systemctl);
        Self {
            address: listener.local_addr().expect("an address"),
            dir,
            listener: Some(listener),
            notices,
            host: None,
            starts: 0,
            orders: Vec::new(),
        }
    }

    /// Does what it is told until `stop` is set. Returns the orders.
    fn run(mut self, stop: &AtomicBool) -> Vec<String> {
        while !stop.load(Ordering::Relaxed) {
            self.answer_requests();
            let waits = self.listener.as_ref().is_some_and(has_connection);
            if waits && !self.is_running() {
                self.start_service();
            }
            std::thread::sleep(TICK);
        }
        self.stop_service();
        std::mem::take(&mut self.orders)
    }

    fn answer_requests(&mut self) {
        let requests = std::fs::read_dir(self.dir.path().join("requests")).expect("requests");
        for request in requests.flatten().map(|entry| entry.path()) {
            if request.extension().is_none_or(|found| found != "asked") {
                continue;
            }
            let asked = std::fs::read_to_string(&request).expect("a request");
            std::fs::remove_file(&request).expect("a request");
            let code = self.carry_out(asked.trim());
            let part = request.with_extension("part");
            std::fs::write(&part, code.to_string()).expect("an answer");
            std::fs::rename(&part, request.with_extension("answer")).expect("an answer");
        }
    }

    /// Carries out what `systemctl` is told. Returns its exit status.
    fn carry_out(&mut self, asked: &str) -> u8 {
        if asked.starts_with("start ") || asked.starts_with("stop ") {
            self.orders.push(asked.to_owned());
        }
        let has_succeeded = match asked {
            "is-active ark.socket" if self.listener.is_none() => return NOT_ACTIVE,
            "cat ark.service" | "cat ark.socket" | "is-active ark.socket" => true,
            "start ark.service" => self.is_running() || self.start_service(),
            "stop ark.service" => {
                self.stop_service();
                true
            }
            "reset-failed ark.service" => {
                self.starts = 0;
                true
            }
            "start ark.socket" => self.start_socket(),
            "stop ark.socket" => {
                self.listener = None;
                true
            }
            _ => false,
        };
        u8::from(!has_succeeded)
    }

    fn start_socket(&mut self) -> bool {
        // systemd refuses it while the service runs.
        if self.listener.is_none() && !self.is_running() {
            self.listener = TcpListener::bind(self.address).ok();
        }
        self.listener.is_some()
    }

    fn is_running(&mut self) -> bool {
        let ended = self
            .host
            .as_mut()
            .is_none_or(|host| host.try_wait().expect("its state").is_some());
        !ended
    }

    /// Starts the program of the unit. Returns whether it says that it serves.
    fn start_service(&mut self) -> bool {
        self.starts += 1;
        if self.starts > START_LIMIT {
            // systemd closes the socket, too.
            self.listener = None;
        }
        let Some(listener) = &self.listener else {
            return false;
        };
        let notify = self.dir.path().join("notify").display().to_string();
        let program = installed(self.dir);
        self.host = Some(start_activated(&program, self.dir, listener, &notify));
        let ends = Instant::now() + PATIENCE;
        let mut buffer = [0; 512];
        while Instant::now() < ends && self.is_running() {
            // A time-out is none of the host's.
            let count = self.notices.recv(&mut buffer).unwrap_or(0);
            let told = String::from_utf8_lossy(&buffer[..count]);
            if told.lines().any(|line| line == "READY=1") {
                return true;
            }
        }
        false
    }

    fn stop_service(&mut self) {
        if self.is_running()
            && let Some(mut host) = self.host.take()
        {
            kill_process(Pid::from_child(&host), Signal::TERM).expect("SIGTERM");
            host.wait().expect("its end");
        }
    }
}

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        self.stop_service();
    }
}

/// Whether a connection waits to be taken.
fn has_connection(listener: &TcpListener) -> bool {
    let mut looked = [PollFd::new(listener, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut looked, Some(&at_once)).expect("a look") > 0
}

/// The program that the unit starts.
fn installed(dir: &TestDir) -> PathBuf {
    dir.path().join("ark")
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("a mode");
}

/// A version: a program under a name, and what it does first.
fn write_version(path: &Path, first: &str, program: &Path) {
    let text = format!("#!/bin/sh\n{first}\nexec {} \"$@\"\n", program.display());
    write_program(path, &text);
}

fn run_upgrade(dir: &TestDir, address: SocketAddr, new: &str) -> Value {
    let path = std::env::var("PATH").expect("a path");
    let output = Command::new(ark_program())
        .arg("upgrade")
        .arg(dir.path().join(new))
        .args(["--json", "--unit", "ark", "--category", "ethics", "--url"])
        .arg(format!("http://{address}"))
        .arg("--program")
        .arg(installed(dir))
        .arg("--data-dir")
        .arg(dir.data())
        .arg("--config")
        .arg(dir.config())
        .arg("--snapshots")
        .arg(dir.path().join("snapshots"))
        .args(["--timeout", "240"])
        .env(
            "PATH",
            format!("{}:{path}", dir.path().join("bin").display()),
        )
        .env("XDG_STATE_HOME", dir.path().join("state"))
        .stdin(Stdio::null())
        .output()
        .expect("ark starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

#[test]
fn an_upgrade_of_a_unit_with_a_socket_refuses_no_connection_and_fails_no_request() {
    let dir = TestDir::new(crate::production::upgrade::CONFIG);
    write_version(&installed(&dir), "", &ark_program());
    write_version(&dir.path().join("new"), "", &newer_program());
    let manager = Manager::new(&dir);
    let (socket, address) = (manager.address, manager.address.to_string());
    let is_over = AtomicBool::new(false);
    let (orders, decided, recorded) = std::thread::scope(|scope| {
        let manager = scope.spawn(|| manager.run(&is_over));
        let end_manager = EndLoad(&is_over);
        let (report, decided) = send_while(&|| (), &|| Client::at(&address), |_| {
            let report = run_upgrade(&dir, socket, "new");
            assert_eq!(report["upgraded"], true, "{report:#}");
            assert!(report["pause_ms"].as_u64() > Some(0), "{report:#}");
            report
        });
        println!(
            "{} requests; {} ms without a host",
            decided.len(),
            report["pause_ms"]
        );
        let recorded = Client::at(&address).read_decisions("");
        drop(end_manager);
        (manager.join().expect("no panic"), decided, recorded)
    });
    let text = std::fs::read_to_string(installed(&dir)).expect("a program");
    assert!(
        text.contains(&newer_program().display().to_string()),
        "{text}"
    );
    assert_eq!(orders, EXCHANGE, "the socket stays open");
    assert!(decided.is_subset(&recorded), "none is lost");
    let data = dir.data().display().to_string();
    let verified = run_ark(&["audit", "verify", "--data-dir", &data]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_version_that_does_not_start_gives_the_old_one_back_on_an_open_socket() {
    let dir = TestDir::new(crate::production::upgrade::CONFIG);
    write_version(&installed(&dir), "", &ark_program());
    let does_not_start = "case \"$1\" in serve) exit 7;; esac";
    write_version(&dir.path().join("failing"), does_not_start, &ark_program());
    let manager = Manager::new(&dir);
    let (socket, address) = (manager.address, manager.address.to_string());
    let (is_over, is_enough) = (AtomicBool::new(false), AtomicBool::new(false));
    let orders = std::thread::scope(|scope| {
        let manager = scope.spawn(|| manager.run(&is_over));
        let end_manager = EndLoad(&is_over);
        wait_until("a connection starts the host", || is_ready(&address));
        // Each connection has the version that does not start tried again, until systemd gives it up and closes the socket.
        scope.spawn(|| {
            while !is_enough.load(Ordering::Relaxed) {
                let _connected = TcpStream::connect_timeout(&socket, TICK);
                std::thread::sleep(TICK);
            }
        });
        let end_connections = EndLoad(&is_enough);
        let began = Instant::now();
        let report = run_upgrade(&dir, socket, "failing");
        println!("{:?} there and back", began.elapsed());
        assert_eq!(report["upgraded"], false, "{report:#}");
        let back = &report["rollback"];
        assert_eq!(back["passed"], true, "{report:#}");
        assert_eq!(report["unrecorded"], json!([]), "{report:#}");
        assert_eq!(back["unrecorded"], json!([]), "{report:#}");
        drop(end_connections);
        assert!(is_ready(&address));
        drop(end_manager);
        manager.join().expect("no panic")
    });
    assert_eq!(orders, EXCHANGE.repeat(2), "there and back");
    let text = std::fs::read_to_string(installed(&dir)).expect("a program");
    assert!(!text.contains(does_not_start), "{text}");
}
