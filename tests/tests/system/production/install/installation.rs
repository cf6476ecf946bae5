//! What operators install: the unit of systemd, the files of Compose and Kubernetes, and `ark health`, by which containers are probed.
//!
//! No container engine and no cluster is there, so what is shown is: the files have the form of their schemas, name only files and variables that
//! there are, and what they start with Debian's programs starts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ark_tests::artefacts::{checkout_path, read_checkout_file};
use ark_tests::ports::free_port;
use ark_tests::programs::find_program;
use ark_tests::{Client, TestDir, ark_program, run_ark, wait_until};
use serde_json::{Value, json};

use super::manifests::read_probe;
use super::validators::find_validator;

pub(super) fn read_output(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Has the host read variables of the environment and nothing else. Unknown ones and values of the wrong form are refused.
fn assert_host_takes<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let output = Command::new(ark_program())
        .args(["config", "show"])
        .env_clear()
        .envs(variables)
        .current_dir(std::env::temp_dir())
        .output()
        .expect("ark starts");
    assert!(output.status.success(), "{}", read_output(&output));
}

#[test]
fn the_unit_is_hardened_and_names_what_there_is() {
    let unit = read_checkout_file("deploy/systemd/ark.service");
    // Exposure in tenths: 2.0 is what is promised.
    for unit in ["ark.service", "ark-snapshot.service", "ark-check.service"] {
        let rated = find_program("systemd-analyze", "systemd")
            .args(["security", "--offline=true", "--threshold=20"])
            .arg(checkout_path("deploy/systemd").join(unit))
            .output()
            .expect("systemd-analyze starts");
        assert!(rated.status.success(), "{}", read_output(&rated));
        assert!(
            read_output(&rated).contains("exposure level"),
            "{}",
            read_output(&rated)
        );
    }
    let values = |key: &str| -> Vec<String> {
        let start = format!("{key}=");
        let lines = unit.lines().filter_map(|line| line.strip_prefix(&start));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        values("ExecReload"),
        ["/bin/sh -c \"kill -HUP ${MAINPID}\""]
    );
    assert_eq!(values("Type"), ["notify"]);
    // The socket unit has the ports that a host has by itself, in the order in which it takes them.
    let socket = read_checkout_file("deploy/systemd/ark.socket");
    let ports: Vec<&str> = socket
        .lines()
        .filter_map(|line| line.strip_prefix("ListenStream="))
        .collect();
    let shown_defaults = run_ark(&["config", "docs"]);
    let defaults = read_output(&shown_defaults);
    assert_eq!(ports.len(), 2);
    assert!(
        ports.iter().all(|port| defaults.contains(port)),
        "{ports:?}"
    );
    assert_eq!(values("ExecStart"), ["/usr/bin/ark serve"]);
    let environment = values("Environment").join(" ");
    let variables: Vec<(&str, &str)> = environment
        .split(' ')
        .map(|one| one.split_once('=').expect("NAME=value"))
        .collect();
    assert_host_takes(variables.iter().copied());
    // Each credential that a variable names is loaded.
    let loaded: BTreeSet<String> = values("LoadCredential")
        .iter()
        .map(|one| format!("%d/{}", one.split(':').next().expect("a name")))
        .collect();
    let named: BTreeSet<String> = variables
        .iter()
        .map(|(_, value)| (*value).to_owned())
        .filter(|value| value.starts_with("%d/"))
        .collect();
    assert_eq!(loaded, named);
    let user = values("User");
    assert!(read_checkout_file("deploy/systemd/ark.sysusers").contains(&format!("u {} ", user[0])));
}

/// The files below a directory whose names end so.
pub(super) fn list_sources(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(list_sources(&path, end));
        } else if path.extension().is_some_and(|it| it == end) {
            found.push(path);
        }
    }
    found
}

