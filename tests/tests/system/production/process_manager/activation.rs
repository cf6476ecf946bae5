//! A host on sockets that another process holds: a restart refuses no connection, and no request is lost or counted twice.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_tests::ports::free_port;
use ark_tests::{Client, TestDir, ark_program, run_ark, trade, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::production::canary::stage::EndLoad;

/// Requests a second, by as many senders as a fifth of them.
const SENDERS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);
const RESTARTS: u32 = 4;

/// Starts a host on a listener that this process keeps, as descriptor 3.
pub(super) fn start_activated(
    program: &Path,
    dir: &TestDir,
    listener: &TcpListener,
    notify: &str,
) -> Child {
    let listener: OwnedFd = listener.try_clone().expect("a descriptor").into();
    let address = TcpListener::from(listener.try_clone().expect("a descriptor"));
    let address = address.local_addr().expect("an address").to_string();
    Command::new("sh")
        .args(["-c", "exec 3<&0 </dev/null; exec \"$@\"", "sh"])
        .arg(program)
        .args([
            "serve",
            "--listen",
            &address,
            "--telemetry-listen",
            "off",
            "--data-dir",
        ])
        .arg(dir.data())
        .arg("--config")
        .arg(dir.config())
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", notify)
        .env("ARK_LOG", "warn")
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .spawn()
        .expect("ark starts")
}

/// Waits until the service manager is told something.
fn wait_told(manager: &UnixDatagram, wanted: &str) {
    let mut buffer = [0; 512];
    loop {
        let count = manager.recv(&mut buffer).expect("a message in time");
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if text.lines().any(|line| line == wanted) {
            return;
        }
    }
}

#[test]
fn a_restart_on_a_passed_socket_refuses_no_connection_and_loses_no_request() {
    let dir = TestDir::new("");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let patience = Some(Duration::from_mins(4));
    manager.set_read_timeout(patience).expect("a timeout");
    let notify = path.to_str().expect("UTF-8");
    let mut host = start_activated(&ark_program(), &dir, &listener, notify);
    wait_told(&manager, "READY=1");
    let ((), decided) = send_beside(&|| (), &|| Client::at(&address), |_| {
        for _ in 0..RESTARTS {
            std::thread::sleep(Duration::from_secs(1));
            let pid = Pid::from_child(&host);
            kill_process(pid, Signal::TERM).expect("SIGTERM");
            wait_told(&manager, "STOPPING=1");
            assert_eq!(host.wait().expect("its end").code(), Some(0));
            host = start_activated(&ark_program(), &dir, &listener, notify);
            wait_told(&manager, "READY=1");
        }
        std::thread::sleep(Duration::from_secs(1));
    });
    assert!(decided.len() > 50, "{}", decided.len());
    println!("{} requests over {RESTARTS} restarts", decided.len());
    let recorded = Client::at(&address).read_decisions("");
    assert_eq!(recorded, decided, "each once, and none lost");
    kill_process(Pid::from_child(&host), Signal::TERM).expect("SIGTERM");
    host.wait().expect("its end");
    let data = dir.data().display().to_string();
    let verified = run_ark(&["audit", "verify", "--data-dir", &data]);
    assert!(verified.status.success(), "{verified:?}");
}

/// Sends requests from [`SENDERS`] threads, each of which calls `enter` first and has each request on a connection of its own, until `work` is done, which
/// is given the count of them. Returns its result and the decisions.
fn send_beside<T>(
    enter: &(dyn Fn() + Sync),
    connect: &(dyn Fn() -> Client + Sync),
    work: impl FnOnce(&AtomicUsize) -> T,
) -> (T, BTreeSet<String>) {
    let (is_enough, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (is_enough, sent) = (&is_enough, &sent);
                scope.spawn(move || {
                    enter();
                    send_until(connect, sender, is_enough, sent)
                })
            })
            .collect();
        let end_load = EndLoad(&is_enough);
        let result = work(&sent);
        drop(end_load);
        let mut decided = BTreeSet::new();
        for sender in senders {
            for id in sender.join().expect("no request fails") {
                assert!(decided.insert(id.clone()), "{id}: twice");
            }
        }
        (result, decided)
    })
}

