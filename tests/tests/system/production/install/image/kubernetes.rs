//! The image as `deploy/kubernetes` runs it: the job that makes the first token, the host and a front, with the arguments, variables and mounts of the
//! manifests, secrets as the kubelet places them, and the probes of the pods. Only addresses are the test's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use ark_tests::ports::free_port;
use ark_tests::{Client, ark_program, wait_until};
use serde_json::Value;

use super::USER;
use super::buildah::{Buildah, Contained, finish};
use crate::api::tls::CertificateAuthority;
use crate::production::install::compose::{outcome, propose};
use crate::production::install::manifests::{list_texts, read_pod};

/// The key of the secret that the guide makes.
const KEY: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// Where the volumes of the pods are on this machine, a directory for each name.
struct Volumes<'a>(&'a Path);

impl Volumes<'_> {
    fn make(&self, name: &str, owner: u32, mode: u32) {
        let dir = self.0.join(name);
        fs::create_dir(&dir).expect("a directory");
        // `fsGroup` of the pods.
        chown(&dir, Some(owner), Some(USER)).expect("its owner");
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).expect("its mode");
    }

    /// A file of a secret, with the mode that the pods ask for.
    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::write(&path, text).expect("a file");
        chown(&path, Some(0), Some(USER)).expect("its owner");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).expect("its mode");
    }

    /// The options of a container for the mounts and variables of a pod. `own`: variables with values of the test.
    fn list_options(&self, pod: &Value, own: &[(&str, String)]) -> Vec<String> {
        let container = &pod["spec"]["containers"][0];
        let mounts = container["volumeMounts"].as_array().expect("mounts").iter();
        let mut options: Vec<String> = mounts
            .map(|mount| {
                let text = |key: &str| mount[key].as_str().expect("a text").to_owned();
                let source = self.0.join(text("name")).display().to_string();
                let rights = if mount["readOnly"] == true { ":ro" } else { "" };
                format!("--volume={source}:{}{rights}", text("mountPath"))
            })
            .collect();
        // The root of the container can only be read, so that without a volume of its own /tmp is no place to write.
        if !options.iter().any(|option| option.ends_with(":/tmp")) {
            options.push(format!(
                "--volume={}:/tmp:ro",
                self.0.join("none").display()
            ));
        }
        let variables = container["env"].as_array().expect("variables").iter();
        options.extend(variables.map(|variable| {
            let name = variable["name"].as_str().expect("a name");
            let own = own.iter().find(|(it, _)| *it == name);
            let value = match own {
                Some((_, value)) => value.as_str(),
                // The one secret that is a variable is the key.
                None => variable["value"].as_str().unwrap_or(KEY),
            };
            format!("--env={name}={value}")
        }));
        options
    }
}

/// A container without a volume of its own. Beside one that is mounted at the same path, buildah would mount either.
fn make_container(buildah: &Buildah, tag: &str) -> String {
    let (container, _) = buildah.make_container(tag);
    buildah.run(&["config", "--volume", "/var/lib/ark-", &container]);
    container
}

fn list_arguments(pod: &Value) -> Vec<String> {
    list_texts(&pod["spec"]["containers"][0]["args"])
}

/// Waits until the probes of a pod succeed. Its port of telemetry is `port` here.
fn wait_probed(pod: &Value, port: u16) {
    let container = &pod["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let request = &container[probe]["httpGet"];
        assert_eq!(request["port"], "telemetry", "{probe}");
        let path = request["path"].as_str().expect("a path");
        wait_until(probe, || {
            let mut client = Client::at(&format!("127.0.0.1:{port}"));
            let answer = client.request("GET", path, &[], b"");
            answer.is_ok_and(|(status, _, _)| status == 200)
        });
    }
}

fn run_program(buildah: &Buildah, container: &str, options: &[String], args: &[String]) -> Command {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    buildah.program(container, options, &args)
}