#[test]
fn what_tests_say_to_install_is_installed_by_ci() {
    // Of every Debian.
    const ESSENTIAL: [&str; 1] = ["dpkg"];
    let ci = read_checkout_file(".ci/run");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let installed: BTreeSet<&str> = ci.split(|c| !is_part(c)).collect();
    let mut named = BTreeSet::new();
    for path in [
        checkout_path("tests/src"),
        checkout_path("tests/tests/system"),
    ]
    .iter()
    .flat_map(|dir| list_sources(dir, "rs"))
    {
        let text = fs::read_to_string(path).expect("a source");
        let told = text.split("apt-get install ").skip(1);
        let asked = text.split("find_program(").skip(1);
        let asked = asked.filter_map(|rest| rest.split(')').next()?.rsplit('"').nth(1));
        for name in told.chain(asked) {
            let name = name.split(|c| !is_part(c)).next().expect("a name");
            named.insert(name.to_owned());
        }
    }
    named.remove("");
    assert!(named.len() >= 6, "{named:?}");
    for name in named {
        assert!(
            installed.contains(name.as_str()) || ESSENTIAL.contains(&name.as_str()),
            ".ci/run does not install {name}"
        );
    }
}

#[test]
fn a_credential_of_systemd_is_a_key_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("secret.key");
    fs::write(
        &key,
        "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    )
    .expect("a file");
    let check = |credentials: &Path| -> Value {
        let output = Command::new(ark_program())
            .args(["config", "check", "--json"])
            .env("ARK_SECRET_KEY_FILE", &key)
            .env("CREDENTIALS_DIRECTORY", credentials)
            .current_dir(dir.path())
            .output()
            .expect("ark starts");
        let lines: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", read_output(&output)));
        let mut lines = lines.as_array().expect("lines").iter();
        let line = lines.find(|line| line["check"] == "secret-key");
        line.expect("a line for the key")["status"].clone()
    };
    // An access list for the service's user shows as a right of the group.
    for (mode, of_systemd, elsewhere) in [
        (0o400, "ok", "ok"),
        (0o440, "ok", "error"),
        (0o444, "error", "error"),
        (0o640, "error", "error"),
    ] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("its mode");
        assert_eq!(check(dir.path()), of_systemd, "{mode:o}");
        assert_eq!(
            check(Path::new("/run/credentials/other")),
            elsewhere,
            "{mode:o}"
        );
    }
}

/// What stands behind the first `: ` of each line that names a variable of the host.
pub(super) fn variables_of_compose(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("ARK_"))
        .collect()
}

#[test]
fn the_compose_file_has_its_form_and_names_what_there_is() {
    let checked = find_validator("check-jsonschema")
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(checkout_path("deploy/compose.yaml"))
        .output()
        .expect("check-jsonschema starts");
    assert!(checked.status.success(), "{}", read_output(&checked));
    let text = read_checkout_file("deploy/compose.yaml");
    let mounted: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next())
        .collect();
    assert!(mounted.len() >= 8, "{mounted:?}");
    for path in mounted.iter().copied().chain(["../Dockerfile.arch"]) {
        let path = checkout_path("deploy").join(path);
        assert!(path.exists(), "{} is not there", path.display());
    }
    let variables = variables_of_compose(&text);
    assert!(variables.len() >= 6, "{variables:?}");
    assert_host_takes(variables);
    // Each service is held as narrowly as the others.
    let alone = text.matches("    <<: *hardened\n").count();
    let services = alone + text.matches("    <<: [*hardened, *front]\n").count();
    assert!(services >= 8, "{services} services");
    for limit in ["mem_limit:", "pids_limit:", "cpus:", "user:", "image:"] {
        assert_eq!(
            text.matches(&format!("    {limit}")).count(),
            services,
            "{limit}"
        );
    }
}

/// The files that Compose mounts as secrets, from the root of the project.
pub(super) fn secrets_of_compose() -> Vec<String> {
    let text = read_checkout_file("deploy/compose.yaml");
    let (_, secrets) = text.split_once("\nsecrets:\n").expect("secrets");
    let (secrets, _) = secrets.split_once("\n\n").expect("their end");
    let lines = secrets.lines().filter(|line| !line.trim().starts_with('#'));
    lines
        .map(|line| {
            let (_, file) = line
                .split_once("{file: \"${ARK_SECRETS:-./")
                .unwrap_or_else(|| panic!("{line}: no file below the directory of secrets"));
            let file = file.strip_suffix("\"}").expect("the end of a file");
            format!("deploy/{}", file.replacen('}', "", 1))
        })
        .collect()
}

