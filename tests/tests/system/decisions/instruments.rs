//! One instrument has many spellings: whatever is added up or looked up goes by the instrument, and what is shown is the symbol as it was given.

use ark_tests::{Client, Host, TestDir, copy_agent, hostile_guests_dir, run_ark, trade};
use serde_json::{Value, json};

use super::lists::{call, fired};

/// Spellings of one instrument, as venues and people write it: separators, case, full-width and mathematical letters, a cash tag.
const SPELLINGS: [&str; 11] = [
    "RES/USD",
    "RES_USD",
    "RESUSD",
    "RES:USD",
    "RES.USD",
    "res-usd",
    "RES USD",
    "RES\u{2013}USD",
    "\u{ff32}\u{ff25}\u{ff33}-USD",
    "\u{1d411}ES-USD",
    "$RES/USD",
];

fn propose_action(client: &mut Client, action: &Value) -> (Value, Value) {
    let (status, decision) = client.post("/v1/actions", action);
    assert_eq!(status, 200, "{action}: {decision}");
    (decision["outcome"].clone(), decision)
}

fn make_sale(symbol: &str, size: f64) -> Value {
    let mut action = trade(symbol, size);
    action["parameters"]["side"] = json!("sell");
    action["parameters"]["stop_loss"] = json!(105.0);
    action
}

fn start_with(dir: &tempfile::TempDir, config: &str) -> Host {
    let file = dir.path().join("ark.toml");
    std::fs::write(&file, config).expect("a configuration");
    let file = file.to_str().expect("UTF-8");
    Host::start(&dir.path().join("data"), &["--config", file])
}

#[test]
fn the_exposure_of_an_instrument_is_one_in_every_spelling() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    assert_eq!(
        propose_action(&mut client, &trade("RES-USD", 0.08)).0,
        "approved"
    );
    for restart in [false, true] {
        if restart {
            host.kill();
            host = Host::start(&dir.path().join("data"), &[]);
            client = Client::new(&host);
        }
        for spelling in SPELLINGS {
            let (outcome, decision) = propose_action(&mut client, &trade(spelling, 0.08));
            assert_eq!(outcome, "denied", "{spelling}: {decision}");
            assert!(fired(&decision, "max_position_size"), "{decision}");
        }
    }
    // What fits still passes, and is shown as it was given; the account names the instrument as its first position does.
    let (_, decision) = propose_action(&mut client, &trade("res/usd", 0.02));
    let id = decision["decision_id"].as_str().expect("an id");
    let (_, whole) = client.get(&format!("/v1/decisions/{id}"));
    assert_eq!(
        whole["action"]["parameters"]["symbol"], "res/usd",
        "{whole}"
    );
    let (_, account) = client.get("/v1/account");
    assert_eq!(
        account["exposure_pct"],
        json!({"RES-USD": 0.1}),
        "{account}"
    );
    // Another instrument is another one.
    assert_eq!(
        propose_action(&mut client, &trade("RES-USDT", 0.08)).0,
        "approved"
    );
}