/// Makes a snapshot where the pod has its variable for it, which is in a volume that belongs to a group, and has the check of a host judge it. `command`
/// gives a command of the program in the host's container.
fn snapshot_in_volume(pod: &Value, command: impl Fn(&[String]) -> Command) {
    let variables = pod["spec"]["containers"][0]["env"].as_array();
    let mut variables = variables.expect("variables").iter();
    let named = variables.find(|one| one["name"] == "ARK_SNAPSHOTS");
    let dir = named.and_then(|one| one["value"].as_str());
    let first = format!("{}/first", dir.expect("a directory of snapshots"));
    finish(&mut command(&[
        "state".to_owned(),
        "snapshot".to_owned(),
        first,
    ]));
    // Other lines, e.g. of the monitoring that is not there, decide on the exit status.
    let checked = command(&["check".to_owned(), "--json".to_owned()]).output();
    let checked = checked.expect("buildah starts");
    let report: Value = serde_json::from_slice(&checked.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&checked.stderr)));
    let lines = report["lines"].as_array().expect("lines");
    let about: Vec<&Value> = lines
        .iter()
        .filter(|line| line["check"] == "snapshot" && line["status"] != "ok")
        .collect();
    assert!(about.is_empty(), "{about:?}");
    assert!(lines.iter().any(|line| line["check"] == "snapshot"));
}

pub(super) fn run_as_kubernetes_does(buildah: &Buildah, tag: &str) {
    let root = buildah.path("kubernetes");
    fs::create_dir(&root).expect("a directory");
    let volumes = Volumes(&root);
    volumes.make("data", 0, 0o2770);
    volumes.make("snapshots", 0, 0o2770);
    volumes.make("tmp", 0, 0o1777);
    volumes.make("none", 0, 0o555);
    for name in ["tls", "ca", "token"] {
        volumes.make(name, 0, 0o2750);
    }
    let authority = CertificateAuthority::new();
    let (chain, key) = authority.certify();
    volumes.write("tls/tls.crt", &chain);
    volumes.write("tls/tls.key", &key);
    let trusted = authority.write(&root.join("host_ca"));
    volumes.write("ca/ca.crt", &fs::read_to_string(&trusted).expect("a file"));

    // The job, before the host has ever run.
    let container = make_container(buildah, tag);
    let job = read_pod("bootstrap/job.yaml");
    let options = volumes.list_options(&job, &[]);
    let made = finish(&mut run_program(
        buildah,
        &container,
        &options,
        &list_arguments(&job),
    ));
    let admin = made.lines().last().expect("a token").trim().to_owned();
    assert!(
        root.join("data/data/ark.db").is_file(),
        "the volume of the pods"
    );

    let host = read_pod("statefulset.yaml");
    let (port, telemetry) = (free_port(), free_port());
    let own = [
        ("ARK_LISTEN", format!("127.0.0.1:{port}")),
        ("ARK_TELEMETRY_LISTEN", format!("127.0.0.1:{telemetry}")),
    ];
    let options = volumes.list_options(&host, &own);
    let started = Contained::start(run_program(
        buildah,
        &container,
        &options,
        &list_arguments(&host),
    ));
    wait_probed(&host, telemetry);
    snapshot_in_volume(&host, |args| {
        run_program(buildah, &container, &options, args)
    });
    assert!(
        root.join("snapshots/snapshots/first/ark.db").is_file(),
        "the volume for snapshots"
    );

    // The token of the fronts, as the guide makes it.
    let owner = format!("https://localhost:{port}");
    let token = finish(
        Command::new(ark_program())
            .args(["token", "create", "--role", "reader", "--name", "front"])
            .args(["--url", &owner, "--token", &admin, "--ca"])
            .arg(&trusted),
    );
    volumes.write("token/token", &token);
    let front = read_pod("front.yaml");
    let (front_port, front_telemetry) = (free_port(), free_port());
    let mut arguments = list_arguments(&front);
    for (option, value) in [
        ("--owner=", owner),
        ("--listen=", format!("127.0.0.1:{front_port}")),
        (
            "--telemetry-listen=",
            format!("127.0.0.1:{front_telemetry}"),
        ),
    ] {
        let mut found = arguments.iter_mut();
        let found = found.find(|it| it.starts_with(option)).expect(option);
        *found = format!("{option}{value}");
    }
    let front_container = make_container(buildah, tag);
    let options = volumes.list_options(&front, &[]);
    let front_started =
        Contained::start(run_program(buildah, &front_container, &options, &arguments));
    wait_probed(&front, front_telemetry);
    let url = format!("https://localhost:{front_port}");
    wait_until("a proposal reaches the host by the front", || {
        let answer = propose(&url, &root, &admin, "BTC-USD").output();
        outcome(&answer.expect("curl starts").stdout) == "approved"
    });
    assert_eq!(front_started.terminate(), Some(0));
    assert_eq!(started.terminate(), Some(0));
}
