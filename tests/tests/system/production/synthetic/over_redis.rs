//! The load with its signals through a real Redis: the same is proved as over HTTP, and a signal that gets lost, or comes twice, fails the proof of
//! the traces.

use ark_tests::ports::free_port;
use ark_tests::redis::{Redis, RedisClient};
use ark_tests::{Client, TestDir, wait_for, wait_until};
use serde_json::{Value, json};

use super::{CONFIG, failed_proofs, open_orders, run, url_of};

/// The stream of the load.
const STREAM: &str = "synthetic:ticks";

/// A host that reads the stream of the load, in one of the forms that its entries may have.
fn write_config(port: u16, form: &str) -> String {
    format!(
        "{CONFIG}[redis]\nurl = \"redis://127.0.0.1:{port}/0\"\n[[redis.signals]]\nstream = \"{STREAM}\"\ntopic = \"synthetic.tick\"\n{form}"
    )
}

/// Runs the load through the Redis of the directory's configuration.
fn run_over_redis(url: &str, dir: &TestDir, more: &[&str]) -> (Value, std::process::Output) {
    let config = dir.config();
    let redis = ["--redis-config", config.to_str().expect("UTF-8")];
    run(url, dir, &[&redis, more].concat())
}

/// How many entries the stream has, and how many of them nobody has acknowledged.
fn count_entries(client: &mut RedisClient) -> (String, String) {
    let length = client.run(&["XLEN", STREAM]).text();
    let pending = client.run(&["XPENDING", STREAM, "ark"]);
    (length, pending.list()[0].text())
}

#[test]
fn the_same_is_proved_when_signals_go_through_redis() {
    let redis = Redis::start();
    let mut client = redis.connect();
    for form in [
        "",
        "field = \"event\"\nkey = \"id\"\nselect = { number = \"tick\", at = \"ts\" }\n",
    ] {
        client.run(&["FLUSHALL"]);
        let dir = TestDir::new(&write_config(redis.port, form));
        let host = dir.start();
        let url = url_of(&host);
        wait_until("the host reads the stream", || {
            client.run(&["EXISTS", STREAM]).text() == "1"
        });
        let (steps, output) = run_over_redis(&url, &dir, &["--dry-run"]);
        assert!(output.status.success(), "{output:?}");
        assert!(
            steps
                .to_string()
                .contains("the Redis stream synthetic:ticks"),
            "{steps}"
        );
        assert_eq!(count_entries(&mut client).0, "0", "a dry run has no effect");
        // On a machine that is busy with other tests the rate may not be held at once.
        let mut runs = 0;
        let report = wait_for("a run in which the rate was held", || {
            runs += 1;
            let (report, output) = run_over_redis(&url, &dir, &["--duration", "4", "--hz", "4"]);
            assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
            (report["passed"] == true && output.status.success()).then_some(report)
        });
        assert_eq!(
            report["signals_through"],
            format!("the Redis stream {STREAM}")
        );
        assert_eq!(
            (&report["injected"], &report["denied"], &report["approved"]),
            (&json!(4), &json!(4), &json!(12))
        );
        // Every signal came by the stream, which is read to its end; no entry was refused.
        let sent = (16 * runs).to_string();
        assert_eq!(count_entries(&mut client), (sent.clone(), "0".to_owned()));
        let (_, status) = Client::new(&host).get("/v1/watchdog");
        let stream = &status["streams"][0];
        assert_eq!(stream["accepted"].to_string(), sent, "{status:#}");
        assert_eq!(client.run(&["EXISTS", "synthetic:ticks:dead"]).text(), "0");
        assert_eq!(host.terminate(), Some(0));
        assert_eq!(open_orders(&dir.data()).0, 0);
    }
}

#[test]
fn a_signal_that_is_lost_in_redis_or_comes_twice_fails_the_proof_of_the_traces() {
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&write_config(redis.port, ""));
    let host = dir.start();
    wait_until("the host reads the stream", || {
        client.run(&["EXISTS", STREAM]).text() == "1"
    });
    // Somebody who reads as the host's group, and acknowledges what he takes; somebody who writes each entry again.
    for is_thief in [true, false] {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (report, output, meddled) = std::thread::scope(|scope| {
            let meddler = scope.spawn(|| {
                let mut other = redis.connect();
                let mut meddled = 0;
                let mut last = "$".to_owned();
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    meddled += if is_thief {
                        steal_entries(&mut other)
                    } else {
                        repeat_entry(&mut other, &mut last)
                    };
                }
                meddled
            });
            let (report, output) =
                run_over_redis(&url_of(&host), &dir, &["--duration", "3", "--hz", "20"]);
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
            (report, output, meddler.join().expect("no panic"))
        });
        assert!(meddled > 0, "{is_thief}");
        assert_eq!(
            failed_proofs(&report),
            ["traces"],
            "{is_thief}: {report:#} {output:?}"
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

/// Reads an entry as a member of the host's group, and acknowledges it. Returns how many there were.
fn steal_entries(client: &mut RedisClient) -> usize {
    let read = client.run(&[
        "XREADGROUP",
        "GROUP",
        "ark",
        "thief",
        "COUNT",
        "1",
        "BLOCK",
        "100",
        "STREAMS",
        STREAM,
        ">",
    ]);
    let Some(stream) = read.list().first() else {
        return 0;
    };
    let (id, _) = stream.list()[1].list()[0].entry();
    client.run(&["XACK", STREAM, "ark", &id]);
    1
}

/// Writes the entries behind `last` again, each once. Returns how many there were.
fn repeat_entry(client: &mut RedisClient, last: &mut String) -> usize {
    let read = client.run(&["XREAD", "BLOCK", "100", "STREAMS", STREAM, last]);
    let Some(stream) = read.list().first() else {
        return 0;
    };
    let mut repeated = 0;
    for entry in stream.list()[1].list() {
        let (id, fields) = entry.entry();
        *last = id;
        if fields.iter().any(|(name, _)| name == "again") {
            continue;
        }
        let mut add = vec!["XADD", STREAM, "*", "again", "1"];
        add.extend(
            fields
                .iter()
                .flat_map(|(name, value)| [name.as_str(), value.as_str()]),
        );
        client.run(&add);
        repeated += 1;
    }
    repeated
}

#[test]
fn a_redis_or_a_configuration_without_the_stream_is_refused_with_the_remedy() {
    let redis = Redis::start();
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    for (config, told) in [
        (CONFIG.to_owned(), "names no Redis"),
        (
            write_config(redis.port, "").replace("synthetic.tick", "market.tick"),
            "has topic = \"synthetic.tick\"",
        ),
        (write_config(free_port(), ""), "the Redis"),
        // The host was started without it.
        (
            write_config(redis.port, ""),
            "no group ark reads the stream",
        ),
    ] {
        dir.configure(&config);
        let (_, output) = run_over_redis(&url, &dir, &["--duration", "20"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains(told),
            "{told}: {errors}"
        );
    }
    let (_, decisions) = Client::new(&host).get("/v1/decisions");
    assert_eq!(decisions["decisions"], json!([]), "nothing was proposed");
}
