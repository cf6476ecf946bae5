//! Telemetry of the real binary: the contract of its metrics, its objectives and its health.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use ark_tests::artefacts::checkout_path;
use ark_tests::policies::{put, read_policy};
use ark_tests::redis::Redis;
use ark_tests::requests::post_tick;
use ark_tests::telemetry::{series_value, start_receiver};
use ark_tests::{
    Client, Host, TestDir, copy_numbered, guests_dir, hostile_guests_dir, send_raw_to, take_turn,
    trade, wait_for,
};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A row of the text format: name, labels, value.
fn row(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().expect("a number");
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new(), value);
    };
    let labels = labels.trim_end_matches('}').split("\",").map(|label| {
        let (name, value) = label.split_once("=\"").expect("a label");
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value)
}

/// The contract as documented, of a host: name to type and labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let path = checkout_path("docs/metrics-reference.md");
    let document = std::fs::read_to_string(path).expect("docs/metrics-reference.md");
    let (of_host, _of_front) = document.split_once("\n## A front\n").expect("both tables");
    let rows = of_host
        .lines()
        .filter(|line| line.starts_with("| `ark_") || line.starts_with("| `process_"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3]
            .split(", ")
            .filter(|label| !label.is_empty())
            .map(|label| label.trim_matches('`').to_owned())
            .collect();
        (
            cells[1].trim_matches('`').to_owned(),
            (cells[2].to_owned(), labels),
        )
    })
    .collect()
}

/// Compares what a host shows with what is documented; `absent` may be missing.
fn check_contract(metrics: &str, absent: &[&str]) {
    let documented = documented();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (name, found, _) = row(line);
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|family| types.contains_key(*family))
                .unwrap_or(&name)
                .to_owned();
            let own = found
                .into_keys()
                .filter(|label| label != "le" && label != "quantile");
            labels.entry(family).or_default().extend(own);
        }
    }
    for (name, (kind, names)) in &documented {
        let Some(found) = types.get(name) else {
            assert!(
                absent.contains(&name.as_str()),
                "{name} is documented and not shown"
            );
            continue;
        };
        assert_eq!(found, kind, "{name}");
        assert_eq!(labels.get(name), Some(names), "{name}");
    }
    for name in types.keys() {
        assert!(
            documented.contains_key(name),
            "{name} is shown and not documented"
        );
    }
}

/// Whether the first check of the whole database has ended: its series are there from then on.
fn has_checked_store(metrics: &str) -> bool {
    series_value(metrics, "ark_store_check_runs_total").is_some_and(|runs| runs >= 1.0)
}

/// A configuration with everything there is to be shown: a Redis, a webhook, an endpoint for traces, and a watchdog that soon re-hashes.
fn configure_everything(dir: &std::path::Path, endpoint: &str, redis_port: u16) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = dir.join("webhook-secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a file");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o400)).expect("a mode");
    let secret = text(&secret);
    format!(
        "[telemetry]\notlp_endpoint = \"{endpoint}\"\n[watchdog]\ngraveyard_ms = 100\nredis_ms = 100\n\
         redis_queue = \"work\"\n[redis]\nurl = \"redis://127.0.0.1:{redis_port}/0\"\n[[redis.signals]]\nstream = \"ticks\"\n\
         topic = \"other.tick\"\n[redis.events]\nstream = \"events\"\n\
         [[webhooks]]\nname = \"desk\"\nurl = \"https://localhost:9/\"\nsecret_file = \"{secret}\"\n"
    )
}

