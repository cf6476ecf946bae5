//! The monitoring of `deploy/compose.yaml`, started: a real Prometheus and a real Alertmanager with the arguments and the configuration of the file
//! watch a real host and a front, and what goes wrong reaches a receiver. Grafana is not in Debian, so its files are read: they name each other
//! rightly, and Prometheus takes every question of the dashboards.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ark_tests::artefacts::checkout_path;
use ark_tests::ports::free_port;
use ark_tests::{Client, Host, PATIENCE, TestDir, make_token, wait_until};
use serde_json::{Value, json};

use super::compose::{NeighbourProcess, read_command};
use crate::production::front::{token_file, wait_ready, write};

/// The addresses behind the names that the configuration has.
pub(super) struct Targets {
    pub(super) host: String,
    pub(super) front: String,
    pub(super) canary: String,
    /// Where Alertmanager's receivers are.
    pub(super) webhook: String,
}

/// A Prometheus and an Alertmanager. They are killed with the test.
pub(super) struct Monitoring {
    prometheus: String,
    alertmanager: String,
    _programs: [NeighbourProcess; 2],
    _dir: tempfile::TempDir,
}

/// Replaces each text, all of which must be there.
fn replace_all(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "there is no {from}: {text}");
        text.replace(from, to)
    })
}

/// Starts a program of Debian with the arguments of a service of Compose.
fn start_service(service: &str, changes: &[(&str, &str)], more: &[&str]) -> NeighbourProcess {
    let arguments = replace_all(&read_command(service).join("\n"), changes);
    let child = Command::new(match service {
        "alertmanager" => "prometheus-alertmanager",
        other => other,
    })
    .args(arguments.lines())
    .args(more)
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn();
    NeighbourProcess(child.unwrap_or_else(|error| panic!("{service} cannot be started: {error}")))
}

/// Writes a configuration of the project with other addresses.
fn copy_configuration(from: &str, to: &Path, changes: &[(&str, &str)]) {
    let text = fs::read_to_string(checkout_path(from)).expect("a configuration");
    fs::write(to, replace_all(&text, changes)).expect("a file");
}

/// Starts the Alertmanager of Compose at an address, with its files in a directory.
fn start_alertmanager(dir: &Path, address: &str, webhook: &str) -> NeighbourProcess {
    let at = |name: &str| dir.join(name).display().to_string();
    copy_configuration(
        "deploy/alertmanager/alertmanager.yml",
        &dir.join("alertmanager.yml"),
        &[("127.0.0.1:9099", webhook)],
    );
    start_service(
        "alertmanager",
        &[
            (
                "/etc/alertmanager/alertmanager.yml",
                &at("alertmanager.yml"),
            ),
            ("path=/alertmanager", &format!("path={}", at("alerts"))),
        ],
        // The container has these ports for itself.
        &[
            &format!("--web.listen-address={address}"),
            "--cluster.listen-address=",
        ],
    )
}

