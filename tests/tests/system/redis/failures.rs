//! The host is killed, and the Redis restarted, paused, cut off and emptied of its group, while signals come in and events go out.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ark_tests::proxy::Proxy;
use ark_tests::redis::{Redis, RedisClient, RedisReply};
use ark_tests::{PATIENT, Random, TestDir, copy_agent, guests_dir, run_ark, take_turn, wait_until};
use serde_json::{Value, json};

use super::{AMPLE, Records, events, from_environment, read_lag, read_pending, wait_until_idle};

/// The stream of the test.
const STREAM: &str = "kyle:signals";
/// Entries that are written together.
const TOGETHER: usize = 100;

/// The command that writes the signal with a number.
fn write_entry(number: u64) -> Vec<String> {
    let event = json!({"id": format!("s{number}"), "symbol": "BTC-USD", "price": 100.0 + (number % 7) as f64 * 0.1,
        "volume": 5.0, "ts": number});
    [
        "XADD",
        STREAM,
        "*",
        "trace_id",
        &format!("{:032x}", number + 1),
        "event",
        &event.to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Writes signals as a producer does that repeats what may not have arrived.
fn produce_signals(port: u16, signals: u64) {
    let mut client = None;
    let mut next = 0;
    while next < signals {
        let last = (next + TOGETHER as u64).min(signals);
        let commands: Vec<Vec<String>> = (next..last).map(write_entry).collect();
        let Some(connection) = &mut client else {
            client = RedisClient::connect(port).ok();
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        match connection.try_run_all(&commands) {
            Ok(replies)
                if replies
                    .iter()
                    .all(|reply| matches!(reply, RedisReply::Text(_))) =>
            {
                next = last;
            }
            _ => client = None,
        }
    }
}

/// How the disturber and the test go along.
#[derive(Default)]
struct DisturbanceRun {
    stop: AtomicBool,
    /// Kills of the host so far.
    kills: AtomicU32,
}

/// Disturbs the Redis in one way or another until it is told to stop. The group is lost at most once for each kill of the host: the whole
/// stream is read again then, and if that took longer than the time between two losses, a long stream would never be read to its end.
fn disturb_redis(redis: &mut Redis, proxy: &Proxy, course: &DisturbanceRun) -> [u32; 6] {
    let mut done = [0; 6];
    let mut random = Random::from_clock();
    while !course.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200 + random.below(600)));
        let mut way = usize::try_from(random.below(6)).unwrap_or_default();
        if way == 3 && done[3] > course.kills.load(Ordering::Relaxed) {
            way = 4;
        }
        match way {
            0 => redis.restart_killed(),
            1 => {
                redis.freeze(true);
                std::thread::sleep(Duration::from_millis(random.below(400)));
                redis.freeze(false);
            }
            2 => drop(redis.run(&["CLIENT", "PAUSE", &random.below(400).to_string()])),
            3 => drop(redis.run(&["XGROUP", "DESTROY", STREAM, "ark"])),
            4 => proxy.cut(),
            _ => {
                proxy.refuse(true);
                std::thread::sleep(Duration::from_millis(random.below(400)));
                proxy.refuse(false);
            }
        }
        done[way] += 1;
    }
    done
}