#[test]
fn wash_trades_and_promotions_are_found_in_every_spelling() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    assert_eq!(
        propose_action(&mut client, &trade("RES-USD", 0.01)).0,
        "approved"
    );
    let promotion = json!({"agent": "api", "action_type": "publish", "reasoning": "r",
        "parameters": {"topic": "news", "symbol": "pump-usd", "text": "to the moon"}});
    assert_eq!(propose_action(&mut client, &promotion).0, "approved");
    for spelling in SPELLINGS {
        let (_, washed) = propose_action(&mut client, &make_sale(spelling, 0.01));
        assert!(fired(&washed, "no_market_manipulation"), "{washed}");
        let pumped = spelling.replace("RES", "PUMP").replace("res", "pump");
        if pumped.contains(['P', 'p']) {
            let (_, dumped) = propose_action(&mut client, &make_sale(&pumped, 0.01));
            assert!(fired(&dumped, "no_pump_and_dump"), "{dumped}");
        }
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one host, each list and each spelling"
)]
fn an_entry_counts_for_every_spelling_and_is_addressed_by_each() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = start_with(
        &dir,
        "[lists]\nrestricted_symbols = [\"gme\"]\nclient_orders = [\"abc/usd\"]\nvetoes = [{ symbol = \"doge/usd\", words = \"no\" }]\n",
    );
    let mut client = Client::new(&host);
    let judge = |client: &mut Client, symbol: &str, rule: &str| {
        let answer = client.post("/v1/actions?dry_run=true", &trade(symbol, 0.01));
        assert_eq!(answer.0, 200, "{answer:?}");
        fired(&answer.1, rule)
    };
    for (symbol, rule) in [
        ("GME", "no_insider_trading"),
        ("ABC-USD", "no_front_running"),
        ("DOGE_USD", "preserve_user_autonomy"),
    ] {
        assert!(judge(&mut client, symbol, rule), "{symbol}");
    }
    let reason = json!({"reason": "compliance", "by": "ada"});
    let path = |key: &str| {
        let key = key
            .bytes()
            .fold(String::new(), |path, byte| path + &format!("%{byte:02X}"));
        format!("/v1/lists/restricted/entries/{key}")
    };
    // In lower case, as people type it.
    for (key, symbol) in [("acme", "ACME"), ("res-usd", "RES-USD")] {
        assert_eq!(call(&mut client, "PUT", &path(key), Some(&reason)).0, 200);
        assert!(judge(&mut client, symbol, "no_insider_trading"), "{key}");
    }
    for spelling in SPELLINGS {
        assert!(
            judge(&mut client, spelling, "no_insider_trading"),
            "{spelling}"
        );
        let (status, entry) = call(&mut client, "GET", &path(spelling), None);
        assert_eq!((status, &entry["key"]), (200, &json!("res-usd")), "{entry}");
        assert_eq!(entry["instrument"], "RESUSD");
    }
    // Another spelling takes its place: there is one entry for an instrument.
    let (status, changed) = call(&mut client, "PUT", &path("RES/USD"), Some(&reason));
    assert_eq!(
        (status, &changed["other_spellings"]),
        (200, &json!(["res-usd"])),
        "{changed}"
    );
    let (_, list) = client.get("/v1/lists/restricted");
    let keys: Vec<&Value> = list["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| &entry["key"])
        .collect();
    assert_eq!(keys, ["RES/USD", "acme"], "{list}");
    assert!(judge(&mut client, "RES-USD", "no_insider_trading"));
    // Taken off by a third one, nothing of it is left, and its history has every change.
    let off = format!("{}?reason=over&by=ada", path("RES_USD"));
    let (status, changed) = call(&mut client, "DELETE", &off, None);
    assert_eq!(
        (status, &changed["other_spellings"]),
        (200, &json!(["RES/USD"])),
        "{changed}"
    );
    assert!(!judge(&mut client, "RES/USD", "no_insider_trading"));
    assert_eq!(call(&mut client, "GET", &path("RES/USD"), None).0, 404);
    assert_eq!(call(&mut client, "DELETE", &off, None).0, 404);
    assert!(judge(&mut client, "acme", "no_insider_trading"));
    let history = format!("{}/history", path("resusd"));
    let (_, history) = call(&mut client, "GET", &history, None);
    let changes: Vec<(&Value, bool)> = history["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .map(|change| (&change["key"], change["entry"].is_null()))
        .collect();
    let key = |text: &str| json!(text);
    assert_eq!(
        changes,
        [
            (&key("RES/USD"), true),
            (&key("RES/USD"), false),
            (&key("res-usd"), true),
            (&key("res-usd"), false)
        ],
        "{history}"
    );
    // What could match nothing is refused, and nothing of it is kept.
    let veto = json!({"reason": "r", "words": "w", "symbol": "\u{200b}"});
    for (path, body, status, field) in [
        (path("--"), &reason, 422, "key"),
        (path("\u{412}TC"), &reason, 422, "key"),
        (
            "/v1/lists/vetoes/entries/v".to_owned(),
            &veto,
            400,
            "symbol",
        ),
    ] {
        let (found, problem) = call(&mut client, "PUT", &path, Some(body));
        assert_eq!(
            (found, &problem["field"]),
            (status, &json!(field)),
            "{problem}"
        );
        assert_eq!(call(&mut client, "GET", &path, None).0, 404);
    }
}

#[test]
fn entries_of_an_earlier_version_are_all_in_force_and_taken_off_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(data.join("ark.db")).expect("the database");
    for key in ["RES-USD", "RES/USD", "--"] {
        let entry = json!({"restricted": key}).to_string();
        database
            .execute(
                "INSERT INTO list_entries (list, key, entry, by, reason, at) VALUES ('restricted', ?1, ?2, 'ada', 'r', 1)",
                [key, entry.as_str()],
            )
            .expect("a row");
    }
    drop(database);
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    let (_, decision) = client.post("/v1/actions?dry_run=true", &trade("resusd", 0.01));
    assert!(fired(&decision, "no_insider_trading"), "{decision}");
    let off = "/v1/lists/restricted/entries/RES-USD?reason=over&by=ada";
    let (status, changed) = call(&mut client, "DELETE", off, None);
    assert_eq!(
        (status, &changed["other_spellings"]),
        (200, &json!(["RES/USD"])),
        "{changed}"
    );
    let (_, decision) = client.post("/v1/actions?dry_run=true", &trade("RES/USD", 0.01));
    assert!(!fired(&decision, "no_insider_trading"), "{decision}");
    // An entry that can match nothing is addressed by its own text.
    let off = "/v1/lists/restricted/entries/--?reason=idle&by=ada";
    assert_eq!(call(&mut client, "DELETE", off, None).0, 200);
    let (_, list) = client.get("/v1/lists/restricted");
    assert_eq!(list["entries"], json!([]));
}

