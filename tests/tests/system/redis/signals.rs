//! Entries become signals once, in order, and without loss; what cannot become one goes to the dead-letter stream.

use std::time::Duration;

use ark_tests::redis::Redis;
use ark_tests::{Client, PATIENT, TestDir, copy_agent, guests_dir, post_signal, wait_until};
use serde_json::{Value, json};

use super::{Records, dead_letters, events, read_lag, read_pending, wait_until_read};

/// The streams of the original system: its producer's events, and its heartbeats.
fn write_streams(port: u16) -> String {
    format!(
        r#"{PATIENT}
[redis]
url = "redis://127.0.0.1:{port}/0"

[[redis.signals]]
stream = "kyle:signals"
topic = "market.tick"
field = "event"
key = "id"
select = {{ symbol = "symbol", price = "price", volume = "volume", at = "ts" }}

[[redis.signals]]
stream = "watchdog:heartbeats"
topic = "original.heartbeat"
max_attempts = 2
"#
    )
}

/// An event as the original's producer writes it.
fn write_event(id: &str, symbol: &str, price: f64, volume: f64, at: f64) -> String {
    json!({"id": id, "symbol": symbol, "price": price, "volume": volume, "ts": at, "source": "synthetic",
        "action": "trade", "position_size_pct": 0.05, "leverage": 1.0, "stop_loss": price * 0.95,
        "risk_reward_ratio": 2.5, "injected_violation": false})
    .to_string()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one stream from its first entry to its last, in order"
)]
fn entries_become_signals_once_whatever_is_repeated() {
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&write_streams(redis.port));
    copy_agent(&guests_dir(), "kyle", &dir.agents());

    // What a host that is gone has read and not acknowledged, for longer than a living one would take. Half of it is trimmed by now.
    let beats = "watchdog:heartbeats";
    client.run(&["XGROUP", "CREATE", beats, "ark", "0", "MKSTREAM"]);
    let mut held = Vec::new();
    for number in 0..4 {
        let number = number.to_string();
        held.push(
            client
                .run(&["XADD", beats, "*", "source", "gone", "n", &number])
                .text(),
        );
    }
    client.run(&["XREADGROUP", "GROUP", "ark", "gone", "STREAMS", beats, ">"]);
    let mut idle = vec!["XCLAIM", beats, "ark", "gone", "0"];
    idle.extend(held.iter().map(String::as_str));
    idle.extend(["IDLE", "3600000"]);
    client.run(&idle);
    client.run(&["XTRIM", beats, "MINID", &held[2]]);

    let host = dir.start();
    let records = Records::open(&dir);
    wait_until("the entries of the host that is gone", || {
        records.count_signals() == 2
    });
    wait_until_read(&mut client, beats);
    let payloads = records.query_texts("SELECT payload FROM signals ORDER BY id");
    assert_eq!(
        payloads,
        [
            r#"{"n":"2","source":"gone"}"#,
            r#"{"n":"3","source":"gone"}"#
        ]
    );

    // The same entry written twice; a key used for something else; what is malformed.
    let first = write_event("a", "AAPL", 100.0, 5.0, 1_795_165_200.25);
    let reordered: Value = serde_json::from_str(&first).expect("JSON");
    let ticks = "kyle:signals";
    for entry in [
        vec!["event", &first],
        vec!["event", &reordered.to_string()],
        vec![
            "event",
            &write_event("a", "AAPL", 101.0, 5.0, 1_795_165_200.0),
        ],
        vec!["event", "{"],
        vec!["evnt", "{}", "ark_reason", "forged"],
        vec![
            "event",
            &write_event("b", "AAPL", 102.0, 5.0, 1_795_165_201.0),
        ],
    ] {
        let mut add = vec!["XADD", ticks, "*"];
        add.extend(entry);
        client.run(&add);
    }
    wait_until_read(&mut client, ticks);
    assert_eq!(records.count_signals(), 4);
    let letters = dead_letters(&mut client, "kyle:signals:dead");
    let reasons: Vec<&str> = letters
        .iter()
        .map(|letter| letter["ark_reason"].as_str())
        .collect();
    assert_eq!(reasons.len(), 3, "{letters:?}");
    assert!(reasons[0].contains("another signal"), "{reasons:?}");
    assert!(reasons[1].contains("not JSON"), "{reasons:?}");
    assert!(reasons[2].contains("event: is missing"), "{reasons:?}");
    assert_eq!(letters[1]["event"], "{");
    let on_record =
        records.query_texts("SELECT trace_id FROM redis_dead_letters ORDER BY at, entry");
    let traces: Vec<&String> = letters
        .iter()
        .map(|letter| &letter["ark_trace_id"])
        .collect();
    assert_eq!(traces, on_record.iter().collect::<Vec<_>>());

    let (_, watchdog) = Client::new(&host).get("/v1/watchdog");
    let seen = &watchdog["streams"][0];
    assert_eq!(
        (
            &seen["stream"],
            &seen["accepted"],
            &seen["duplicates"],
            &seen["refused"]
        ),
        (&json!(ticks), &json!(2), &json!(1), &json!(3)),
        "{seen}"
    );

    // The group is removed: everything is read again, and nothing is done again.
    for _ in 0..2 {
        client.run(&["XGROUP", "DESTROY", ticks, "ark"]);
        client.run(&["XGROUP", "DESTROY", beats, "ark"]);
        client.run(&["XADD", ticks, "*", "event", "again malformed"]);
        wait_until_read_again(&mut client, ticks);
        wait_until_read_again(&mut client, beats);
    }
    assert_eq!(records.count_signals(), 4);
    assert_eq!(dead_letters(&mut client, "kyle:signals:dead").len(), 5);

    // The Redis loses everything, and gives the ids of before to other entries, and to the same ones.
    client.run(&["FLUSHALL"]);
    for (id, number) in [("1-1", "2"), ("1-2", "new")] {
        client.run(&["XADD", beats, id, "source", "gone", "n", number]);
    }
    wait_until_read_again(&mut client, beats);
    assert_eq!(records.count_signals(), 6);
    client.run(&["DEL", beats]);
    for (id, number) in [("1-1", "2"), ("1-2", "other"), ("1-3", "2")] {
        client.run(&["XADD", beats, id, "source", "gone", "n", number]);
    }
    wait_until_read_again(&mut client, beats);
    assert_eq!(records.count_signals(), 8);

    // A stream that is no stream is not read, and what follows is.
    client.run(&["DEL", beats]);
    client.run(&["SET", beats, "a text"]);
    post_signal(
        &mut Client::new(&host),
        "market.tick",
        &json!({"symbol": "X", "price": 1.0, "volume": 1.0, "at": 1}),
    );
    client.run(&["DEL", beats]);
    client.run(&["XADD", beats, "*", "source", "back"]);
    wait_until("what came after it", || records.count_signals() == 10);
    assert_eq!(host.terminate(), Some(0));
}