#[test]
fn a_host_shows_what_the_contract_documents_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let (guests, hostile) = (guests_dir(), hostile_guests_dir());
    let agents = dir.path().join("agents");
    for name in ["kyle", "joey", "kenny"] {
        ark_tests::copy_agent(&guests, name, &agents);
    }
    ark_tests::copy_agent(&hostile, "chaos", &agents);
    let redis = Redis::start();
    let _ = redis.run(&["RPUSH", "work", "a", "b"]);
    let (endpoint, _spans) = start_receiver();
    let config = dir.path().join("ark.toml");
    std::fs::write(
        &config,
        configure_everything(dir.path(), &endpoint, redis.port),
    )
    .expect("a configuration");
    let args = ["--agents", text(&agents), "--config", text(&config)];
    let host = Host::start(&dir.path().join("data"), &args);
    let mut client = Client::new(&host);
    let allowlist = read_policy("symbol-allowlist");
    for mode in ["enforce", "shadow"] {
        let settings = json!({"allowed": ["*"], "denied": [mode]});
        let more = json!({"settings": settings, "mode": mode});
        put(&mut client, "symbol-allowlist", &allowlist, &more);
    }
    assert_eq!(client.post("/v1/actions", &trade("BTC-USD", 0.01)).0, 200);
    let path = "/v1/state/kyle/plans";
    let json_type = [("Content-Type", "application/json")];
    let put = client.request("PUT", path, &json_type, br#"{"value": 1}"#);
    assert_eq!(put.expect("an answer").0, 200);
    post_tick(&mut client, 100.0);
    for _ in 0..5 {
        let body = json!({"topic": "chaos.go", "payload": "panic"});
        assert_eq!(client.post("/v1/signals", &body).0, 202);
    }
    let of_chaos = r#"agent="chaos",deployment="stable""#;
    let failed = format!("ark_agent_invocations_total{{{of_chaos},result=\"failure\"}}");
    let mut telemetry = Client::of_telemetry(&host);
    let metrics = wait_for("the quarantine and the Redis in the metrics", || {
        let metrics = telemetry.get_text("/metrics");
        let shown = metrics.contains("ark_agent_quarantines_total{")
            && series_value(&metrics, &failed) == Some(5.0)
            && metrics.contains("ark_slo_met{")
            && has_checked_store(&metrics)
            && series_value(&metrics, "ark_redis_queue_depth") == Some(2.0);
        shown.then_some(metrics)
    });
    // It needs more data than there can be by now; another test waits for it.
    check_contract(
        &metrics,
        &[
            "ark_slo_burn_rate",
            // No agent came near a quota.
            "ark_agent_quota_refusals_total",
            "ark_agent_quota_used_ratio",
            // `api/tls.rs` has a host with a certificate.
            "ark_tls_certificate_end_timestamp_seconds",
        ],
    );
    assert_eq!(series_value(&metrics, "ark_redis_up"), Some(1.0));
    let killed = format!("ark_agent_kills_total{{{of_chaos},reason=\"trap\"}}");
    assert_eq!(series_value(&metrics, &killed), Some(5.0));
    let cause =
        format!("ark_agent_quarantines_total{{{of_chaos},reason=\"consecutive_failures\"}}");
    assert_eq!(series_value(&metrics, &cause), Some(1.0));
    assert_eq!(
        series_value(&metrics, "ark_agent_quarantined{agent=\"chaos\"}"),
        Some(1.0)
    );
    assert_eq!(
        series_value(&metrics, "ark_agent_quarantined{agent=\"kyle\"}"),
        Some(0.0)
    );
    assert!(series_value(&metrics, "ark_state_write_duration_seconds_count") >= Some(1.0));

    // The same numbers as JSON, with quantiles; and the head of the audit log is the log's.
    let (status, document) = telemetry.get("/metrics/json");
    assert_eq!(status, 200);
    let families = document["metrics"].as_object().expect("families");
    let approved = families["ark_decisions_total"]["samples"]
        .as_array()
        .and_then(|rows| {
            rows.iter()
                .find(|row| row["labels"]["outcome"] == "approved")
        });
    assert!(approved.expect("a row")["value"].as_f64() >= Some(1.0));
    let p95 = &families["ark_decision_latency_seconds"]["samples"][0]["quantiles"]["0.95"];
    assert!(p95.as_f64() > Some(0.0), "{p95}");
    assert!(
        families["ark_decision_duration_seconds"]["samples"][0]["quantiles"]["0.5"].is_number()
    );
    let head = document["audit_head"]["sequence"].as_u64().expect("a head");
    assert!(head >= 7, "{head}");
    assert_eq!(
        document["audit_head"]["hash"].as_str().map(str::len),
        Some(64)
    );
    let (status, problem) = telemetry.get("/nothing");
    assert_eq!(status, 404);
    assert!(
        problem["detail"]
            .as_str()
            .expect("a detail")
            .contains("/metrics/json")
    );
}

