//! Callers without a token who send most of a body and stop: they use up the memory for bodies, and deny the front to nobody.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_tests::{Client, Host, JSON, TestDir, make_token, take_turn, trade, wait_for, wait_until};
use serde_json::{Value, json};

use super::{
    counts, empty_config, free_port, front_before, read_metric, settled_verdicts, start_owner,
    token_file,
};

/// More than fit into the memory for bodies: 128 MiB, of which each takes 252 KiB.
const CONNECTIONS: usize = 600;
/// What each says that it sends, and how much it does.
const LENGTHS: (usize, usize) = (262_144, 262_000);
/// The pause between two looks at all connections, and how many are opened again after each.
const ROUND: (Duration, usize) = (Duration::from_millis(50), 5);

/// Connections that each send a body but for its end.
struct Attack {
    is_over: AtomicBool,
    /// Their answers, by status.
    answers: Mutex<BTreeMap<String, usize>>,
}

/// Ends an attack, also when the test fails.
struct AttackEnd<'a>(&'a Attack);

impl Drop for AttackEnd<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// A connection of an attack.
struct StoppingSender {
    stream: TcpStream,
    sent: usize,
}

impl Attack {
    const fn new() -> Self {
        Self {
            is_over: AtomicBool::new(false),
            answers: Mutex::new(BTreeMap::new()),
        }
    }

    /// How many connections were answered with this status.
    fn count_answers(&self, status: &str) -> usize {
        let answers = self.answers.lock().expect("no panic");
        answers.get(status).copied().unwrap_or_default()
    }

    /// Keeps up the connections until the end: one that is answered is opened again.
    fn run(&self, address: &str) {
        let (declared, sent) = LENGTHS;
        let head = format!(
            "POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {declared}\r\n\r\n"
        );
        let mut message = head.into_bytes();
        message.resize(message.len() + sent, b' ');
        let (pause, reopened) = ROUND;
        let mut senders: Vec<StoppingSender> = Vec::new();
        let mut opened = CONNECTIONS;
        while !self.is_over.load(Ordering::SeqCst) {
            for _ in 0..opened.min(CONNECTIONS - senders.len()) {
                senders.extend(StoppingSender::open(address));
            }
            opened = reopened;
            senders.retain_mut(|sender| {
                let answer = sender.go_on(&message);
                if let Some(status) = &answer {
                    let mut answers = self.answers.lock().expect("no panic");
                    *answers.entry(status.clone()).or_default() += 1;
                }
                answer.is_none()
            });
            std::thread::sleep(pause);
        }
    }
}

impl StoppingSender {
    fn open(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, sent: 0 })
    }

    /// Sends what the connection takes of the message, and returns the status of an answer; empty: it has ended without one.
    fn go_on(&mut self, message: &[u8]) -> Option<String> {
        while self.sent < message.len() {
            match self.stream.write(&message[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // It may have been answered before.
                Err(_) => self.sent = message.len(),
            }
        }
        let mut answer = [0; 1024];
        match self.stream.read(&mut answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Ok(count) => {
                let text = String::from_utf8_lossy(&answer[..count]).into_owned();
                Some(text.split(' ').nth(1).unwrap_or_default().to_owned())
            }
            Err(_) => Some(String::new()),
        }
    }
}

/// Sends a request whose body needs almost as much memory as one of the attack: what such bodies leave is too little for it.
fn post_padded(front: &Host, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = format!("{body}{}", " ".repeat(200_000));
    let (status, _, answer) = Client::with_token(front, token)
        .request("POST", path, &[JSON], body.as_bytes())
        .expect("an answer");
    (status, serde_json::from_slice(&answer).expect("JSON"))
}

/// How many decisions were not judged again since their requests were streamed.
fn count_streamed(front: &Host) -> u64 {
    let (_, shown) = Client::of_telemetry(front).get("/verdicts");
    let count = &shown["verdicts"]["unjudged_reasons"]["not_read"];
    count.as_u64().unwrap_or_default()
}

#[test]
fn connections_that_stop_within_their_bodies_deny_a_front_to_nobody() {
    let _turn = take_turn();
    let dir = TestDir::new("");
    let root = make_token(&dir.data(), "root", "admin", &[]);
    let reader = make_token(&dir.data(), "front", "reader", &[]);
    let reader = token_file(&dir, "reader", &reader);
    let listen = format!("127.0.0.1:{}", free_port());
    let owner = wait_for("the owner starts", || start_owner(&dir, &listen));
    let args = ["--token-file", &reader, "--hold-for", "600000"];
    let front = front_before(&owner, &empty_config(&dir), &args);
    let attack = Attack::new();
    std::thread::scope(|scope| {
        let _end = AttackEnd(&attack);
        scope.spawn(|| attack.run(&front.address));
        // The owner refuses those for whose bodies there is no memory: it asks for a token first.
        wait_until("the memory is used up", || attack.count_answers("401") > 0);
        let mut proposals = 0;
        wait_until("a proposal is streamed", || {
            proposals += 1;
            let before = count_streamed(&front);
            let action = trade(&format!("PADDED-{proposals}"), 0.000_1);
            let (status, decision) = post_padded(&front, &root, "/v1/actions", &action);
            assert_eq!(status, 200, "{decision}");
            assert_eq!(decision["outcome"], "approved", "{decision}");
            count_streamed(&front) > before
        });
        let signal = json!({"topic": "desk.note"});
        let (status, answer) = post_padded(&front, &root, "/v1/signals", &signal);
        assert_eq!(status, 202, "{answer}");
        // What is small is held in memory all the same, so that it is judged again.
        let streamed = count_streamed(&front);
        let (status, decision) =
            Client::with_token(&front, &root).post("/v1/actions", &trade("SMALL", 0.000_1));
        assert_eq!(status, 200, "{decision}");
        assert_eq!(count_streamed(&front), streamed);
        proposals += 1;
        let (status, answer) = post_padded(
            &front,
            &root,
            "/v1/halt",
            &json!({"reason": "under attack"}),
        );
        assert_eq!(
            (status, &answer["changed"]),
            (200, &json!(true)),
            "{answer}"
        );
        let refused = attack.count_answers("401");
        wait_until("the memory is still used up", || {
            attack.count_answers("401") > refused
        });
        let (status, answer) = post_padded(
            &front,
            &root,
            "/v1/resume",
            &json!({"reason": "it is over"}),
        );
        assert_eq!(
            (status, &answer["changed"]),
            (200, &json!(true)),
            "{answer}"
        );
        assert_eq!(attack.count_answers("503"), 0, "the front is busy");
        let verdicts = settled_verdicts(&front, proposals);
        let streamed = count_streamed(&front);
        assert_eq!(
            counts(&verdicts),
            [proposals - streamed, 0, streamed],
            "{verdicts:#}"
        );

        // A request that is to be streamed waits for the owner too.
        assert_eq!(owner.terminate(), Some(0));
        wait_until("the front knows that the owner is away", || {
            Client::new(&front).get("/readyz").1["owner"] == "away"
        });
        let held = scope.spawn(|| {
            let signal = json!({"topic": "desk.note", "payload": "later"});
            post_padded(&front, &root, "/v1/signals", &signal)
        });
        wait_until("requests are held", || {
            read_metric(&front, "ark_front_holding") > 0.0
        });
        assert!(!held.is_finished(), "nobody could take the signal");
        let _owner = wait_for("the owner starts again", || start_owner(&dir, &listen));
        let (status, answer) = held.join().expect("no panic");
        assert_eq!(status, 202, "{answer}");
    });
}