#[test]
fn an_alias_of_the_operator_is_the_instrument_it_stands_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut host = start_with(
        &dir,
        "[instruments.aliases]\nXBT = \"BTC\"\n[lists]\nrestricted_symbols = [\"XBT-EUR\"]\n",
    );
    let mut client = Client::new(&host);
    assert_eq!(
        propose_action(&mut client, &trade("BTC-USD", 0.08)).0,
        "approved"
    );
    for spelling in ["XBT-USD", "XBTUSD", "xbt/usd", "BTCUSD"] {
        let (outcome, decision) = propose_action(&mut client, &trade(spelling, 0.08));
        assert_eq!(outcome, "denied", "{spelling}: {decision}");
    }
    let (_, decision) = propose_action(&mut client, &trade("btc/eur", 0.01));
    assert!(fired(&decision, "no_insider_trading"), "{decision}");
    assert_eq!(host.terminate(), Some(0));
    // An alias that comes later joins what is open under both names.
    host = start_with(&dir, "");
    client = Client::new(&host);
    assert_eq!(
        propose_action(&mut client, &trade("XBT-USD", 0.08)).0,
        "approved"
    );
    assert_eq!(host.terminate(), Some(0));
    let file = dir.path().join("ark.toml");
    let file = file.to_str().expect("UTF-8");
    std::fs::write(file, "[instruments.aliases]\nX = \"BTC\"\n").expect("a configuration");
    let checked = run_ark(&["config", "check", "--config", file]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success());
    assert!(told.contains("instruments.aliases"), "{told}");
    host = start_with(&dir, "[instruments.aliases]\nXBT = \"BTC\"\n");
    client = Client::new(&host);
    let (_, decision) = propose_action(&mut client, &trade("BTC-USD", 0.01));
    assert_eq!(decision["outcome"], "denied", "{decision}");
    assert!(fired(&decision, "max_position_size"), "{decision}");
}

#[test]
fn symbols_in_use_are_taken_and_shown_as_given_and_imitations_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    for symbol in [
        "M&M",
        "ES=F",
        "@107",
        "BRK.B",
        "^GSPC",
        "\u{5e01}\u{5b89}\u{4eba}\u{751f}/USDT:USDT",
        "1000PEPE-USDT",
        "BTC-27DEC24-100000-C",
        "kPEPE",
        "$TICKER",
        "AAPL  241220C00150000",
    ] {
        let (outcome, decision) = propose_action(&mut client, &trade(symbol, 0.001));
        assert_eq!(outcome, "approved", "{symbol}: {decision}");
        let id = decision["decision_id"].as_str().expect("an id");
        let (_, whole) = client.get(&format!("/v1/decisions/{id}"));
        assert_eq!(whole["action"]["parameters"]["symbol"], symbol, "{whole}");
    }
    for symbol in [
        "",
        "  ",
        "BTC\n",
        "BTC\u{200b}-USD",
        "\u{202e}DSU-CTB",
        "\u{3164}",
        "--",
        "\u{412}TC-USD",
        "\u{412}\u{422}\u{421}",
        "BTC\u{336}",
        &"A".repeat(129),
    ] {
        for action in [
            trade(symbol, 0.001),
            json!({"agent": "api", "action_type": "close_position", "parameters": {"symbol": symbol}}),
            json!({"agent": "api", "action_type": "message", "parameters": {"topic": "t", "symbol": symbol}}),
        ] {
            let (status, problem) = client.post("/v1/actions", &action);
            assert_eq!(
                (status, &problem["field"]),
                (400, &json!("parameters.symbol")),
                "{symbol:?}: {problem}"
            );
            assert!(problem["remedy"].as_str().is_some_and(|it| !it.is_empty()));
        }
    }
}

#[test]
fn an_agent_gains_nothing_by_spelling() {
    let dir = TestDir::new("[lists]\nrestricted_symbols = [\"acme\"]\n");
    copy_agent(&hostile_guests_dir(), "chaos", &dir.agents());
    let host = dir.start();
    let mut client = Client::new(&host);
    let mut buy = |symbol: &str| {
        let signal = json!({"topic": "chaos.go", "payload": format!("buy {symbol}")});
        let (_, answer) = client.post("/v1/signals", &signal);
        let trace = answer["trace_id"].as_str().expect("a trace").to_owned();
        let trace = super::serving::wait_for_complete_trace(&mut client, &trace, |body| {
            body["steps"]
                .as_array()
                .is_some_and(|steps| steps.len() > 1)
        });
        let step = &trace["steps"][1];
        (
            step["step"].clone(),
            step["outcome"].clone(),
            step.to_string(),
        )
    };
    let (_, outcome, step) = buy("RES-USD");
    assert_eq!(outcome, "approved", "{step}");
    for spelling in SPELLINGS {
        let (_, outcome, step) = buy(spelling);
        assert_eq!(outcome, "denied", "{step}");
        assert!(step.contains("max_position_size"), "{step}");
    }
    let (_, outcome, step) = buy("A-C.M/E");
    assert_eq!(outcome, "denied", "{step}");
    assert!(step.contains("no_insider_trading"), "{step}");
    // What is no symbol fails the invocation: nothing of it is judged.
    let (step, _, told) = buy("\u{410}CME");
    assert_eq!(step, "failure", "{told}");
    assert!(told.contains("parameters.symbol"), "{told}");
}
