//! `ark redis status` just after the Redis was lost: nothing that was true before is told as true now.

use ark_tests::redis::Redis;
use ark_tests::{Client, Host, PATIENT, TestDir, run_ark, trade, wait_until};

/// The lines of the Redis and of the stream of events that `ark redis status` prints.
fn read_lines(host: &Host) -> (String, String) {
    let output = run_ark(&[
        "redis",
        "status",
        "--url",
        &format!("http://{}", host.address),
    ]);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let find = |start: &str| {
        let line = shown.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no line {start}: {shown}"))
            .to_owned()
    };
    (find("redis://"), find("ark:events"))
}

#[test]
fn a_lost_redis_is_told_by_what_was_seen_last() {
    let redis = Redis::start();
    let dir = TestDir::new(&format!(
        "{PATIENT}redis_ms = 500\n[redis]\nurl = \"redis://127.0.0.1:{}/0\"\n[redis.events]\nstream = \"ark:events\"\n",
        redis.port
    ));
    let host = dir.start();
    assert_eq!(
        Client::new(&host)
            .post("/v1/actions", &trade("BTC-USD", 0.001))
            .0,
        200
    );
    wait_until("the Redis is measured and events are sent", || {
        let (redis, events) = read_lines(&host);
        redis.contains("answers in ")
            && redis.contains(" (measured ")
            && events.contains("are sent (last answer ")
    });
    drop(redis);
    // Whatever was noticed by then, each claim has its time.
    let has_time = |(redis, events): &(String, String)| {
        let measured = redis.contains(" (measured ") || redis.contains("DOES NOT ANSWER: ");
        let states = [
            "are sent (last answer ",
            "were sent (last answer ",
            "ARE NOT SENT: ",
        ];
        measured && states.iter().any(|state| events.contains(state))
    };
    let lines = read_lines(&host);
    assert!(has_time(&lines), "{lines:?}");
    wait_until("the loss is noticed", || {
        let lines = read_lines(&host);
        assert!(has_time(&lines), "{lines:?}");
        lines.0.contains("DOES NOT ANSWER")
    });
    let (redis, events) = read_lines(&host);
    assert!(!events.contains("are sent"), "{redis}\n{events}");
    assert_eq!(host.terminate(), Some(0));
}
