//! Traces and log lines of the real binary: whole, connected, with their ids and without secrets.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;

use ark_tests::requests::post_tick;
use ark_tests::telemetry::{series_value, start_receiver};
use ark_tests::{Client, Host, guests_dir, hex, hostile_guests_dir, trade, wait_for, wait_until};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

fn path_text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn one_trace_is_exported_as_one_tree_over_agents_hrm_and_commit() {
    let dir = tempfile::tempdir().expect("a directory");
    let (endpoint, out) = start_receiver();
    let config = dir.path().join("ark.toml");
    std::fs::write(
        &config,
        format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n"),
    )
    .expect("a configuration");
    let guests = guests_dir();
    // The collector of this machine is reached directly: nobody listens where these proxies are.
    let proxies =
        ["http_proxy", "HTTP_PROXY", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:9"));
    let host = Host::try_start_with(
        &dir.path().join("data"),
        &[
            "--agents",
            path_text(&guests),
            "--config",
            path_text(&config),
        ],
        &proxies,
    )
    .expect("it starts");
    let mut client = Client::new(&host);
    // Prices that move, so that kyle has something to say.
    let mut trace = String::new();
    for number in 0..30 {
        trace = post_tick(&mut client, 100.0 + f64::from(number) * f64::from(number));
    }
    let whole = wait_for("a whole trace", || {
        let (_, body) = client.get(&format!("/v1/traces/{trace}"));
        (body["complete"] == true && body["steps"].as_array().map_or(0, Vec::len) > 2)
            .then_some(body)
    });
    let of_kind = |kind: &str| {
        let steps = whole["steps"].as_array().expect("steps");
        steps.iter().filter(|step| step["step"] == kind).count()
    };
    let deliveries: usize = whole["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["deliveries"].as_array().map(Vec::len))
        .sum();
    let expected = of_kind("signal") + deliveries + 4 * of_kind("decision");
    let mut spans: Vec<Span> = Vec::new();
    wait_until("all spans", || {
        spans.extend(
            out.try_iter()
                .flatten()
                .filter(|span| hex(&span.trace_id) == trace),
        );
        spans.len() >= expected
    });
    assert_eq!(spans.len(), expected, "{:?}", list_names(&spans));
    let ids: HashMap<&[u8], &Span> = spans.iter().map(|span| (&span.span_id[..], span)).collect();
    assert_eq!(ids.len(), spans.len(), "two spans have one id");
    let roots: Vec<&Span> = spans
        .iter()
        .filter(|span| span.parent_span_id.is_empty())
        .collect();
    assert_eq!(roots.len(), 1, "{:?}", list_names(&spans));
    assert_eq!(roots[0].name, "ark.signal");
    for span in &spans {
        assert!(
            span.end_time_unix_nano >= span.start_time_unix_nano,
            "{span:?}"
        );
        if span.parent_span_id.is_empty() {
            continue;
        }
        let parent = ids.get(&span.parent_span_id[..]);
        let parent = parent.unwrap_or_else(|| panic!("{} hangs in the air", span.name));
        let expected = match span.name.as_str() {
            "ark.invocation" => "ark.signal",
            "ark.decision" => "ark.invocation",
            "ark.signal" | "ark.queue" | "ark.evaluate" | "ark.commit" => "ark.decision",
            other => panic!("an unknown span {other}"),
        };
        assert_eq!(parent.name, expected, "the parent of {}", span.name);
    }
    let metrics = Client::of_telemetry(&host).get_text("/metrics");
    assert!(series_value(&metrics, "ark_spans_total{result=\"exported\"}") >= Some(1.0));
    assert_eq!(
        series_value(&metrics, "ark_spans_total{result=\"dropped\"}"),
        Some(0.0)
    );
}

fn list_names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

#[test]
fn an_unreachable_endpoint_loses_spans_and_no_decision() {
    let dir = tempfile::tempdir().expect("a directory");
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let gone = gone.expect("an address");
    let config = dir.path().join("ark.toml");
    let toml = format!("[telemetry]\notlp_endpoint = \"http://{gone}/v1/traces\"\n");
    std::fs::write(&config, toml).expect("a configuration");
    let host = Host::start(&dir.path().join("data"), &["--config", path_text(&config)]);
    let mut client = Client::new(&host);
    for number in 0..20 {
        let (status, answer) = client.post("/v1/actions", &trade(&format!("S{number}"), 0.001));
        assert_eq!(status, 200, "{answer}");
    }
    let mut telemetry = Client::of_telemetry(&host);
    wait_until("failed spans", || {
        let metrics = telemetry.get_text("/metrics");
        series_value(&metrics, "ark_spans_total{result=\"failed\"}") > Some(0.0)
    });
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_trace_says_what_it_lacks() {
    let dir = tempfile::tempdir().expect("a directory");
    let agents = dir.path().join("agents");
    ark_tests::copy_agent(&guests_dir(), "kyle", &agents);
    let host = Host::start(&dir.path().join("data"), &["--agents", path_text(&agents)]);
    let mut client = Client::new(&host);
    let order = json!({"reason": "a test", "by": "ana"});
    assert_eq!(client.post("/v1/agents/kyle/quarantine", &order).0, 200);
    let trace = post_tick(&mut client, 100.0);
    let path = format!("/v1/traces/{trace}");
    let (status, body) = client.get(&path);
    assert_eq!((status, &body["complete"]), (200, &json!(false)), "{body}");
    assert_eq!(body["missing"][0]["stage"], "delivery");
    assert_eq!(body["missing"][0]["agent"], "kyle");
    assert_eq!(client.post("/v1/agents/kyle/restore", &order).0, 200);
    let body = wait_for("the whole trace", || {
        let (_, body) = client.get(&path);
        (body["complete"] == true).then_some(body)
    });
    assert_eq!(body["missing"], json!([]), "{body}");
    assert_eq!(body["expected_stages"][0]["present"], true, "{body}");
    assert!(
        body["total_ms"].is_u64() && body["ended_at_ms"].as_u64() >= body["started_at_ms"].as_u64()
    );
    // What is held lacks its approval.
    let (_, answer) = client.post("/v1/actions", &trade("ETH-USD", 0.09));
    assert_eq!(answer["outcome"], "held", "{answer}");
    let held = answer["trace_id"].as_str().expect("a trace").to_owned();
    let (_, body) = client.get(&format!("/v1/traces/{held}"));
    assert_eq!(
        (&body["complete"], &body["missing"][0]["stage"]),
        (&json!(false), &json!("approval")),
        "{body}"
    );
    let metrics = Client::of_telemetry(&host).get_text("/metrics");
    assert_eq!(series_value(&metrics, "ark_approvals_open"), Some(1.0));
    let id = answer["decision_id"].as_str().expect("a decision");
    let rejection = json!({"comment": "a test", "by": "ana"});
    let path = format!("/v1/approvals/{id}/reject");
    let (status, answer) = client.post(&path, &rejection);
    assert_eq!(status, 200, "{answer}");
    let (_, body) = client.get(&format!("/v1/traces/{held}"));
    assert_eq!(body["complete"], true, "{body}");
    let metrics = Client::of_telemetry(&host).get_text("/metrics");
    assert_eq!(series_value(&metrics, "ark_approvals_open"), Some(0.0));
    assert_eq!(
        series_value(&metrics, "ark_approvals_oldest_age_seconds"),
        Some(0.0)
    );
    // A proposal over HTTP is a trace of one decision.
    let (_, answer) = client.post("/v1/actions", &trade("BTC-USD", 0.01));
    let trace = answer["trace_id"].as_str().expect("a trace");
    let (_, body) = client.get(&format!("/v1/traces/{trace}"));
    assert_eq!(
        (&body["complete"], &body["total_ms"]),
        (&json!(true), &json!(0)),
        "{body}"
    );
}

#[test]
fn log_lines_are_json_with_their_trace_and_without_secrets() {
    let dir = tempfile::tempdir().expect("a directory");
    let agents = dir.path().join("agents");
    ark_tests::copy_agent(&hostile_guests_dir(), "chaos", &agents);
    let args = ["--agents", path_text(&agents)];
    let environment = [("ARK_LOG_FORMAT", "json"), ("ARK_LOG", "info")];
    let host = Host::try_start_with(&dir.path().join("data"), &args, &environment)
        .unwrap_or_else(|output| panic!("{output}"));
    let mut client = Client::new(&host);
    let body = json!({"topic": "chaos.go", "payload": "for bob@example.com password = hunter22"});
    let (_, answer) = client.post("/v1/signals", &body);
    let trace = answer["trace_id"].as_str().expect("a trace").to_owned();
    wait_until("the failure", || {
        let (_, body) = client.get(&format!("/v1/traces/{trace}"));
        body["complete"] == true
    });
    let log = host.terminate_for_log();
    assert!(
        !log.contains("bob@example.com") && !log.contains("hunter22"),
        "{log}"
    );
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let about: Vec<&Value> = lines
        .iter()
        .filter(|line| line["trace_id"] == trace.as_str())
        .collect();
    let failure = about
        .iter()
        .find(|line| line["message"] == "invocation failed");
    let failure = failure.unwrap_or_else(|| panic!("no line about the failure: {log}"));
    let reason = failure["reason"].as_str().expect("a reason");
    assert!(reason.contains("[personal:email]"), "{reason}");
    assert!(
        lines
            .iter()
            .all(|line| line["timestamp"].is_string() && line["level"].is_string())
    );
}