/// As [`send_beside`], with requests that are answered before `work` and behind it. It is given a function that waits for more of them.
pub(in crate::production) fn send_while<T>(
    enter: &(dyn Fn() + Sync),
    connect: &(dyn Fn() -> Client + Sync),
    work: impl FnOnce(&dyn Fn()) -> T,
) -> (T, BTreeSet<String>) {
    send_beside(enter, connect, |sent| {
        let wait_more = || {
            let before = sent.load(Ordering::Relaxed);
            wait_until("the host decides", || {
                sent.load(Ordering::Relaxed) > before + 50
            });
        };
        wait_more();
        let result = work(&wait_more);
        wait_more();
        result
    })
}

/// Sends proposals at 5 a second, each by a client of its own, whose connection must be taken. `sent` counts them. Returns the decisions.
fn send_until(
    connect: &dyn Fn() -> Client,
    sender: u32,
    stop: &AtomicBool,
    sent: &AtomicUsize,
) -> Vec<String> {
    let mut decided = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let symbol = format!("S{sender}-{number}");
        let answer = connect().try_post("/v1/actions", &trade(&symbol, 0.000_1));
        let (status, answer) = answer.unwrap_or_else(|error| panic!("{symbol}: {error}"));
        assert_eq!(status, 200, "{symbol}: {answer}");
        decided.push(answer["decision_id"].as_str().expect("an id").to_owned());
        sent.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE.saturating_sub(began.elapsed()));
    }
    decided
}

#[test]
fn the_sockets_of_systemd_are_taken_in_their_order_and_checked() {
    let dir = TestDir::new("");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("an address").to_string();
    let elsewhere = own.replace("127.0.0.1", "127.0.0.2");
    // Another port than the configured one, another address, and a socket for telemetry that is off.
    for (count, listen, telemetry, reason) in [
        ("1", "127.0.0.1:1", "off", "the same address and port"),
        ("1", elsewhere.as_str(), "off", "the same address and port"),
        (
            "2",
            own.as_str(),
            elsewhere.as_str(),
            "`telemetry_listen` is 127.0.0.2",
        ),
        ("2", own.as_str(), "off", "take the socket out of its unit"),
        ("3", own.as_str(), "off", "passes 3 sockets"),
    ] {
        let passed: OwnedFd = listener.try_clone().expect("a descriptor").into();
        let output = Command::new("sh")
            .args(["-c", "exec 3<&0 4<&0 5<&0 </dev/null; exec \"$@\"", "sh"])
            .arg(ark_program())
            .args(["serve", "--listen", listen, "--telemetry-listen", telemetry])
            .arg("--data-dir")
            .arg(dir.data())
            .arg("--config")
            .arg(dir.config())
            .env("LISTEN_FDS", count)
            .stdin(Stdio::from(passed))
            .output()
            .expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains(reason),
            "{errors}"
        );
    }
    // What was configured is for this machine, and what is passed is not.
    let reachable = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = reachable.local_addr().expect("an address").port();
    for command in [&["serve"][..], &["front", "--owner", "http://127.0.0.1:1"]] {
        let passed: OwnedFd = reachable.try_clone().expect("a descriptor").into();
        let output = Command::new("sh")
            .args(["-c", "exec 3<&0 </dev/null; exec \"$@\"", "sh"])
            .arg(ark_program())
            .args(command)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--telemetry-listen", "off", "--config"])
            .arg(dir.config())
            .env("ARK_DATA_DIR", dir.data())
            .env("LISTEN_FDS", "1")
            .stdin(Stdio::from(passed))
            .output()
            .expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success()
                && errors.contains("travel unencrypted; give [tls] certificate and key"),
            "{errors}"
        );
    }
    let has_starter = Command::new("systemd-socket-activate")
        .arg("--version")
        .output()
        .is_ok();
    if !has_starter {
        return;
    }
    let [api, telemetry] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let mut host = Command::new("systemd-socket-activate")
        .args(["-l", &api, "-l", &telemetry])
        .arg(ark_program())
        .args([
            "serve",
            "--listen",
            &api,
            "--telemetry-listen",
            &telemetry,
            "--data-dir",
        ])
        .arg(dir.data())
        .arg("--config")
        .arg(dir.config())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait_until("the first connection starts the host", || {
        let answer = Client::at(&api).request("GET", "/readyz", &[], b"");
        answer.is_ok_and(|(status, ..)| status == 200)
    });
    let (status, _) = Client::at(&telemetry).get("/slos");
    assert_eq!(status, 200);
    kill_process(Pid::from_child(&host), Signal::TERM).expect("SIGTERM");
    assert!(host.wait().expect("its end").success());
}