fn get_json(address: &str, path: &str) -> Option<Value> {
    let mut answer = ureq::get(format!("http://{address}{path}")).call().ok()?;
    let text = answer.body_mut().read_to_string().ok()?;
    Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

impl Monitoring {
    /// Starts both, and waits until they answer.
    pub(super) fn start(targets: &Targets) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let prometheus = format!("127.0.0.1:{}", free_port());
        let alertmanager = format!("127.0.0.1:{}", free_port());
        copy_configuration(
            "deploy/compose/prometheus.yml",
            &dir.path().join("prometheus.yml"),
            &[
                ("\"alertmanager:9093\"", &format!("\"{alertmanager}\"")),
                ("\"ark:9090\"", &format!("\"{}\"", targets.host)),
                ("\"front:9090\"", &format!("\"{}\"", targets.front)),
                ("\"front-canary:9090\"", &format!("\"{}\"", targets.canary)),
            ],
        );
        let rules = checkout_path("deploy/prometheus/rules");
        let rules = rules.canonicalize().expect("the rules");
        std::os::unix::fs::symlink(rules, at("rules")).expect("a link");
        let programs = [
            start_alertmanager(dir.path(), &alertmanager, &targets.webhook),
            start_service(
                "prometheus",
                &[
                    ("/etc/prometheus/prometheus.yml", &at("prometheus.yml")),
                    ("path=/prometheus", &format!("path={}", at("series"))),
                    ("0.0.0.0:9091", &prometheus),
                ],
                &[],
            ),
        ];
        let monitoring = Self {
            prometheus,
            alertmanager,
            _programs: programs,
            _dir: dir,
        };
        for address in [&monitoring.prometheus, &monitoring.alertmanager] {
            wait_until("the monitoring is ready", || {
                get_json(address, "/-/ready").is_some()
            });
        }
        monitoring
    }

    /// Waits until host and front are scraped, the rules are evaluated without an error, and the Alertmanager is found.
    pub(super) fn wait_scraped(&self) {
        wait_until("Prometheus scrapes the host and the front", || {
            let found = get_json(&self.prometheus, "/api/v1/targets").unwrap_or_default();
            let targets = found["data"]["activeTargets"].as_array().cloned();
            let up: BTreeSet<String> = targets
                .unwrap_or_default()
                .iter()
                .filter(|target| target["health"] == "up")
                .filter_map(|target| target["labels"]["job"].as_str().map(str::to_owned))
                .collect();
            up.contains("ark") && up.contains("ark-front")
        });
        wait_until("every rule is evaluated", || {
            let found = get_json(&self.prometheus, "/api/v1/rules").unwrap_or_default();
            let groups = found["data"]["groups"].as_array().cloned();
            let rules: Vec<Value> = groups
                .unwrap_or_default()
                .iter()
                .filter_map(|group| group["rules"].as_array().cloned())
                .flatten()
                .collect();
            for rule in &rules {
                assert_ne!(rule["health"], "err", "{rule:#}");
            }
            rules.len() >= 50 && rules.iter().all(|rule| rule["health"] == "ok")
        });
        let found = get_json(&self.prometheus, "/api/v1/alertmanagers").unwrap_or_default();
        let active = &found["data"]["activeAlertmanagers"];
        assert_eq!(
            active[0]["url"],
            format!("http://{}/api/v2/alerts", self.alertmanager),
            "{found:#}"
        );
    }

    /// The alerts that the Alertmanager has.
    fn list_alerts(&self) -> Vec<Value> {
        list_alerts(&self.alertmanager)
    }
}

/// The alerts that an Alertmanager has, with labels, receivers and whether they are inhibited.
fn list_alerts(alertmanager: &str) -> Vec<Value> {
    let found = get_json(alertmanager, "/api/v2/alerts").unwrap_or_default();
    found.as_array().cloned().unwrap_or_default()
}

/// Takes requests and passes on path and body of each.
fn receive_webhooks() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let mut text = Vec::new();
            let mut buffer = [0; 8192];
            // Head and body, of the length that the head says.
            let request = loop {
                let Ok(count) = stream.read(&mut buffer) else {
                    break None;
                };
                if count == 0 {
                    break None;
                }
                text.extend_from_slice(&buffer[..count]);
                let known = String::from_utf8_lossy(&text).into_owned();
                let Some((head, body)) = known.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head.lines().find_map(|line| {
                    let line = line.to_ascii_lowercase();
                    line.strip_prefix("content-length: ")?.parse().ok()
                });
                if length.is_some_and(|length: usize| body.len() >= length) {
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    break Some((path, serde_json::from_str(body).unwrap_or_default()));
                }
            };
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let Some(request) = request else { continue };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

/// What the panels and variables of a dashboard ask Prometheus.
fn list_queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets
        .flatten()
        .map(|target| target["expr"].as_str().expect("an expression").to_owned());
    expressions
        .map(|expression| {
            let changes = [
                ("$__rate_interval", "1m"),
                ("$__interval", "1m"),
                ("$__range", "1h"),
                ("$instance", ".+"),
                ("$agent", ".+"),
                ("$policy", ".+"),
            ];
            changes
                .iter()
                .fold(expression, |text, (from, to)| text.replace(from, to))
        })
        .collect()
}

