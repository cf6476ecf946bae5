//! A real Prometheus (Debian package `prometheus`) scrapes a real host: what it counts is what the audit log holds, its quantiles are what a
//! client measures, and the alerts of `deploy/prometheus` fire for what they are for and for nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ark_tests::artefacts::checkout_path;
use ark_tests::ports::free_port;
use ark_tests::programs::find_program;
use ark_tests::{Client, Host, copy_agent, guests_dir, take_turn, trade, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::docs::pages::read_tested_blocks;

fn deploy_dir() -> PathBuf {
    checkout_path("deploy")
}

/// A Prometheus in a directory of its own, on a free port. It is killed when it is dropped.
struct ScrapingPrometheus {
    child: Child,
    address: String,
    dir: tempfile::TempDir,
}

impl Drop for ScrapingPrometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rules of `deploy/prometheus`, with windows that a test can wait for: the same expressions over seconds instead of minutes and days.
fn shorten_times(rules: &str) -> String {
    let mut text = rules.to_owned();
    for (window, short) in [
        ("[2m]", "[10s]"),
        ("[5m]", "[10s]"),
        ("[30m]", "[15s]"),
        ("[1h]", "[20s]"),
        ("[6h]", "[25s]"),
        ("[3d]", "[30s]"),
    ] {
        text = text.replace(window, short);
    }
    let lines = text.lines().map(|line| {
        let name = line.trim_start();
        let indent = &line[..line.len() - name.len()];
        if name.starts_with("for: ") {
            format!("{indent}for: 0s")
        } else if name.starts_with("interval: ") {
            format!("{indent}interval: 1s")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl ScrapingPrometheus {
    fn start(host: &Host) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let rules = dir.path().join("rules");
        std::fs::create_dir(&rules).expect("a directory");
        for name in ["recording.yml", "alerts.yml", "burn-rates.yml"] {
            let text = std::fs::read_to_string(deploy_dir().join("prometheus/rules").join(name));
            std::fs::write(rules.join(name), shorten_times(&text.expect("rules"))).expect("rules");
        }
        let target = host.telemetry.as_deref().expect("telemetry is on");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules/*.yml]\n\
             scrape_configs:\n  - job_name: ark\n    static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("a configuration");
        let address = format!("127.0.0.1:{}", free_port());
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let child = find_program("prometheus", "prometheus")
            .current_dir(dir.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        let prometheus = Self {
            child,
            address,
            dir,
        };
        wait_until("Prometheus", || {
            let ready = prometheus.ask_server("/-/ready").is_some();
            let log = std::fs::read_to_string(prometheus.dir.path().join("log"));
            assert!(
                !log.as_deref().unwrap_or("").contains("level=error"),
                "{log:?}"
            );
            ready
        });
        prometheus
    }

    fn ask_server(&self, path: &str) -> Option<String> {
        let answer = ureq::get(format!("http://{}{path}", self.address)).call();
        answer.ok()?.body_mut().read_to_string().ok()
    }

    /// An instant query: labels and value of each row.
    fn query_samples(&self, expression: &str) -> Vec<(Value, f64)> {
        let mut answer = ureq::get(format!("http://{}/api/v1/query", self.address))
            .query("query", expression)
            .call()
            .unwrap_or_else(|error| panic!("{expression}: {error}"));
        let text = answer.body_mut().read_to_string().expect("an answer");
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let rows = body["data"]["result"].as_array().expect("rows");
        rows.iter()
            .map(|row| {
                let value = row["value"][1]
                    .as_str()
                    .and_then(|value| value.parse().ok());
                (row["metric"].clone(), value.expect("a number"))
            })
            .collect()
    }

    fn query_value(&self, expression: &str) -> Option<f64> {
        self.query_samples(expression)
            .first()
            .map(|(_, value)| *value)
    }

    /// The alerts that fire. What the machine's own disk has to do with is not the test's.
    fn list_firing(&self) -> BTreeSet<String> {
        self.query_samples("ALERTS{alertstate=\"firing\"}")
            .into_iter()
            .filter_map(|(labels, _)| labels["alertname"].as_str().map(str::to_owned))
            .filter(|name| !name.starts_with("ArkDiskSpace"))
            .collect()
    }
}

/// The page with the commands that check the rules, and this source, which it names.
const PAGE: &str = "docs/metrics.md";
const TEST: &str = "telemetry/prometheus.rs";

#[test]
fn the_rules_are_valid_and_each_alert_fires_where_it_must_and_not_where_it_must_not() {
    // That there is one is said here, else a shell would say it.
    let _ = find_program("promtool", "prometheus");
    for block in read_tested_blocks(PAGE, TEST) {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block.commands])
            .current_dir(checkout_path(""))
            .output()
            .expect("bash runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{}: {said}", block.commands);
    }
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    let alerts = read(&deploy_dir().join("prometheus/rules/alerts.yml"));
    let cases: Vec<String> = std::fs::read_dir(deploy_dir().join("prometheus/tests"))
        .expect("the cases")
        .map(|entry| read(&entry.expect("an entry").path()))
        .collect();
    for alert in alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        let named = |case: &String| case.contains(&format!("alertname: {alert}"));
        assert!(cases.iter().any(named), "{alert} has no case");
    }
}

#[test]
fn the_example_of_alertmanager_is_valid() {
    let output = find_program("amtool", "prometheus-alertmanager")
        .arg("check-config")
        .arg(deploy_dir().join("alertmanager/alertmanager.yml"))
        .output()
        .expect("amtool runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

/// Every name that a dashboard or a rule asks for.
fn find_metrics(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| {
            ["ark_", "ark:", "process_"]
                .iter()
                .any(|start| word.starts_with(start))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboards_and_rules_ask_only_for_what_there_is() {
    let read = |path: &str| std::fs::read_to_string(deploy_dir().join(path)).expect(path);
    let contract = read("../docs/metrics-reference.md");
    let recording = read("prometheus/rules/recording.yml");
    let recorded: BTreeSet<&str> = recording
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .collect();
    let mut files = vec![
        recording.clone(),
        read("prometheus/rules/alerts.yml"),
        read("prometheus/rules/burn-rates.yml"),
    ];
    for name in ["overview", "agents", "policy", "state"] {
        let text = read(&format!("grafana/dashboards/{name}.json"));
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        assert!(panels.len() >= 10, "{name}");
        for panel in panels {
            for target in panel["targets"].as_array().expect("targets") {
                files.push(target["expr"].as_str().expect("an expression").to_owned());
            }
        }
    }
    for name in files.iter().flat_map(|text| find_metrics(text)) {
        let family = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        let known = recorded.contains(name.as_str())
            || contract.contains(&format!("| `{name}` |"))
            || contract.contains(&format!("| `{family}` | histogram |"));
        assert!(known, "{name} is asked for and nowhere made");
    }
}

/// Sends an action while a write lock on the host's database delays its commit: by `time`, counted from when it is sent. Returns how long
/// the answer took, in seconds.
fn send_delayed(host: &Host, data: &Path, time: Duration, body: &Value) -> f64 {
    let database = rusqlite::Connection::open(data.join("ark.db")).expect("the database");
    database.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let (sending, sent) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            // A connection that is idle for long is closed by the host.
            let mut client = Client::new(host);
            let started = Instant::now();
            sending.send(()).expect("a receiver");
            send_proposal(&mut client, body, "approved");
            started.elapsed().as_secs_f64()
        });
        sent.recv().expect("a sender");
        // Another process's lock is waited for shortly only, so the host is stopped while its writer waits for this one.
        let in_the_writer = time.min(Duration::from_millis(150));
        std::thread::sleep(in_the_writer);
        let host = i32::try_from(host.pid()).ok().and_then(Pid::from_raw);
        let host = host.expect("a process id");
        kill_process(host, Signal::STOP).expect("SIGSTOP");
        std::thread::sleep(time.saturating_sub(in_the_writer));
        database
            .execute_batch("ROLLBACK")
            .expect("the end of the lock");
        kill_process(host, Signal::CONT).expect("SIGCONT");
        sender.join().expect("an answer")
    })
}

fn sum_audit(data: &Path, what: &str) -> f64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(data.join("ark.db"), flags);
    let count: i64 = database
        .expect("the database")
        .query_row(&format!("SELECT count(*) FROM {what}"), [], |row| {
            row.get(0)
        })
        .expect("a count");
    count as f64
}

const BOUNDS: [f64; 22] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.12, 0.25, 0.4, 0.5, 1.0, 2.5, 5.0, 10.0,
];

fn find_bucket(seconds: f64) -> usize {
    BOUNDS.iter().take_while(|bound| **bound < seconds).count()
}

fn send_proposal(client: &mut Client, body: &Value, expected: &str) -> f64 {
    let started = Instant::now();
    let (status, answer) = client.post("/v1/actions", body);
    let took = started.elapsed().as_secs_f64();
    assert_eq!(
        (status, answer["outcome"].as_str()),
        (200, Some(expected)),
        "{answer}"
    );
    took
}

fn find_p95(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() * 95).div_ceil(100) - 1]
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn prometheus_counts_what_the_audit_log_holds_and_the_right_alerts_fire() {
    let _turn = take_turn();
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    // Agents that decide nothing by themselves: the mix is to be known.
    let agents = dir.path().join("agents");
    for name in ["kyle", "joey"] {
        copy_agent(&guests_dir(), name, &agents);
    }
    let host = Host::start(&data, &["--agents", agents.to_str().expect("UTF-8")]);
    let prometheus = ScrapingPrometheus::start(&host);
    let mut client = Client::new(&host);
    wait_until("the first scrape", || {
        prometheus.query_value("up{job=\"ark\"}") > Some(0.0)
    });

    // A known mix: 100 approved, 4 held, 3 denied for the leverage; signals, one of them three times.
    let mut samples = Vec::new();
    for number in 0..100 {
        let body = trade(&format!("S{number}"), 0.001);
        samples.push(send_proposal(&mut client, &body, "approved"));
    }
    for number in 0..4 {
        let body = trade(&format!("H{number}"), 0.09);
        samples.push(send_proposal(&mut client, &body, "held"));
    }
    for number in 0..3 {
        let mut body = trade(&format!("D{number}"), 0.001);
        body["parameters"]["leverage"] = json!(4.0);
        samples.push(send_proposal(&mut client, &body, "denied"));
    }
    for key in ["a", "b", "b", "b"] {
        let body = json!({"topic": "nobody.listens", "payload": 1, "idempotency_key": key});
        assert_eq!(client.post("/v1/signals", &body).0, 202);
    }
    let quiet_p95 = find_p95(samples);
    wait_until("all of it in Prometheus", || {
        prometheus.query_value("sum(ark_decisions_total)") == Some(107.0)
    });
    for outcome in ["approved", "held", "denied"] {
        let counted =
            prometheus.query_value(&format!("ark_decisions_total{{outcome=\"{outcome}\"}}"));
        let logged = sum_audit(
            &data,
            &format!("audit_log WHERE kind = 'decision' AND outcome = '{outcome}'"),
        );
        assert_eq!(counted, Some(logged), "{outcome}");
    }
    for (query, expected) in [
        ("ark_decisions_total{outcome=\"approved\"}", 100.0),
        ("ark_decisions_total{outcome=\"held\"}", 4.0),
        ("ark_rule_violations_total{rule=\"max_leverage\"}", 3.0),
        ("sum(ark_rule_violations_total)", 3.0),
        (
            "ark_rule_answers_total{rule=\"require_hrm_approval\", answer=\"hold\"} > 0",
            4.0 + 3.0,
        ),
        ("ark_signals_total{source=\"external\"}", 2.0),
        ("ark_signals_duplicate_total", 2.0),
        ("ark_decision_duration_seconds_count", 107.0),
        ("ark_hrm_evaluation_duration_seconds_count", 107.0),
        (
            "ark_decision_phase_duration_seconds_count{phase=\"commit\"}",
            107.0,
        ),
        (
            "ark_http_requests_total{call=\"actions\", status=\"2xx\"}",
            107.0,
        ),
    ] {
        wait_until(query, || prometheus.query_value(query) == Some(expected));
    }
    let rows = sum_audit(&data, "audit_log");
    wait_until("the audit log's rows", || {
        let head = prometheus.query_value("ark_audit_head_sequence");
        head == Some(rows) && prometheus.query_value("ark_audit_rows_total") == Some(rows)
    });
    // Prometheus' quantile is what the client measures, up to a bucket; less, where the client had to wait for a busy machine.
    let quantile =
        "histogram_quantile(0.95, ark_http_request_duration_seconds_bucket{call=\"actions\"})";
    let seen = prometheus.query_value(quantile).expect("a quantile");
    assert!(
        seen > 0.0 && find_bucket(seen) <= find_bucket(quiet_p95) + 1,
        "the client measured {quiet_p95} s, Prometheus says {seen} s"
    );
    let decided = prometheus
        .query_value("histogram_quantile(0.95, ark_decision_duration_seconds_bucket)")
        .expect("a quantile");
    assert!(
        find_bucket(decided) <= find_bucket(quiet_p95) + 1,
        "{decided} s of {quiet_p95} s"
    );

    // Three violations within ten seconds are more than ten a minute, so that alert has fired; once what was sent is out of the short
    // windows, nothing does.
    let spike =
        "count_over_time(ALERTS{alertname=\"ArkViolationSpike\", alertstate=\"firing\"}[2m])";
    wait_until("the alert on violations", || {
        prometheus.query_value(spike).is_some()
    });
    wait_until("quiet", || prometheus.list_firing().is_empty());

    // Latency: the disk's part of every decision takes half a second and more.
    let slow_from = Instant::now();
    let latency = ["ArkDecisionLatencyHigh", "ArkDecisionLatencyBurnFast"];
    let mut number = 0;
    let firing = wait_for("the alerts on latency", || {
        number += 1;
        let body = trade(&format!("L{number}"), 0.001);
        let took = send_delayed(&host, &data, Duration::from_millis(700), &body);
        assert!(took > 0.5, "the latency was not injected: {took} s");
        let firing = prometheus.list_firing();
        latency
            .iter()
            .all(|name| firing.contains(*name))
            .then_some(firing)
    });
    println!("latency fired after {:?}: {firing:?}", slow_from.elapsed());
    let of_latency = |name: &String| name.starts_with("ArkDecisionLatency");
    assert!(firing.iter().all(of_latency), "{firing:?}");
    let commit = prometheus
        .query_value("histogram_quantile(0.95, rate(ark_decision_phase_duration_seconds_bucket{phase=\"commit\"}[10s]))");
    assert!(
        commit > Some(0.4),
        "the phase that was slow is not the one that is shown: {commit:?}"
    );

    // A quarantine, of one agent.
    let order = json!({"reason": "a test", "by": "ana"});
    let mut client = Client::new(&host);
    assert_eq!(client.post("/v1/agents/kyle/quarantine", &order).0, 200);
    wait_until("the alert on the quarantine", || {
        prometheus.list_firing().contains("ArkAgentQuarantined")
    });
    let whom: Vec<Value> = prometheus
        .query_samples("ALERTS{alertname=\"ArkAgentQuarantined\", alertstate=\"firing\"}")
        .into_iter()
        .map(|(labels, _)| labels["agent"].clone())
        .collect();
    assert_eq!(whom, ["kyle"]);
    let mut client = Client::new(&host);
    assert_eq!(client.post("/v1/agents/kyle/restore", &order).0, 200);

    // Everything ends again.
    wait_until("quiet after the storm", || {
        prometheus.list_firing().is_empty()
    });
    let quarantines = "ark_agent_quarantines_total{agent=\"kyle\", reason=\"operator\"}";
    assert_eq!(prometheus.query_value(quarantines), Some(1.0));
}