#[test]
fn health_is_told_on_both_ports_and_with_reasons() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let (mut api, mut telemetry) = (Client::new(&host), Client::of_telemetry(&host));
    for client in [&mut api, &mut telemetry] {
        assert_eq!(client.get("/healthz").0, 200);
        let (status, body) = client.get("/readyz");
        assert_eq!((status, &body["ready"]), (200, &json!(true)), "{body}");
    }
    let halt = json!({"reason": "a drill", "by": "ana"});
    assert_eq!(api.post("/v1/halt", &halt).0, 200);
    for client in [&mut api, &mut telemetry] {
        assert_eq!(client.get("/healthz").0, 200);
        let (status, body) = client.get("/readyz");
        assert_eq!(status, 503);
        assert_eq!(body["problems"], json!(["everything is halted"]));
    }
    let metrics = telemetry.get_text("/metrics");
    assert_eq!(series_value(&metrics, "ark_halted"), Some(1.0));
    assert_eq!(series_value(&metrics, "ark_ready"), Some(0.0));
}

#[test]
fn a_page_in_a_browser_cannot_read_metrics_under_a_name_of_its_own() {
    let dir = TestDir::new("");
    let host = dir.start();
    let address = host.telemetry.as_deref().expect("a telemetry port");
    let ask = |line: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\n{line}Connection: close\r\n\r\n");
        let answer = send_raw_to(address, request.as_bytes());
        String::from_utf8(answer).expect("UTF-8")
    };
    for own in ["localhost", "127.0.0.1:9090", "[::1]:80"] {
        let answer = ask(&format!("Host: {own}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{own}: {answer}");
    }
    for foreign in ["evil.example:9090", "localhost.evil.example", "10.0.0.1"] {
        let answer = ask(&format!("Host: {foreign}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 421 "), "{foreign}: {answer}");
        assert!(
            answer.contains(foreign) && answer.contains("telemetry_listen"),
            "{answer}"
        );
    }
}

#[test]
fn telemetry_can_be_off_and_a_wrong_or_taken_address_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &["--telemetry-listen", "off"]);
    assert_eq!(host.telemetry, None);
    assert_eq!(
        Client::new(&host).post("/v1/actions", &trade("X", 0.01)).0,
        200
    );
    assert_eq!(host.terminate(), Some(0));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let refused = |args: &[&str]| Host::try_start(&data, args).err().expect("a refusal");
    let said = refused(&["--telemetry-listen", &address]);
    assert!(
        said.contains(&address) && said.contains("--telemetry-listen"),
        "{said}"
    );
    let said = refused(&["--telemetry-listen", "here"]);
    assert!(said.contains("here") && said.contains("off"), "{said}");
    let config = dir.path().join("ark.toml");
    for (toml, named) in [
        ("telemetry_listen = \"nowhere\"", "telemetry_listen"),
        (
            "[telemetry]\notlp_endpoint = \"nowhere\"",
            "telemetry.otlp_endpoint",
        ),
        ("[telemetry]\nlog_format = \"xml\"", "telemetry.log_format"),
    ] {
        std::fs::write(&config, toml).expect("a configuration");
        let mut args = vec!["--config", text(&config)];
        if toml.starts_with("[telemetry]") {
            args.extend(["--telemetry-listen", "127.0.0.1:0"]);
        } else {
            // The file alone.
            let output = ark_tests::run_ark(&[
                "serve",
                "--data-dir",
                text(&data),
                "--config",
                text(&config),
            ]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(named), "{said}");
            continue;
        }
        let said = refused(&args);
        assert!(said.contains(named), "{toml}: {said}");
    }
}

fn slo(document: &Value, name: &str) -> Value {
    let slos = document["slos"].as_array().expect("objectives");
    let found = slos.iter().find(|slo| slo["name"] == name);
    found.expect("the objective")["windows"][0].clone()
}