/// As [`wait_until_read`], where the group may not be made again yet.
fn wait_until_read_again(client: &mut ark_tests::redis::RedisClient, stream: &str) {
    wait_until("the group is made", || read_lag(client, stream).is_some());
    wait_until_read(client, stream);
}

#[test]
fn an_entry_that_ends_the_host_again_and_again_is_put_aside() {
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&write_streams(redis.port));
    dir.start().kill();
    let records = Records::open(&dir);
    let consumer = records
        .query_texts("SELECT name FROM redis_consumer")
        .remove(0);
    let beats = "watchdog:heartbeats";
    for number in ["1", "2"] {
        client.run(&["XADD", beats, "*", "n", number]);
    }
    // Both are given to this host; one has been read twice by hosts that ended, as often as it may be.
    client.run(&[
        "XREADGROUP",
        "GROUP",
        "ark",
        &consumer,
        "STREAMS",
        beats,
        ">",
    ]);
    let first = client
        .run(&["XRANGE", beats, "-", "+", "COUNT", "1"])
        .list()[0]
        .entry()
        .0;
    client.run(&[
        "XCLAIM",
        beats,
        "ark",
        &consumer,
        "0",
        &first,
        "RETRYCOUNT",
        "2",
        "JUSTID",
    ]);
    let host = dir.start();
    wait_until_read(&mut client, beats);
    let letters = dead_letters(&mut client, "watchdog:heartbeats:dead");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(
        letters[0]["ark_reason"].contains("read 2 times"),
        "{letters:?}"
    );
    assert_eq!(
        (letters[0]["n"].as_str(), letters[0]["ark_entry"].as_str()),
        ("1", first.as_str())
    );
    assert_eq!(
        records.query_texts("SELECT payload FROM signals"),
        [r#"{"n":"2"}"#]
    );
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_full_queue_stops_the_reading_and_nothing_is_shed() {
    const ENTRIES: usize = 60;
    let redis = Redis::start();
    let mut client = redis.connect();
    let config = format!(
        "{}\n[capacity]\nagent_queue = 20\n",
        write_streams(redis.port)
    );
    let dir = TestDir::new(&config);
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let mut api = Client::new(&host);
    let reason = json!({"reason": "a test", "by": "ada"});
    assert_eq!(api.post("/v1/agents/kyle/quarantine", &reason).0, 200);
    // In one transaction, so that the host reads all of them at once.
    let entries = (0..ENTRIES).map(|number| {
        let at = 1_795_165_200.0 + number as f64;
        let event = write_event(&number.to_string(), "AAPL", 100.0, 5.0, at);
        ["XADD", "kyle:signals", "*", "event", &event]
            .map(str::to_owned)
            .to_vec()
    });
    let mut transaction = vec![vec!["MULTI".to_owned()]];
    transaction.extend(entries);
    transaction.push(vec!["EXEC".to_owned()]);
    let replies = client.try_run_all(&transaction).expect("answers");
    assert_eq!(replies.last().expect("an answer").list().len(), ENTRIES);
    let records = Records::open(&dir);
    // Half of the queue is for streams.
    wait_until("half of the queue", || records.count_signals() == 10);
    wait_until("one batch was read", || {
        read_pending(&mut client, "kyle:signals") == "50"
    });
    // The other half is not: a caller finds room, and the stream does not take it.
    let tick = json!({"symbol": "X", "price": 1.0, "volume": 1.0, "at": 1});
    let answer = post_signal(&mut api, "market.tick", &tick);
    assert_eq!(
        (&answer["delivered_to"], &answer["shed"]),
        (&json!(["kyle"]), &json!([]))
    );
    // Over a kill too: what waits is in the stream.
    drop(api);
    let host = dir.restart_killed(&host);
    let mut api = Client::new(&host);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(records.count_signals(), 11);
    assert_eq!(api.post("/v1/agents/kyle/restore", &reason).0, 200);
    wait_until_read(&mut client, "kyle:signals");
    wait_until("kyle has handled all", || {
        records
            .query_count("SELECT count(*) FROM deliveries WHERE agent = 'kyle' AND status = 'done'")
            == ENTRIES as u64 + 1
    });
    assert_eq!(
        records.query_count("SELECT count(*) FROM deliveries WHERE status = 'failed'"),
        0
    );
    // In the order of the stream: kyle's signals begin in the order in which they were accepted.
    let ats = records.query_texts("SELECT json_extract(payload, '$.at') || '' FROM signals WHERE topic = 'market.tick' AND json_extract(payload, '$.symbol') = 'AAPL' ORDER BY id");
    let expected: Vec<String> = (0..ENTRIES)
        .map(|number| format!("{:?}", 1_795_165_200.0 + number as f64))
        .collect();
    assert_eq!(ats, expected);
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn the_original_producers_events_become_decisions_of_the_five_agents() {
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&format!(
        "{}[redis.events]\nstream = \"{}\"\n",
        write_streams(redis.port),
        events::STREAM
    ));
    for agent in ["kyle", "joey", "kenny", "aletheia", "id"] {
        copy_agent(&guests_dir(), agent, &dir.agents());
    }
    let host = dir.start();
    let records = Records::open(&dir);
    let behind = events::recorded(&records);
    let ticks = include_str!("../../../../host/cli/assets/ticks.jsonl");
    for (number, line) in ticks.lines().enumerate() {
        let tick: Value = serde_json::from_str(line).expect("a tick");
        let number_of = |field: &str| tick[field].as_f64().expect("a number");
        let symbol = tick["symbol"].as_str().expect("a symbol");
        let event = write_event(
            &format!("tick-{number}"),
            symbol,
            number_of("price"),
            number_of("volume"),
            number_of("at") + 0.5,
        );
        client.run(&[
            "XADD",
            "kyle:signals",
            "MAXLEN",
            "10000",
            "*",
            "event",
            &event,
        ]);
        client.run(&[
            "XADD",
            "watchdog:heartbeats",
            "MAXLEN",
            "10000",
            "*",
            "trace_id",
            &format!("{number:032x}"),
            "ts",
            "1795165200.5",
            "source",
            "synthetic_validator",
        ]);
    }
    wait_until_read(&mut client, "kyle:signals");
    wait_until_read(&mut client, "watchdog:heartbeats");
    wait_until("all agents have handled what they were told", || {
        records.query_count("SELECT (SELECT count(*) FROM deliveries WHERE status = 'pending') + (SELECT count(*) FROM outbox)") == 0
    });
    assert_eq!(
        records.query_count("SELECT count(*) FROM redis_dead_letters"),
        0
    );
    assert_eq!(
        records.query_count("SELECT count(*) FROM deliveries WHERE status = 'failed'"),
        0
    );
    assert_eq!(
        records.query_count("SELECT count(*) FROM signals WHERE topic = 'original.heartbeat'"),
        360
    );
    let decisions = |agent: &str| {
        records.query_count(&format!(
            "SELECT count(*) FROM audit_log WHERE kind = 'decision' AND agent = '{agent}'"
        ))
    };
    for agent in ["kyle", "joey", "kenny", "aletheia"] {
        assert!(decisions(agent) > 0, "{agent} decided nothing");
    }
    let handled = "SELECT count(*) FROM deliveries WHERE agent = 'id' AND status = 'done'";
    assert!(records.query_count(handled) > 0, "id was told nothing");
    // And all of it goes out again.
    events::wait_until_sent(&mut client, &records);
    let sent = events::read_ids(&mut client);
    events::assert_complete(&records, &sent, behind);
    assert_eq!(host.terminate(), Some(0));
}