#[test]
fn killed_at_random_moments_each_signal_of_a_disturbed_redis_is_processed_once() {
    let _turn = take_turn();
    let signals = from_environment("ARK_REDIS_SIGNALS", 3_000);
    let kills = from_environment("ARK_REDIS_KILLS", 3);
    let mut redis = Redis::start_durable();
    let port = redis.port;
    let proxy = Proxy::start(port);
    let dir = TestDir::new(&format!(
        r#"{PATIENT}
{AMPLE}[redis]
url = "redis://127.0.0.1:{}/0"
[[redis.signals]]
stream = "{STREAM}"
topic = "market.tick"
field = "event"
key = "id"
select = {{ symbol = "symbol", price = "price", volume = "volume", at = "ts" }}
[redis.events]
stream = "{}"
max_length = 100_000_000
"#,
        proxy.port,
        events::STREAM
    ));
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let mut host = dir.start();
    let records = Records::open(&dir);
    let behind = events::recorded(&records);
    let course = DisturbanceRun::default();
    let mut random = Random::from_clock();
    let (host, disturbances) = std::thread::scope(|scope| {
        scope.spawn(|| produce_signals(port, signals));
        let disturbing = scope.spawn(|| disturb_redis(&mut redis, &proxy, &course));
        for round in 1..=kills {
            let enough = signals * round / (kills + 1);
            wait_until_more(&records, enough);
            std::thread::sleep(Duration::from_millis(random.below(200)));
            host = dir.restart_killed(&host);
            course.kills.fetch_add(1, Ordering::Relaxed);
        }
        wait_until_more(&records, signals);
        course.stop.store(true, Ordering::Relaxed);
        (host, disturbing.join().expect("no panic"))
    });
    let mut client = redis.connect();
    wait_while_reading(&records, || {
        read_lag(&mut client, STREAM).as_deref() == Some("0")
            && read_pending(&mut client, STREAM) == "0"
    });
    wait_until_idle(&records);
    events::wait_until_sent(&mut client, &records);
    assert_eq!(host.terminate(), Some(0));
    assert_once(&records, signals);
    events::wait_until_sent(&mut client, &records);
    let sent = events::read_ids(&mut client);
    let sent = events::assert_complete(&records, &sent, behind);
    let data = dir.data();
    let data = data.to_str().expect("UTF-8");
    let verified = run_ark(&["audit", "verify", "--json", "--data-dir", data]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    let entries = client.run(&["XLEN", STREAM]).text();
    println!(
        "{signals} signals in {entries} entries are processed once and {sent} events are in the stream once, over {kills} kills of the host and of the Redis {} restarts, {} freezes, {} pauses, {} lost groups, {} cuts, {} times away",
        disturbances[0],
        disturbances[1],
        disturbances[2],
        disturbances[3],
        disturbances[4],
        disturbances[5]
    );
}

/// Waits until a condition holds while the stream is read. Only a standstill of the reading ends the wait.
fn wait_while_reading(records: &Records, mut holds: impl FnMut() -> bool) {
    while !holds() {
        let before = records.read_progress();
        wait_until("more of the stream is read", || {
            holds() || records.read_progress() != before
        });
    }
}

/// Waits until there are so many signals.
fn wait_until_more(records: &Records, enough: u64) {
    wait_while_reading(records, || records.count_signals() >= enough);
}

/// Each signal is stored once, delivered once, and in the audit log once at most; kyle, who judges a tick only after a warm-up, has counted
/// each in the transaction that settled its delivery.
fn assert_once(records: &Records, signals: u64) {
    let ticks = "FROM signals WHERE topic = 'market.tick'";
    assert_eq!(
        records.query_count(&format!("SELECT count(*) {ticks}")),
        signals
    );
    assert_eq!(
        records.query_count(&format!("SELECT count(DISTINCT trace_id) {ticks}")),
        signals
    );
    assert_eq!(
        records.query_count("SELECT count(*) FROM redis_dead_letters"),
        0
    );
    let done = "SELECT count(*) FROM deliveries WHERE agent = 'kyle' AND status = 'done'";
    assert_eq!(records.query_count(done), signals);
    let statistics = records
        .query_texts("SELECT value FROM agents_state WHERE agent = 'kyle'")
        .remove(0);
    let statistics: Value = serde_json::from_str(&statistics).expect("JSON");
    assert_eq!(statistics["ticks"], json!(signals));
    let decisions = "FROM audit_log WHERE kind = 'decision' AND agent = 'kyle'";
    let decided = records.query_count(&format!("SELECT count(*) {decisions}"));
    assert_eq!(
        records.query_count(&format!("SELECT count(DISTINCT trace_id) {decisions}")),
        decided
    );
    assert_eq!(decided, signals - 20, "kyle says nothing of the first 20");
    assert_eq!(
        records.query_count("SELECT count(*) FROM audit_log WHERE kind = 'failure'"),
        0
    );
}
