//! The files of Compose and Kubernetes fit together: what one part names (a network, a volume, a secret, a port, an address, a label) is there in the
//! other, which the schemas cannot say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ark_tests::artefacts::{checkout_path, read_checkout_file};
use ark_tests::programs::find_program;
use serde_json::Value;

use crate::docs::pages::{BlockKind, read_blocks};

use super::installation::read_output;
use super::validators::find_validator;

/// Ports of Compose's services that no argument or setting names: the programs' own.
const OWN_PORTS: [(&str, &str); 4] = [
    ("alertmanager", "9093"),
    ("grafana", "3000"),
    ("haproxy", "8000"),
    ("redis", "6379"),
];

/// The documents of a YAML file.
pub(super) fn read_documents(path: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let output = find_validator("python")
        .args(["-c", script])
        .arg(checkout_path(path))
        .output()
        .expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{path}: {error}{errors}"))
}

pub(super) fn list_texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts
        .map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

fn list_keys(value: &Value) -> BTreeSet<String> {
    let keys = value.as_object().into_iter().flatten();
    keys.map(|(key, _)| key.clone()).collect()
}

fn to_set(texts: Vec<String>) -> BTreeSet<String> {
    texts.into_iter().collect()
}

/// The addresses `NAME:PORT` in a text whose name is no number.
fn find_addresses(text: &str) -> Vec<(String, String)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
    let words = text.split(|c: char| !is_part(c));
    let pairs = words.filter_map(|word| word.split_once(':'));
    pairs
        .filter(|(name, port)| {
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && port.len() >= 2
                && port.chars().all(|c| c.is_ascii_digit())
        })
        .map(|(name, port)| (name.to_owned(), port.to_owned()))
        .collect()
}

/// Arguments and settings of a service, and the files that it mounts.
fn list_texts_of_service(service: &Value) -> Vec<String> {
    let settings = service["environment"].as_object().into_iter().flatten();
    let settings = settings.map(|(_, value)| value.to_string());
    let files = list_texts(&service["volumes"])
        .into_iter()
        .filter_map(|it| {
            let path = it.strip_prefix("./")?.split(':').next()?;
            let path = checkout_path("deploy").join(path);
            path.is_file()
                .then(|| fs::read_to_string(path).expect("a file"))
        });
    // What is a comment names nothing.
    let files = files.map(|text| {
        let lines = text.lines().filter(|line| !line.trim().starts_with('#'));
        lines.collect::<Vec<_>>().join("\n")
    });
    let commands = [&service["command"], &service["entrypoint"]];
    let commands = commands.into_iter().flat_map(list_texts);
    settings.chain(files).chain(commands).collect()
}

/// Whether a service of Compose listens on a port.
fn has_port(name: &str, service: &Value, port: &str) -> bool {
    OWN_PORTS.contains(&(name, port))
        || list_texts_of_service(service)
            .iter()
            .any(|text| text.contains(&format!("0.0.0.0:{port}")))
}