#[test]
fn secrets_of_compose_are_ignored_by_git_and_made_by_the_guide() {
    let secrets = secrets_of_compose();
    assert!(secrets.len() >= 9, "{secrets:?}");
    let guide = read_checkout_file("docs/installation.md");
    let (_, guide) = guide.split_once("### Compose").expect("the guide");
    let (guide, _) = guide.split_once("### Kubernetes").expect("its end");
    // What the guide makes besides, on the way to the others.
    let beside = ["host-ca.key", "host.csr", "host.ext"];
    let beside = beside.map(|name| format!("deploy/compose/secrets/{name}"));
    for path in secrets.iter().chain(&beside) {
        let name = path.rsplit('/').next().expect("a name");
        assert!(guide.contains(name), "the guide does not make {path}");
        let ignored = Command::new("git")
            .args(["check-ignore", "--quiet", "--no-index", path])
            .current_dir(checkout_path(""))
            .status()
            .expect("git starts");
        assert!(ignored.success(), "git would take {path}");
    }
    // No file of the project is in their directory.
    let listed = Command::new("git")
        .args(["ls-files", "--", "deploy/compose/secrets"])
        .current_dir(checkout_path(""))
        .output()
        .expect("git starts");
    assert!(listed.status.success() && listed.stdout.is_empty());
    // What the guide's commands write is in that directory: they go there, or name it.
    let (_, commands) = guide.split_once("```sh").expect("commands");
    let (commands, _) = commands.split_once("```").expect("their end");
    let mut is_there = false;
    for line in commands.lines() {
        is_there |= line.ends_with("cd secrets");
        is_there &= !line.starts_with("cd ../");
        let written = line.split(" > ").nth(1);
        let written = written.and_then(|rest| rest.split(' ').next());
        assert!(
            is_there || written.is_none_or(|it| it.starts_with("deploy/compose/secrets/")),
            "{line}"
        );
    }
}

#[test]
fn the_prometheus_of_compose_has_its_rules() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::copy(
        checkout_path("deploy/compose/prometheus.yml"),
        at("prometheus.yml"),
    )
    .expect("a file");
    std::os::unix::fs::symlink(checkout_path("deploy/prometheus/rules"), at("rules"))
        .expect("a link");
    let checked = find_program("promtool", "prometheus")
        .args(["check", "config"])
        .arg(at("prometheus.yml"))
        .output()
        .expect("promtool starts");
    assert!(
        checked.status.success() && read_output(&checked).contains("3 rule files found"),
        "{}",
        read_output(&checked)
    );
    // The two differ in the addresses of their neighbours only.
    let own = read_checkout_file("deploy/prometheus/prometheus.yml");
    let of_compose = read_checkout_file("deploy/compose/prometheus.yml");
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.trim().starts_with('#'));
        let lines = lines.filter(|line| !line.contains("targets:"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(settings(&own), settings(&of_compose));
}

#[test]
fn the_redis_of_compose_keeps_its_data_and_asks_for_its_password() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let port = free_port();
    // The container's address and directory become those of the test.
    let script = read_checkout_file("deploy/compose/start-redis.sh")
        .replace("bind 0.0.0.0", &format!("bind 127.0.0.1\nport {port}"))
        .replace("dir /data", &format!("dir {}", dir.path().display()));
    fs::write(at("start.sh"), script).expect("a file");
    fs::write(at("password"), "correct-horse\n").expect("a file");
    let mut redis = Command::new("sh")
        .arg(at("start.sh"))
        .env("REDIS_PASSWORD_FILE", at("password"))
        .stdout(Stdio::null())
        .spawn()
        .expect("the Redis starts");
    let ask = |password: &str, command: &[&str]| -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &port.to_string()])
            .args(command)
            .env("REDISCLI_AUTH", password)
            .output()
            .expect("redis-cli starts");
        read_output(&output)
    };
    wait_until("the Redis answers", || {
        ask("correct-horse", &["PING"]).contains("PONG")
    });
    assert!(ask("wrong", &["PING"]).contains("NOAUTH"));
    // The probe of the file says so too, and not with another password.
    let (kind, probe) = read_probe("redis");
    assert_eq!((kind.as_str(), probe.len()), ("CMD-SHELL", 1));
    fs::write(at("other"), "wrong\n").expect("a file");
    for (password, is_healthy) in [("password", true), ("other", false)] {
        let path = at(password).display().to_string();
        let script = probe[0]
            .replace("/run/secrets/redis_server_password", &path)
            .replace("redis-cli ", &format!("redis-cli -p {port} "));
        assert!(script.contains(&path), "{script}");
        let probed = Command::new("sh").args(["-c", &script]).output();
        let status = probed.expect("sh starts").status;
        assert_eq!(status.success(), is_healthy, "{script}");
    }
    for (setting, value) in [("appendonly", "yes"), ("maxmemory-policy", "noeviction")] {
        let answer = ask("correct-horse", &["CONFIG", "GET", setting]);
        assert!(answer.contains(value), "{setting}: {answer}");
    }
    // The password is in no list of processes.
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", redis.id())).expect("Linux");
    assert!(!arguments.contains("correct-horse"), "{arguments}");
    let _ = ask("correct-horse", &["SHUTDOWN", "NOSAVE"]);
    redis.wait().expect("its end");
}

