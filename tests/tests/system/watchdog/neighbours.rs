//! Whether an agent at one of its quotas slows the others down: the time of an API decision and of another agent's invocation, with and without it, in
//! turns. `ARK_NEIGHBOUR_ROUNDS=20` is the long run; its figures are printed.

use std::time::{Duration, Instant};

use ark_tests::{Client, TestDir, copy_agent, guests_dir, post_signal, trade, wait_until};
use serde_json::json;

use super::quotas::{CASES, agent, copy_hogs, quota_of};

/// Decisions and invocations that are timed in one turn.
const TIMED: usize = 25;
/// Signals that wait for the agent at its quota when a turn with it begins: more than it handles while the turn lasts, since it pauses after each refusal.
const WAITING: usize = 20;

/// The 99th percentiles of one turn.
struct Turn {
    decision: Duration,
    invocation: Duration,
}

fn find_percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort();
    let last = times.len() - 1;
    times[(last * percent).div_ceil(100)]
}

/// What is timed: one client, and how many ticks and trades it has sent.
struct TimedClient {
    client: Client,
    sent: usize,
}

impl TimedClient {
    fn time_turn(&mut self) -> Turn {
        let (mut decisions, mut invocations) = (Vec::new(), Vec::new());
        for _ in 0..TIMED {
            self.sent += 1;
            let symbol = format!("N{}", self.sent);
            let started = Instant::now();
            let (status, answer) = self.client.post("/v1/actions", &trade(&symbol, 0.000_01));
            decisions.push(started.elapsed());
            assert_eq!(status, 200, "{answer}");
            let tick = json!({"symbol": "BTC-USD", "price": 100.0, "volume": 5.0, "at": self.sent});
            let started = Instant::now();
            post_signal(&mut self.client, "market.tick", &tick);
            while agent(&mut self.client, "kyle")["handled"] != json!(self.sent) {
                assert!(started.elapsed() < ark_tests::PATIENCE, "kyle is held up");
            }
            invocations.push(started.elapsed());
        }
        Turn {
            decision: find_percentile(decisions, 99),
            invocation: find_percentile(invocations, 99),
        }
    }
}

#[test]
fn an_agent_at_its_quota_slows_nobody_down() {
    let rounds = std::env::var("ARK_NEIGHBOUR_ROUNDS");
    let rounds: usize = rounds.map_or(1, |rounds| rounds.parse().expect("a number"));
    // It is to go on however often it is refused.
    let place = TestDir::new("[watchdog]\nquota_refusals = 1_000_000\n");
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let names = copy_hogs(&place.agents());
    let host = place.start();
    let mut timing = TimedClient {
        client: Client::new(&host),
        sent: 0,
    };
    // The first turn compiles and caches.
    timing.time_turn();
    let (mut quiet, mut noisy) = (Vec::new(), Vec::new());
    let mut turns = 0_u64;
    for _ in 0..rounds {
        for (number, (name, case)) in (1..).zip(names.iter().zip(&CASES)) {
            quiet.push(timing.time_turn());
            let refusals = quota_of(&mut timing.client, name, case.quota)["refusals"].clone();
            for _ in 0..WAITING {
                turns += 1;
                let payload = json!([case.what, turns, case.count, case.size]);
                post_signal(&mut timing.client, &format!("hog.{number}"), &payload);
            }
            noisy.push(timing.time_turn());
            // It was refused meanwhile; what still waits must not run into the next turn.
            wait_until("the agent at its quota", || {
                agent(&mut timing.client, name)["waiting"] == json!(0)
            });
            let after = quota_of(&mut timing.client, name, case.quota)["refusals"].clone();
            assert!(
                after.as_u64() > refusals.as_u64(),
                "{}: {after}",
                case.quota
            );
        }
    }
    let median = |turns: &[Turn], time: fn(&Turn) -> Duration| {
        find_percentile(turns.iter().map(time).collect(), 50)
    };
    for (what, time) in [
        ("decision", (|turn| turn.decision) as fn(&Turn) -> Duration),
        ("invocation", |turn| turn.invocation),
    ] {
        let (without, with) = (median(&quiet, time), median(&noisy, time));
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!(
            "{what}: p99 {without:?} without, {with:?} with a neighbour at its quota, {ratio:.2} times"
        );
        // A busy machine makes single turns longer; an agent that holds the others up makes them wait for all that it has waiting.
        let most = without * 10 + Duration::from_secs(1);
        assert!(with < most, "{what}: {with:?} with, {without:?} without");
    }
}