/// What a host does not show that has no Redis, no agents and no operator policies.
const NOT_OF_A_BARE_HOST: [&str; 42] = [
    // No certificate.
    "ark_tls_certificate_end_timestamp_seconds",
    // No webhook.
    "ark_webhook_age_seconds",
    "ark_webhook_attempts_total",
    "ark_webhook_dead_lettered_total",
    "ark_webhook_dead_letters",
    "ark_webhook_dead_letters_dropped_total",
    "ark_webhook_disabled",
    "ark_webhook_failing_seconds",
    "ark_webhook_waiting",
    // No Redis, no receiver of traces.
    "ark_redis_dead_letters",
    "ark_redis_entries_total",
    "ark_redis_events_age_seconds",
    "ark_redis_events_sent_total",
    "ark_redis_events_waiting",
    "ark_redis_latency_seconds",
    "ark_redis_queue_depth",
    "ark_redis_stream_depth",
    "ark_redis_stream_lag",
    "ark_redis_stream_pending",
    "ark_redis_stream_pending_age_seconds",
    "ark_redis_up",
    "ark_spans_total",
    // No agents, no state was written, no invocation ran.
    "ark_agent_busy_seconds_total",
    "ark_agent_decisions_total",
    "ark_agent_failures_total",
    "ark_agent_fuel_total",
    "ark_agent_health_score",
    "ark_agent_heartbeats_missed_total",
    "ark_agent_invocations_total",
    "ark_agent_kills_total",
    "ark_agent_memory_peak_bytes",
    "ark_agent_quarantined",
    "ark_agent_quarantines_total",
    "ark_agent_quota_refusals_total",
    "ark_agent_quota_used_ratio",
    "ark_agent_waiting_deliveries",
    "ark_invocation_duration_seconds",
    // No operator policies.
    "ark_policy_evaluation_seconds_total",
    "ark_policy_evaluations_total",
    "ark_policy_failures_total",
    "ark_policy_shadow_decisions_total",
    "ark_state_write_duration_seconds",
];

#[test]
fn objectives_say_when_they_cannot_tell_and_then_what_was_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, config) = (dir.path().join("data"), dir.path().join("ark.toml"));
    let pinned = dir.path().join("graveyard.wasm");
    let module = checkout_path("policies/graveyard.wasm");
    std::fs::copy(module, &pinned).expect("a copy of the Graveyard");
    let set_mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&pinned, std::fs::Permissions::from_mode(mode)).expect("a mode");
    };
    set_mode(0o444);
    std::fs::write(&config, "[watchdog]\ngraveyard_ms = 100\n").expect("a configuration");
    let args = ["--config", text(&config), "--graveyard", text(&pinned)];
    let host = Host::start(&data, &args);
    let (mut api, mut telemetry) = (Client::new(&host), Client::of_telemetry(&host));
    for number in 0..40 {
        let symbol = format!("S{number}");
        assert_eq!(api.post("/v1/actions", &trade(&symbol, 0.001)).0, 200);
    }
    // A request that is the client's failure is no failure of the host.
    assert_eq!(api.post("/v1/actions", &json!({"agent": "api"})).0, 400);
    let (status, document) = telemetry.get("/slos");
    assert_eq!(status, 200);
    for name in ["availability", "decision_latency_p95", "hrm_evaluation_p95"] {
        let window = slo(&document, name);
        assert_eq!(window["status"], "not_enough_data", "{window}");
        assert!(
            window["value"].is_null() && window["met"].is_null(),
            "{window}"
        );
        assert!(window["events"].as_u64() >= Some(40), "{window}");
    }
    // The first look at the pin may still be to come.
    let drift = wait_for("a look at the pin", || {
        let drift = slo(&telemetry.get("/slos").1, "ethics_drift");
        (drift["status"] != "not_enough_data").then_some(drift)
    });
    assert_eq!(
        (&drift["status"], &drift["value"]),
        (&json!("met"), &json!(0.0)),
        "{drift}"
    );
    // A tenth of five minutes later the short window can tell, the long one still cannot.
    let document = wait_for("enough data", || {
        std::thread::sleep(Duration::from_secs(1));
        let (_, document) = telemetry.get("/slos");
        (slo(&document, "availability")["status"] != "not_enough_data").then_some(document)
    });
    let availability = slo(&document, "availability");
    assert_eq!(availability["status"], "met", "{availability}");
    assert_eq!(availability["value"], 1.0);
    assert_eq!(availability["error_budget_left"], 1.0);
    let evaluation = slo(&document, "hrm_evaluation_p95");
    assert!(evaluation["value"].as_f64() > Some(0.0), "{evaluation}");
    for slo in document["slos"].as_array().expect("objectives") {
        if slo["name"] != "ethics_drift" {
            assert_eq!(slo["windows"][1]["status"], "not_enough_data", "{slo}");
        }
    }
    check_contract(&telemetry.get_text("/metrics"), &NOT_OF_A_BARE_HOST);
    // The drift is measured: a module that can be written to no longer matches its pin.
    set_mode(0o644);
    let drift = wait_for("the drift", || {
        let drift = slo(&telemetry.get("/slos").1, "ethics_drift");
        (drift["status"] == "breached").then_some(drift)
    });
    assert!(drift["value"].as_f64() >= Some(1.0), "{drift}");
    assert_eq!(drift["error_budget_left"], 0.0);
    // After a restart nothing is carried over and nothing is guessed.
    set_mode(0o444);
    assert_eq!(host.terminate(), Some(0));
    let host = Host::start_halted(&data, &args);
    let window = slo(&Client::of_telemetry(&host).get("/slos").1, "availability");
    assert_eq!(window["status"], "not_enough_data", "{window}");
    assert_eq!(window["events"], 0);
}

