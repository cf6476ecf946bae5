//! The host is killed at any moment: no event is lost, and what comes twice comes under one id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_tests::{Client, Random, trade, wait_for};

use super::receiver::{OK, Reaction, Receiver};
use super::{Hooks, SECRET, propose};

/// How often the host is killed.
const KILLS: u64 = 10;

#[test]
fn no_event_is_lost_over_kills_and_what_comes_twice_has_one_id() {
    let (receiver, moody) = (Receiver::start(&[SECRET]), Receiver::start(&[SECRET]));
    let mut refusals = Random::from_clock();
    moody.react(move |_| match refusals.below(4) {
        0 => Reaction::Status(500, Vec::new()),
        _ => OK,
    });
    let mut hooks = Hooks::new();
    let limits = "retry_ms = 10\nmax_retry_ms = 20\nmax_attempts = 100\n";
    hooks.add("steady", receiver.port, limits);
    hooks.add("moody", moody.port, limits);
    let mut host = hooks.dir.start();
    let mut moments = Random::from_clock();
    for _ in 0..KILLS {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut client = Client::new(&host);
                    while !is_over.load(Ordering::SeqCst) {
                        // The last one before a kill is answered or not.
                        if client
                            .try_post("/v1/actions", &trade("BTC-USD", 0.0001))
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(moments.below(1200)));
            host.send_kill();
            is_over.store(true, Ordering::SeqCst);
        });
        host = wait_for("the killed host's lock is free", || {
            hooks.dir.try_start().ok()
        });
    }
    let last = propose(&host);
    receiver.wait_for_decision(&last);
    moody.wait_for_decision(&last);
    let logged: String = hooks.query("SELECT group_concat(id, ' ') FROM (SELECT id FROM audit_log WHERE kind = 'decision' ORDER BY seq)");
    let logged: Vec<&str> = logged.split(' ').collect();
    assert!(logged.len() > 10, "{}", logged.len());
    for receiver in [&receiver, &moody] {
        // Nothing is lost, and what came first came in the order of the log.
        assert_eq!(receiver.decisions(), logged);
        let mut bodies: HashMap<String, String> = HashMap::new();
        let mut ids: HashMap<String, String> = HashMap::new();
        for received in receiver.received() {
            let body = bodies
                .entry(received.id.clone())
                .or_insert_with(|| received.body.clone());
            assert_eq!(*body, received.body, "one id, two events");
            let id = ids
                .entry(received.body)
                .or_insert_with(|| received.id.clone());
            assert_eq!(*id, received.id, "one event, two ids");
        }
        let faults = receiver.faults();
        assert!(
            faults.iter().all(|fault| !fault.contains("signed")),
            "{faults:?}"
        );
    }
}