#[test]
fn the_kubernetes_manifests_have_their_form_and_are_all_used() {
    let root = checkout_path("deploy/kubernetes");
    let (lists, resources): (Vec<PathBuf>, Vec<PathBuf>) = list_sources(&root, "yaml")
        .into_iter()
        .partition(|path| path.ends_with("kustomization.yaml"));
    let checked = find_validator("kubernetes-validate")
        .arg("--strict")
        .args(&resources)
        .output()
        .expect("kubernetes-validate starts");
    let said = read_output(&checked);
    assert!(checked.status.success() && !said.contains("WARN"), "{said}");
    assert!(said.matches("passed for resource").count() >= 8, "{said}");
    // What the lists name is there, and what is there is named.
    let mut used = BTreeSet::new();
    for list in &lists {
        let dir = list.parent().expect("a directory");
        let text = fs::read_to_string(list).expect("a file");
        for name in text.lines().filter_map(|line| line.strip_prefix("  - ")) {
            if name.starts_with("name: ") {
                continue;
            }
            let path = dir.join(name);
            let is_base = path.join("kustomization.yaml").is_file();
            assert!(is_base || path.is_file(), "{}", path.display());
            used.insert(path);
        }
    }
    for resource in &resources {
        assert!(
            used.contains(resource),
            "{} is in no list",
            resource.display()
        );
    }
    let host = read_checkout_file("deploy/kubernetes/statefulset.yaml");
    let variables: Vec<(&str, &str)> = host
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- {name: ARK_")?.strip_suffix('}'))
        .filter_map(|line| line.split_once(", value: "))
        .collect();
    assert!(variables.len() >= 5, "{variables:?}");
    let names: Vec<String> = variables
        .iter()
        .map(|(name, _)| format!("ARK_{name}"))
        .collect();
    assert_host_takes(
        names
            .iter()
            .zip(&variables)
            .map(|(name, (_, value))| (name.as_str(), value.trim_matches('"'))),
    );
}

fn check_health(args: &[&str]) -> (Option<i32>, String) {
    let output = run_ark(&[&["health"], args].concat());
    (output.status.code(), read_output(&output))
}

#[test]
fn health_is_an_exit_status() {
    let dir = TestDir::new("");
    let host = dir.start();
    let api = format!("http://{}", host.address);
    let listens_for_telemetry = host.telemetry.as_deref().expect("telemetry");
    let telemetry = format!("http://{listens_for_telemetry}");
    for url in [&api, &telemetry] {
        assert_eq!(check_health(&["--url", url]).0, Some(0));
        let (code, said) = check_health(&["--url", url, "--ready"]);
        assert_eq!(code, Some(0), "{said}");
    }
    // The address of the configuration.
    let config = dir.path().join("health.toml");
    let listens = |more: &str| {
        let text = format!(
            "listen = \"{}\"\ntelemetry_listen = \"{}\"\n{more}",
            host.address, listens_for_telemetry
        );
        fs::write(&config, text).expect("a file");
        check_health(&["--config", config.to_str().expect("UTF-8")])
    };
    let (code, said) = listens("");
    assert!(code == Some(0) && said.starts_with(&api), "{said}");
    let (code, said) = listens("[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n");
    assert!(code == Some(0) && said.starts_with(&telemetry), "{said}");
    // A host that is halted is alive, and may not judge.
    let (status, _) = Client::new(&host).post("/v1/halt", &json!({"reason": "a test"}));
    assert_eq!(status, 200);
    assert_eq!(check_health(&["--url", &api]).0, Some(0));
    let (code, said) = check_health(&["--url", &api, "--ready"]);
    assert!(code == Some(1) && said.contains("halt"), "{said}");
    let (code, said) = check_health(&["--url", &api, "--ready", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &answer["passed"], &answer["status"]),
        (Some(1), &json!(false), &json!(503))
    );
    // Nobody, and somebody who takes the connection and says nothing.
    let (code, said) = check_health(&["--url", &format!("http://127.0.0.1:{}", free_port())]);
    assert!(
        code == Some(1) && said.contains("no host answers"),
        "{said}"
    );
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("its address"));
    let (code, said) = check_health(&["--url", &url, "--timeout", "1"]);
    assert!(
        code == Some(1) && said.contains("has not answered within 1 s"),
        "{said}"
    );
    assert_eq!(check_health(&["--timeout", "0"]).0, Some(2));
}