#[test]
fn the_services_of_compose_reach_each_other_and_have_what_they_name() {
    let compose = read_documents("deploy/compose.yaml").remove(0);
    let services = compose["services"].as_object().expect("services");
    let mut used = [const { BTreeSet::new() }; 3];
    let mut addresses = 0;
    for (name, service) in services {
        let networks = to_set(list_texts(&service["networks"]));
        let secrets = to_set(list_texts(&service["secrets"]));
        let volumes = list_texts(&service["volumes"]);
        let volumes = volumes.iter().filter(|it| !it.starts_with("./"));
        let volumes: BTreeSet<String> = volumes
            .map(|it| it.split(':').next().expect("a name").to_owned())
            .collect();
        for (used, more) in used.iter_mut().zip([&networks, &secrets, &volumes]) {
            used.extend(more.iter().cloned());
        }
        for other in list_keys(&service["depends_on"]) {
            let health = &services[&other]["healthcheck"];
            assert!(health.is_object(), "{name} waits for the health of {other}");
        }
        let texts = list_texts_of_service(service);
        let probe = list_texts(&service["healthcheck"]["test"]);
        for text in texts.iter().chain(&probe) {
            // A path of a secret is one that the service has.
            for path in text.split("/run/secrets/").skip(1) {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = path.find(|c| !is_part(c)).unwrap_or(path.len());
                let secret = &path[..end];
                assert!(secrets.contains(secret), "{name} has no secret {secret}");
            }
            // An address is that of a service in a network of both, on a port where it listens.
            for (other, port) in find_addresses(text) {
                addresses += 1;
                let known = services.get(&other);
                let known = known.unwrap_or_else(|| panic!("{name} names {other}:{port}"));
                let theirs = to_set(list_texts(&known["networks"]));
                assert!(!theirs.is_disjoint(&networks), "{name} to {other}");
                assert!(has_port(&other, known, &port), "{name} to {other}:{port}");
            }
        }
        for port in list_texts(&service["ports"]) {
            let port = port.rsplit(':').next().expect("a port").to_owned();
            assert!(has_port(name, service, &port), "{name} publishes {port}");
        }
    }
    assert!(addresses >= 9, "{addresses} addresses");
    for (used, kind) in used.iter().zip(["networks", "secrets", "volumes"]) {
        assert_eq!(*used, list_keys(&compose[kind]), "{kind}");
    }
}

