//! A machine whose first process is systemd: namespaces of this one on a root file system of its own (`boot.sh`).

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ark_tests::artefacts::checkout_path;
use ark_tests::wait_until;
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const BOOT: &str = "tests/tests/system/production/systemd/boot.sh";

/// The machine. It is ended when it is dropped; its files stay.
pub(super) struct Machine {
    /// The script, whose end is the machine's.
    script: Child,
    /// Its first process, as this machine numbers it.
    init: Pid,
    root: PathBuf,
}

impl Machine {
    /// Starts the machine and waits until systemd has started what is enabled.
    pub(super) fn boot(root: &Path) -> Self {
        let script = Command::new(checkout_path(BOOT))
            .arg(root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the script starts");
        let mut machine = Self {
            init: Pid::from_child(&script),
            script,
            root: root.to_owned(),
        };
        wait_until("the machine has a first process", || {
            let ended = machine.script.try_wait().expect("its state");
            assert_eq!(ended, None, "the machine did not start");
            let Some(init) = machine.find_init() else {
                return false;
            };
            machine.init = init;
            true
        });
        wait_until("systemd has started what is enabled", || {
            let state = machine.try_run("systemctl is-system-running");
            let state = String::from_utf8_lossy(&state.stdout).into_owned();
            ["running", "degraded"].contains(&state.trim())
        });
        machine
    }

    /// The process below the script's that has become systemd.
    fn find_init(&self) -> Option<Pid> {
        let [unshare] = list_children(self.script.id())[..] else {
            return None;
        };
        let [init] = list_children(unshare)[..] else {
            return None;
        };
        let name = fs::read_to_string(format!("/proc/{init}/comm")).ok()?;
        let number = i32::try_from(init).ok()?;
        Pid::from_raw(number).filter(|_| name.trim() == "systemd")
    }

    /// A path of the machine, as this one sees it.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A command in the machine, as root.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init.as_raw_pid()))
            .args([
                "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
            ])
            .arg("--")
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Runs a script of the shell, with whatever end.
    pub(super) fn try_run(&self, script: &str) -> Output {
        let mut command = self.command("sh");
        command.args(["-euc", script]).output().expect("a shell")
    }

    /// Runs a script of the shell, which succeeds, and returns what it prints.
    pub(super) fn run(&self, script: &str) -> String {
        let output = self.try_run(script);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{script}: {printed}{errors}{}",
            self.read_log()
        );
        printed
    }

    /// What the host and systemd say of it.
    pub(super) fn read_log(&self) -> String {
        let log = self.try_run("journalctl --unit ark --no-pager --output cat");
        String::from_utf8_lossy(&log.stdout).into_owned()
    }

    /// Has the calling thread open its connections in the network of the machine from now on.
    pub(super) fn enter_network(&self) {
        let path = format!("/proc/{}/ns/net", self.init.as_raw_pid());
        let network = fs::File::open(path).expect("the network of the machine");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter it");
    }

    /// Calls a function on a thread whose connections are in the network of the machine.
    pub(super) fn call_inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter_network();
                call()
            });
            inside.join().expect("no panic")
        })
    }

    /// Whether something listens at an address of the machine.
    pub(super) fn has_listener(&self, address: &str) -> bool {
        self.call_inside(|| TcpStream::connect(address).is_ok())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = kill_process(self.init, Signal::KILL);
        let _ = self.script.wait();
    }
}

/// The children of the only thread of a process.
fn list_children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let children = children.split_whitespace();
    children.filter_map(|number| number.parse().ok()).collect()
}