#[test]
fn a_thousand_agents_are_scraped_soon_and_bounded() {
    let _turn = take_turn();
    const AGENTS: u32 = 1000;
    // Every delivery is to be done: no deadline may end one on a busy machine.
    let dir = TestDir::new(ark_tests::PATIENT);
    let agents = dir.path().join("agents");
    for number in 0..AGENTS {
        let topic = format!("copies.{}", number % 10);
        let _ = copy_numbered(&hostile_guests_dir(), "misfit", number, &topic, &agents);
    }
    let host = Host::start(
        &dir.data(),
        &["--agents", text(&agents), "--config", text(&dir.config())],
    );
    let (mut api, mut telemetry) = (Client::new(&host), Client::of_telemetry(&host));
    let series = |metrics: &str| {
        metrics
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    // Each of them handles signals; traces, payloads and topics make no series of their own.
    let mut counts = Vec::new();
    for round in 0..3 {
        for topic in 0..10 {
            let body = json!({"topic": format!("copies.{topic}"), "payload": 99 - round});
            let (status, answer) = api.post("/v1/signals", &body);
            assert_eq!(status, 202, "{answer}");
        }
        let expected = f64::from(AGENTS) * f64::from(round + 1);
        let metrics = wait_for("all deliveries", || {
            let metrics = telemetry.get_text("/metrics");
            let done = series_value(&metrics, "ark_deliveries_total{result=\"done\"}");
            (done == Some(expected) && has_checked_store(&metrics)).then_some(metrics)
        });
        assert_eq!(
            series_value(&metrics, "ark_agents_loaded"),
            Some(f64::from(AGENTS))
        );
        assert!(
            !metrics.contains("otel_metric_overflow"),
            "a row was folded away"
        );
        counts.push(series(&metrics));
    }
    assert_eq!(counts[1], counts[2], "series grew with work: {counts:?}");
    let most = 20 * AGENTS as usize + 1000;
    assert!(counts[2] < most, "{} series, {most} at most", counts[2]);
    // The best of some: what is measured is the host, not the machine's other work. It takes some 20 ms; the bound is for a build without
    // optimisation on a busy machine.
    let fastest = (0..20)
        .map(|_| {
            let started = Instant::now();
            let _ = telemetry.get_text("/metrics");
            started.elapsed()
        })
        .min()
        .expect("a scrape");
    println!("{} series, fastest scrape {fastest:?}", counts[2]);
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}
