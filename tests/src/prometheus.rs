//! A real Prometheus (Debian package `prometheus`) on a free port of this machine.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::artefacts::checkout_path;
use crate::ports::free_port;
use crate::wait::wait_until;

/// A Prometheus in a directory of its own. It is killed when it is dropped.
pub struct Prometheus {
    child: Child,
    /// Its address, e.g. `http://127.0.0.1:9091`.
    pub url: String,
    _dir: tempfile::TempDir,
}

/// What a Prometheus is started with.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrometheusParts<'a> {
    /// The address that the job `ark` scrapes; `None`: there is no such job.
    pub target: Option<&'a str>,
    /// More addresses that the job `ark` scrapes, beside `target`.
    pub more_targets: &'a [String],
    /// The address that the job `ark-front` scrapes.
    pub front: Option<&'a str>,
    /// The address that the job `ark-front-canary` scrapes.
    pub canary: Option<&'a str>,
    /// Whether it has the rules of `deploy/prometheus`.
    pub rules: bool,
    /// A directory with other rules than those.
    pub other_rules: Option<&'a Path>,
    /// The address of an Alertmanager (which need not be there).
    pub alertmanager: Option<&'a str>,
    /// Rules that alerts go through before they are sent, as an array of YAML on one line.
    pub alert_relabeling: Option<&'a str>,
    /// The external label with which the links of alerts begin.
    pub runbook_base: Option<&'a str>,
    /// How often it scrapes, e.g. `1m`; `None`: every second.
    pub scrape_interval: Option<&'a str>,
    /// Whether it scrapes itself (job `prometheus`).
    pub scrapes_itself: bool,
}

impl Prometheus {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// There is no `prometheus`, or it does not answer.
    #[must_use]
    pub fn start(parts: PrometheusParts<'_>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let interval = parts.scrape_interval.unwrap_or("1s");
        let mut config =
            format!("global:\n  scrape_interval: {interval}\n  evaluation_interval: 5s\n");
        if let Some(base) = parts.runbook_base {
            let _ = writeln!(config, "  external_labels: {{runbook_base: \"{base}\"}}");
        }
        if parts.rules {
            let rules = checkout_path("deploy/prometheus/rules");
            let rules = rules.canonicalize().expect("the rules");
            let _ = writeln!(config, "rule_files: [\"{}/*.yml\"]", rules.display());
        }
        if let Some(rules) = parts.other_rules {
            let _ = writeln!(config, "rule_files: [\"{}/*.yml\"]", rules.display());
        }
        if let Some(alertmanager) = parts.alertmanager {
            let relabeling = parts.alert_relabeling.unwrap_or("[]");
            let _ = writeln!(
                config,
                "alerting:\n  alert_relabel_configs: {relabeling}\n  alertmanagers: [{{static_configs: [{{targets: [\"{alertmanager}\"]}}]}}]"
            );
        }
        if parts.target.is_some() || parts.scrapes_itself {
            config.push_str("scrape_configs:\n");
        }
        let address = format!("127.0.0.1:{}", free_port());
        if parts.scrapes_itself {
            let _ = writeln!(
                config,
                "  - job_name: prometheus\n    static_configs: [{{targets: [\"{address}\"]}}]"
            );
        }
        if let Some(target) = parts.target {
            let more = parts.more_targets.iter().map(String::as_str);
            let targets: Vec<&str> = std::iter::once(target).chain(more).collect();
            let _ = writeln!(
                config,
                "  - job_name: ark\n    static_configs: [{{targets: {targets:?}}}]"
            );
        }
        for (job, target) in [
            ("ark-front", parts.front),
            ("ark-front-canary", parts.canary),
        ] {
            let Some(target) = target else { continue };
            let _ = writeln!(
                config,
                "  - job_name: {job}\n    static_configs: [{{targets: [\"{target}\"]}}]"
            );
        }
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("a configuration");
        let child = spawn_prometheus(dir.path(), &address);
        let prometheus = Self {
            child,
            url: format!("http://{address}"),
            _dir: dir,
        };
        let ready = format!("{}/-/ready", prometheus.url);
        wait_until("Prometheus is ready", || get_text(&ready).is_some());
        let jobs = [
            ("ark", parts.target),
            ("ark-front", parts.front),
            ("ark-front-canary", parts.canary),
        ];
        for (job, _) in jobs.iter().filter(|(_, target)| target.is_some()) {
            let scraped = format!("{}/api/v1/query?query=up", prometheus.url);
            let job = format!("\"job\":\"{job}\"");
            wait_until("Prometheus has scraped", || {
                get_text(&scraped).is_some_and(|answer| answer.contains(&job))
            });
        }
        prometheus
    }

    /// The text of a page of its own, e.g. `/metrics`; `None`: it does not answer with one.
    #[must_use]
    pub fn read_page(&self, path: &str) -> Option<String> {
        get_text(&format!("{}{path}", self.url))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn_prometheus(dir: &Path, address: &str) -> Child {
    Command::new("prometheus")
        .current_dir(dir)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus; install it with `apt-get install prometheus`")
}

fn get_text(url: &str) -> Option<String> {
    let address = url.strip_prefix("http://")?;
    let (address, path) = address.split_once('/')?;
    let mut client = crate::client::Client::at(address);
    let (status, _, body) = client.request("GET", &format!("/{path}"), &[], b"").ok()?;
    (status == 200).then(|| String::from_utf8_lossy(&body).into_owned())
}