fn read_dashboards() -> Vec<Value> {
    let files = fs::read_dir(checkout_path("deploy/grafana/dashboards")).expect("dashboards");
    files
        .map(|file| {
            let text = fs::read_to_string(file.expect("an entry").path()).expect("a file");
            serde_json::from_str(&text).expect("JSON")
        })
        .collect()
}

#[test]
fn the_monitoring_of_compose_sees_host_and_front_and_tells_of_a_halt() {
    let dir = TestDir::new("");
    let admin = make_token(&dir.data(), "root", "admin", &[]);
    let reader = make_token(&dir.data(), "front", "reader", &[]);
    let host = dir.start();
    let token = format!("--token-file={}", token_file(&dir, "token", &reader));
    let config = write(&dir, "front.toml", "");
    let front = Host::start_front(&format!("http://{}", host.address), &config, &[&token]);
    wait_ready(&front);
    let (webhook, received) = receive_webhooks();
    let telemetry = |host: &Host| host.telemetry.clone().expect("telemetry");
    let monitoring = Monitoring::start(&Targets {
        host: telemetry(&host),
        front: telemetry(&front),
        canary: "127.0.0.1:9".to_owned(),
        webhook,
    });
    monitoring.wait_scraped();

    // Every question of the dashboards is one that Prometheus answers.
    let mut asked = 0;
    for question in read_dashboards().iter().flat_map(list_queries) {
        let mut answer = ureq::get(format!("http://{}/api/v1/query", monitoring.prometheus))
            .query("query", &question)
            .call()
            .unwrap_or_else(|error| panic!("{question}: {error}"));
        let text = answer.body_mut().read_to_string().expect("an answer");
        assert!(
            text.contains("\"status\":\"success\""),
            "{question}: {text}"
        );
        asked += 1;
    }
    assert!(asked >= 60, "{asked} questions");

    // The team hears of a halt.
    let mut client = Client::with_token(&host, &admin);
    assert_eq!(client.post("/v1/halt", &json!({"reason": "a test"})).0, 200);
    wait_until("the Alertmanager has the alert", || {
        monitoring.list_alerts().iter().any(|alert| {
            alert["labels"]["alertname"] == "ArkHalted" && alert["receivers"][0]["name"] == "team"
        })
    });
    let told = std::iter::from_fn(|| received.recv_timeout(PATIENCE).ok()).find(|(path, body)| {
        let alerts = body["alerts"].as_array().cloned().unwrap_or_default();
        path == "/team"
            && alerts
                .iter()
                .any(|alert| alert["labels"]["alertname"] == "ArkHalted")
    });
    let (_, told) = told.expect("a notification");
    assert_eq!(told["receiver"], "team", "{told:#}");
    // The link begins with the base of the configuration, which is no label of the alert.
    let mut alerts = told["alerts"].as_array().expect("alerts").iter();
    let halted = alerts.find(|alert| alert["labels"]["alertname"] == "ArkHalted");
    let halted = halted.expect("the alert");
    assert_eq!(
        halted["annotations"]["runbook_url"], "https://docs.example.com/ark/runbook.html#arkhalted",
        "{told:#}"
    );
    assert_eq!(halted["labels"]["runbook_base"], Value::Null, "{told:#}");
}