/// Who owns each file below the directory of secrets, as the commands of the guide have it.
fn list_owners() -> Vec<(String, String)> {
    let guide = read_checkout_file("docs/installation.md");
    let commands = guide.lines().flat_map(|line| line.split(" && "));
    let changed = commands.filter_map(|command| command.strip_prefix("chown "));
    changed
        .flat_map(|words| {
            let (owner, files) = words.split_once(' ').expect("an owner");
            let files = files.split(' ').map(|file| {
                let name = file.rsplit('/').next().expect("a name");
                (name.to_owned(), owner.to_owned())
            });
            files.collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn each_secret_of_compose_belongs_to_the_user_of_its_container() {
    let compose = read_documents("deploy/compose.yaml").remove(0);
    let owners = list_owners();
    let mut checked = 0;
    for (name, service) in compose["services"].as_object().expect("services") {
        let user = service["user"].as_str().expect("a user");
        let user = user.split(':').next().expect("an id");
        for secret in list_texts(&service["secrets"]) {
            let file = compose["secrets"][&secret]["file"].as_str();
            let file = file.and_then(|path| path.rsplit('/').next());
            let file = file.expect("a file");
            let owner = owners.iter().find(|(made, _)| made == file);
            let (_, owner) = owner.unwrap_or_else(|| panic!("the guide gives {file} to nobody"));
            assert_eq!(owner, user, "{name} reads {file}");
            checked += 1;
        }
    }
    assert!(checked >= 11, "{checked} secrets");
}

/// The probe of a service of Compose: how it is run, and its words.
pub(super) fn read_probe(service: &str) -> (String, Vec<String>) {
    let compose = read_documents("deploy/compose.yaml").remove(0);
    let mut words = list_texts(&compose["services"][service]["healthcheck"]["test"]);
    let kind = words.remove(0);
    // Compose takes two for one.
    let words = words.iter().map(|word| word.replace("$$", "$"));
    (kind, words.collect())
}

/// Everything that the base of Kubernetes makes.
pub(super) fn list_objects() -> Vec<Value> {
    let files = [
        "statefulset.yaml",
        "front.yaml",
        "service.yaml",
        "disruption.yaml",
        "networkpolicy.yaml",
        "bootstrap/job.yaml",
        "repair/pod.yaml",
        "storage/claim.yaml",
        "storage/namespace.yaml",
    ];
    let documents = files
        .iter()
        .flat_map(|file| read_documents(&format!("deploy/kubernetes/{file}")));
    documents.collect()
}

/// The template of the pods of a workload, by its name.
pub(super) fn read_pod(file: &str) -> Value {
    read_documents(&format!("deploy/kubernetes/{file}")).remove(0)["spec"]["template"].take()
}

/// The secrets that the guide makes, each with the keys in it.
fn list_made_secrets() -> Vec<(String, BTreeSet<String>)> {
    let guide = read_checkout_file("docs/installation.md").replace("\\\n", " ");
    let made = guide.lines().filter_map(|line| {
        let (_, made) = line.split_once("create secret ")?;
        let words: Vec<&str> = made.split(' ').collect();
        let keys = match words[0] {
            "tls" => ["tls.crt", "tls.key"].map(str::to_owned).into(),
            _ => words
                .iter()
                .filter_map(|word| word.strip_prefix("--from-")?.split('=').nth(1))
                .map(str::to_owned)
                .collect(),
        };
        Some((words[1].to_owned(), keys))
    });
    made.collect()
}

/// A pod mounts what it has, has secrets and claims that are made, and its paths of files are keys of mounted secrets.
fn check_pod(pod: &Value, objects: &[Value], secrets: &[(String, BTreeSet<String>)]) {
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    let container = &pod["spec"]["containers"][0];
    let name = container["name"].as_str().expect("a name");
    let keys_of = |secret: &Value| {
        let found = secrets.iter().find(|(made, _)| secret == made);
        let found = found.unwrap_or_else(|| panic!("{name}: the guide makes no {secret}"));
        found.1.clone()
    };
    let mut files = BTreeSet::new();
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    for mount in mounts {
        let volume = volumes.iter().find(|one| one["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("{name} has no volume {mount}"));
        let path = mount["mountPath"].as_str().expect("a path");
        if volume["secret"].is_object() {
            assert_eq!(mount["readOnly"], true, "{mount}");
            let keys = keys_of(&volume["secret"]["secretName"]);
            files.extend(keys.iter().map(|key| format!("{path}/{key}")));
        }
    }
    assert_eq!(
        mounts.len(),
        volumes.len(),
        "{name}: each volume is mounted"
    );
    for claim in volumes.iter().map(|one| &one["persistentVolumeClaim"]) {
        let is_made = objects.iter().any(|object| {
            object["kind"] == "PersistentVolumeClaim"
                && object["metadata"]["name"] == claim["claimName"]
        });
        assert!(claim.is_null() || is_made, "{name}: {claim}");
    }
    let variables = container["env"].as_array().expect("variables");
    for variable in variables {
        let reference = &variable["valueFrom"]["secretKeyRef"];
        let key = reference["key"].as_str();
        let is_made = key.is_none_or(|key| keys_of(&reference["name"]).contains(key));
        assert!(is_made, "{name}: {variable}");
    }
    let values = variables.iter().filter_map(|one| one["value"].as_str());
    let arguments = list_texts(&container["args"]);
    for text in values.chain(arguments.iter().map(String::as_str)) {
        let path = text.split('=').next_back().expect("a text");
        if path.starts_with("/etc/ark/") {
            assert!(files.contains(path), "{name}: {text}: {files:?}");
        }
    }
    // Probes and services name ports that the container has.
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let port = &container[probe]["httpGet"]["port"];
        let ports = container["ports"].as_array().into_iter().flatten();
        let mut ports = ports.map(|one| &one["name"]);
        assert!(port.is_null() || ports.any(|name| name == port), "{probe}");
    }
}

/// The example of the installation guide that is no command and has this word in it.
pub(super) fn read_example(word: &str) -> String {
    let blocks = read_blocks("docs/installation.md").into_iter();
    let mut found =
        blocks.filter(|block| matches!(block.kind, BlockKind::Other) && block.text.contains(word));
    let example = found
        .next()
        .unwrap_or_else(|| panic!("no example names {word}"));
    assert!(found.next().is_none(), "two examples name {word}");
    example.text
}

#[test]
fn a_host_that_is_not_ready_can_be_exchanged_and_a_front_ends_after_its_endpoints() {
    let host = &read_documents("deploy/kubernetes/statefulset.yaml")[0]["spec"];
    assert_eq!(host["podManagementPolicy"], "Parallel");
    // Without an order nothing else would keep two hosts from one data directory.
    assert_eq!(host["replicas"], 1);
    let front = read_pod("front.yaml");
    let waits = &front["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
    let waits = waits.as_u64().expect("a pause before the end");
    assert!(waits >= 10, "{waits} s");
    let keys = read_checkout_file("docs/configuration.md");
    let (_, drain) = keys
        .split_once("| `capacity.drain_ms` | `")
        .expect("the key");
    let drain: u64 = drain
        .split('`')
        .next()
        .and_then(|it| it.parse().ok())
        .expect("a default");
    let grace = front["spec"]["terminationGracePeriodSeconds"].as_u64();
    let grace = grace.expect("a time to end in");
    assert!(grace > waits + drain / 1000, "{grace} s");
}

/// The services of the base whose port of telemetry has this number, each with its labels.
fn list_telemetry_services(port: u64) -> Vec<(String, Value)> {
    let services = list_objects().into_iter();
    let services = services.filter(|object| object["kind"] == "Service");
    services
        .filter(|service| {
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            let mut ports = ports.filter(|one| one["name"] == "telemetry");
            ports.any(|one| one["port"] == port)
        })
        .map(|service| {
            let metadata = &service["metadata"];
            let name = metadata["name"].as_str().expect("a name").to_owned();
            (name, metadata["labels"].clone())
        })
        .collect()
}

#[test]
fn the_guides_prometheus_for_kubernetes_scrapes_the_jobs_of_the_rules() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("prometheus.yml");
    fs::write(&file, read_example("dns_sd_configs")).expect("a file");
    let checked = find_program("promtool", "prometheus")
        .args(["check", "config"])
        .arg(&file)
        .output()
        .expect("promtool starts");
    assert!(checked.status.success(), "{}", read_output(&checked));
    let file = file.to_str().expect("UTF-8");
    let [scraped, shipped] = [file, "deploy/prometheus/prometheus.yml"].map(|path| {
        let jobs = read_documents(path).remove(0)["scrape_configs"].take();
        jobs.as_array().expect("jobs").clone()
    });
    let services = list_telemetry_services(9090);
    let mut reached = BTreeSet::new();
    for job in &scraped {
        let name = &job["job_name"];
        let alike = shipped.iter().find(|one| one["job_name"] == *name);
        let alike = alike.unwrap_or_else(|| panic!("no rule goes by the job {name}"));
        assert_eq!(job["sample_limit"], alike["sample_limit"], "{name}");
        let mut targets = list_texts(&job["static_configs"][0]["targets"]);
        let found = &job["dns_sd_configs"][0];
        targets.extend(
            list_texts(&found["names"])
                .iter()
                .map(|one| format!("{one}:{}", found["port"])),
        );
        let [target] = &targets[..] else {
            panic!("{name}: {targets:?}");
        };
        // The service whose label is the job's name.
        let service = services
            .iter()
            .find(|(service, _)| *target == format!("{service}.ark:9090"));
        let (service, labels) = service.unwrap_or_else(|| panic!("no service is at {target}"));
        assert_eq!(labels["app.kubernetes.io/name"], *name, "{target}");
        reached.insert(service.clone());
    }
    let all: BTreeSet<String> = services.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(reached, all);

    // The operator for Prometheus makes the same jobs of the labels of the services that it selects.
    let monitor = dir.path().join("monitor.yml");
    fs::write(&monitor, read_example("ServiceMonitor")).expect("a file");
    let monitor = read_documents(monitor.to_str().expect("UTF-8")).remove(0);
    assert_eq!(monitor["metadata"]["namespace"], "ark");
    let spec = &monitor["spec"];
    assert_eq!(spec["endpoints"][0]["port"], "telemetry");
    let label = spec["jobLabel"].as_str().expect("a label");
    let selects = &spec["selector"]["matchExpressions"][0];
    assert_eq!(selects["operator"], "In");
    let key = selects["key"].as_str().expect("a label");
    let values = list_texts(&selects["values"]);
    let jobs: BTreeSet<&str> = services
        .iter()
        .filter(|(_, labels)| values.iter().any(|value| labels[key] == value.as_str()))
        .map(|(name, labels)| {
            labels[label]
                .as_str()
                .unwrap_or_else(|| panic!("{name} has no {label}"))
        })
        .collect();
    let names: BTreeSet<&str> = scraped
        .iter()
        .map(|job| job["job_name"].as_str().expect("a name"))
        .collect();
    assert_eq!(jobs, names);
}

#[test]
fn the_objects_of_kubernetes_have_what_they_name() {
    let objects = list_objects();
    let secrets = list_made_secrets();
    assert_eq!(secrets.len(), 4, "{secrets:?}");
    let mut pods: Vec<Value> = ["statefulset.yaml", "front.yaml", "bootstrap/job.yaml"]
        .map(read_pod)
        .into();
    pods.extend(read_documents("deploy/kubernetes/repair/pod.yaml"));
    let lists = [
        "kustomization.yaml",
        "bootstrap/kustomization.yaml",
        "repair/kustomization.yaml",
    ];
    for pod in &pods {
        check_pod(pod, &objects, &secrets);
        // An overlay sets the image by this name.
        for list in lists {
            let list = read_documents(&format!("deploy/kubernetes/{list}")).remove(0);
            let image = &pod["spec"]["containers"][0]["image"];
            assert_eq!(list["images"][0]["name"], *image);
        }
    }
    // Whatever selects pods selects some, on ports that they have.
    let select = |selector: &Value| -> Vec<&Value> {
        let labels = selector.as_object().expect("labels");
        let has = |pod: &&Value| {
            let mut wanted = labels.iter();
            wanted.all(|(name, value)| pod["metadata"]["labels"][name] == *value)
        };
        pods.iter().filter(has).collect()
    };
    let port_of = |pod: &Value, name: &Value| {
        let ports = pod["spec"]["containers"][0]["ports"].as_array();
        let mut ports = ports.expect("ports").iter();
        ports
            .find(|port| port["name"] == *name)
            .unwrap_or_else(|| panic!("no port {name}"))["containerPort"]
            .clone()
    };
    let mut selected = 0;
    for object in &objects {
        let (kind, spec) = (object["kind"].as_str().expect("a kind"), &object["spec"]);
        let selector = match kind {
            "Service" => &spec["selector"],
            "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
            "PodDisruptionBudget" | "StatefulSet" | "Deployment" => {
                &spec["selector"]["matchLabels"]
            }
            _ => continue,
        };
        let chosen = select(selector);
        assert_eq!(chosen.len(), 1, "{kind} {}", object["metadata"]["name"]);
        selected += 1;
        let ports = spec["ports"].as_array().into_iter().flatten();
        for port in ports {
            let of_pod = port_of(chosen[0], &port["targetPort"]);
            assert_eq!(of_pod, port["port"], "{kind}: {port}");
        }
        let ingress = spec["ingress"].as_array().into_iter().flatten();
        for port in ingress.flat_map(|rule| rule["ports"].as_array().into_iter().flatten()) {
            port_of(chosen[0], &port["port"]);
        }
    }
    assert_eq!(selected, 9);
    // The owner of the fronts is a service on whose port the host listens.
    let owner = list_texts(&pods[1]["spec"]["containers"][0]["args"]);
    let (name, port) = find_addresses(&owner.join("\n")).remove(0);
    let service = objects
        .iter()
        .find(|object| object["kind"] == "Service" && object["metadata"]["name"] == name.as_str());
    let ports = &service.expect("the owner's service")["spec"]["ports"];
    let mut ports = ports.as_array().expect("ports").iter();
    let port: u16 = port.parse().expect("a port");
    assert!(ports.any(|one| one["port"] == port), "{port}");
    // What the guide names is there.
    let guide = read_checkout_file("docs/installation.md");
    for (dir, named) in [
        ("storage", "apply -k deploy/kubernetes/storage\n"),
        (
            "bootstrap",
            "resources: [../../deploy/kubernetes/bootstrap]\n",
        ),
    ] {
        assert!(guide.contains(named), "{named}");
        let list = checkout_path("deploy/kubernetes").join(dir);
        assert!(Path::new(&list).join("kustomization.yaml").is_file());
    }
}