/// Starts a server that answers 200 with this body, whatever it is asked for. Returns its address.
fn serve_everywhere(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    // It ends with the process of the test.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn health_of_another_server_fails_though_it_answers_200() {
    let missing = "correct --url";
    for (body, options, reason) in [
        (
            r#"{"ready":false,"problems":["x"]}"#,
            &["--ready"][..],
            "\"ready\":false",
        ),
        (r#"{"ready":"true"}"#, &["--ready"], "NOT OK (200)"),
        (r#"{"status":"alive"}"#, &["--ready"], missing),
        (r#"{"status":"dead"}"#, &[], "NOT OK (200)"),
        ("{}", &["--ready"], missing),
        ("{}", &[], missing),
        ("[true]", &["--ready"], missing),
        ("null", &[], missing),
    ] {
        let url = serve_everywhere(body);
        let options = [&["--url", url.as_str()], options].concat();
        let (code, said) = check_health(&options);
        assert_eq!(code, Some(1), "{body} {options:?}: {said}");
        assert!(said.contains(reason), "{body} {options:?}: {said}");
        let (code, said) = check_health(&[&options[..], &["--json"]].concat());
        let answer: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(
            (code, &answer["passed"], &answer["status"]),
            (Some(1), &json!(false), &json!(200)),
            "{body} {options:?}"
        );
    }
    for body in ["<h1>It works!</h1>", ""] {
        for options in [&["--ready"][..], &[]] {
            let url = serve_everywhere(body);
            let output = run_ark(&[&["health", "--url", &url], options].concat());
            assert_eq!(output.status.code(), Some(1), "{body:?} {options:?}");
        }
    }
    // As a host, or a front before one, says it.
    let url = serve_everywhere(r#"{"ready":true,"status":"alive"}"#);
    for options in [&["--ready"][..], &[]] {
        let (code, said) = check_health(&[&["--url", url.as_str()], options].concat());
        assert_eq!(code, Some(0), "{said}");
    }
}