#[test]
fn a_host_that_is_down_silences_its_own_alerts_and_no_other_hosts() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = format!("127.0.0.1:{}", free_port());
    let _alertmanager = start_alertmanager(dir.path(), &address, "127.0.0.1:9");
    wait_until("the Alertmanager is ready", || {
        get_json(&address, "/-/ready").is_some()
    });
    // Alerts of two hosts: what inhibits, on the first, and what is inhibited, on both.
    let rules = [
        ("ArkDown", "ArkAuditNotWritable"),
        ("ArkGraveyardDrift", "ArkHalted"),
    ];
    let alert = |name: &str, instance: &str| json!({"labels": {"alertname": name, "job": "ark", "instance": instance, "severity": "critical"}});
    let alerts: Vec<Value> = rules
        .iter()
        .flat_map(|(source, target)| {
            // Each pair has hosts of its own: the first rule would inhibit what the second is about.
            [
                alert(source, &format!("{source}-one:9090")),
                alert(target, &format!("{source}-one:9090")),
                alert(target, &format!("{source}-two:9090")),
            ]
        })
        .collect();
    let body = Value::from(alerts).to_string();
    ureq::post(format!("http://{address}/api/v2/alerts"))
        .header("content-type", "application/json")
        .send(body)
        .expect("the Alertmanager takes alerts");
    let state = |name: &str, instance: &str| {
        let alerts = list_alerts(&address);
        let mut alerts = alerts.iter();
        let found = alerts.find(|alert| {
            alert["labels"]["alertname"] == name && alert["labels"]["instance"] == instance
        });
        let found = found.map(|alert| alert["status"]["state"].clone());
        found.unwrap_or_default()
    };
    for (source, target) in rules {
        wait_until("the host's own alert is inhibited", || {
            state(target, &format!("{source}-one:9090")) == "suppressed"
        });
        for (name, host) in [(source, "one"), (target, "two")] {
            let instance = format!("{source}-{host}:9090");
            assert_eq!(state(name, &instance), "active", "{name} of {instance}");
        }
    }
}

/// The file or directory of `deploy` that a service of Compose mounts at a path.
fn mounted_at(path: &str) -> String {
    let text = fs::read_to_string(checkout_path("deploy/compose.yaml")).expect("the file");
    let end = format!(":{path}:ro");
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.trim().strip_prefix("- ./")?.strip_suffix(&end));
    let found = found.unwrap_or_else(|| panic!("nothing is mounted at {path}"));
    format!("deploy/{found}")
}

#[test]
fn the_grafana_of_compose_is_given_its_datasource_and_dashboards() {
    let read = |path: &str| fs::read_to_string(checkout_path(path)).expect("a file");
    // What Grafana reads is mounted where it looks, and the dashboards where the provider says.
    let providers = mounted_at("/etc/grafana/provisioning/dashboards");
    let provider = read(&format!("{providers}/ark.yml"));
    let path = provider
        .lines()
        .find_map(|line| line.trim().strip_prefix("path: "));
    let shown = checkout_path(&mounted_at(path.expect("a path")));
    assert_eq!(
        shown.canonicalize().expect("a directory"),
        checkout_path("deploy/grafana/dashboards")
            .canonicalize()
            .expect("a directory")
    );
    // The two sources differ in their address only, and that of Compose is where its Prometheus listens.
    let of_compose = read(&mounted_at(
        "/etc/grafana/provisioning/datasources/prometheus.yml",
    ));
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.trim().starts_with('#'));
        let lines = lines.filter(|line| !line.trim().starts_with("url:"));
        lines.map(str::to_owned).collect()
    };
    let own = read("deploy/grafana/provisioning/datasources/prometheus.yml");
    assert_eq!(settings(&own), settings(&of_compose));
    let address = of_compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("url: http://prometheus:"));
    let listens = format!(
        "--web.listen-address=0.0.0.0:{}",
        address.expect("an address")
    );
    assert!(read_command("prometheus").contains(&listens), "{listens}");
    // Each dashboard is one of its own and asks the source that the reader chooses among those of Prometheus.
    let dashboards = read_dashboards();
    let ids: BTreeSet<&str> = dashboards
        .iter()
        .map(|dashboard| dashboard["uid"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids.len(), dashboards.len());
    for dashboard in &dashboards {
        let variables = dashboard["templating"]["list"].as_array();
        let mut variables = variables.expect("variables").iter();
        assert!(
            variables.any(|it| it["name"] == "datasource" && it["query"] == "prometheus"),
            "{}",
            dashboard["uid"]
        );
        for panel in dashboard["panels"].as_array().expect("panels") {
            if panel["type"] != "row" {
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel:#}");
            }
        }
    }
    assert!(Path::new(&checkout_path(&providers)).is_dir());
}
