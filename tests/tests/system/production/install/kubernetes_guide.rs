//! The commands of docs/installation.md and docs/disasters.md for Kubernetes, run as they stand. There is no cluster: `tests/deployment/kubectl.py` stands in for `kubectl`, and
//! what it starts (the job, the host, a front, a snapshot in the host's pod) is the real program as the manifests have it. It refuses what a cluster would:
//! a second secret of a name, a wait without a time, a pod without its secrets.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ark_tests::artefacts::checkout_path;
use ark_tests::ports::free_port;
use ark_tests::{ark_program, wait_for};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::api::tls::{CertificateAuthority, write_key};
use crate::docs::pages::read_tested_blocks;

use super::kustomize::render;
use super::validators::find_validator;

const PAGE: &str = "docs/installation.md";
const DISASTERS: &str = "docs/disasters.md";
const TEST: &str = "production/install/kubernetes_guide.rs";
/// The images that the guide names, before and after the upgrade.
const IMAGES: [&str; 2] = [
    "registry.example/desk/ark:0.1.0",
    "registry.example/desk/ark:0.2.0",
];

/// A shell with all that it has started, which ends with it.
struct ShellGroup(Child);

impl Drop for ShellGroup {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The directory of an operator with the base, a certificate and who signed it, and a cluster behind `kubectl`.
struct Operator {
    dir: tempfile::TempDir,
    host: u16,
    /// The port of `port-forward`, which is 8000 in the guide.
    tunnel: u16,
}

impl Operator {
    fn new() -> Self {
        let operator = Self {
            dir: tempfile::tempdir().expect("a directory"),
            host: free_port(),
            tunnel: free_port(),
        };
        for name in ["work", "work/deploy", "bin", "state"] {
            fs::create_dir(operator.at(name)).expect("a directory");
        }
        let copied = Command::new("cp")
            .arg("-r")
            .arg(checkout_path("deploy/kubernetes"))
            .arg(operator.at("work/deploy"))
            .status();
        assert!(copied.expect("cp starts").success());
        let authority = CertificateAuthority::new();
        authority.write(&operator.at("work/authority.pem"));
        let (chain, key) = authority.certify();
        fs::write(operator.at("work/certificate.pem"), chain).expect("a file");
        write_key(&operator.at("work/key.pem"), &key);
        let settings = json!({
            "ark": ark_program(),
            "host": operator.host,
            "telemetry": free_port(),
            "front": free_port(),
            "front_telemetry": free_port(),
        });
        fs::write(operator.at("state/settings.json"), settings.to_string()).expect("a file");
        symlink(ark_program(), operator.at("bin/ark")).expect("a link");
        let python = find_validator("python");
        let kubectl = format!(
            "#!/bin/sh\nexec '{}' '{}' \"$@\"\n",
            Path::new(python.get_program()).display(),
            checkout_path("tests/deployment/kubectl.py").display()
        );
        fs::write(operator.at("bin/kubectl"), kubectl).expect("a program");
        fs::set_permissions(
            operator.at("bin/kubectl"),
            fs::Permissions::from_mode(0o755),
        )
        .expect("a mode");
        operator
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The blocks of the guide, with a port for the tunnel that is free: volumes and secrets, the first token, host and fronts, an upgrade.
    fn read_blocks(&self) -> [String; 4] {
        let blocks = read_tested_blocks(PAGE, TEST).into_iter().map(|block| {
            block
                .commands
                .replace(
                    "service/ark-operate 8000",
                    &format!("service/ark-operate {}", self.tunnel),
                )
                .replace("localhost:8000", &format!("localhost:{}", self.tunnel))
        });
        let blocks: Vec<String> = blocks.collect();
        let count = blocks.len();
        blocks
            .try_into()
            .unwrap_or_else(|_| panic!("{PAGE}: {count} blocks"))
    }

    /// Runs a script to its end, and then ends what it has started. Returns whether it succeeded, and what it printed.
    fn run(&self, script: &str) -> (bool, String) {
        let log = self.at("log");
        let output = File::create(&log).expect("a file");
        let mut path = self.at("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let shell = Command::new("bash")
            .args(["-c", script])
            .current_dir(self.at("work"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.at("work"))
            .env("KUBECTL_STATE", self.at("state"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the file again"))
            .stderr(output)
            .process_group(0)
            .spawn();
        let mut shell = ShellGroup(shell.expect("bash starts"));
        let status = wait_for("the commands of the guide end", || {
            shell.0.try_wait().expect("the shell's status")
        });
        drop(shell);
        let printed = fs::read_to_string(&log).expect("what the commands print");
        let logs = ["host", "front", "repair"].map(|name| {
            let text = fs::read_to_string(self.at(&format!("state/{name}.log")));
            format!("{name}: {}", text.unwrap_or_default())
        });
        (status.success(), format!("{printed}\n{}", logs.join("\n")))
    }

    /// What was started and ended in the cluster, in this order.
    fn read_events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("state/events")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_guides_commands_bring_up_a_host_with_fronts_and_upgrade_it() {
    let operator = Operator::new();
    let [prepare, bootstrap, start, upgrade] = operator.read_blocks();
    // The tunnel has been closed, so the host itself is asked for the tokens.
    let script = format!(
        "set -euo pipefail\n{prepare}{bootstrap}{start}{upgrade}\
         ark token list --url https://localhost:{} --ca authority.pem --json > tokens.json\n",
        operator.host
    );
    let (is_good, printed) = operator.run(&script);
    assert!(is_good, "{printed}");
    let [old, new] = IMAGES;
    assert_eq!(
        operator.read_events(),
        [
            format!("job {old}: 0"),
            "job deleted".to_owned(),
            format!("host {old}"),
            format!("fronts {old}"),
            "forwards".to_owned(),
            format!("host {new}"),
            format!("fronts {new}"),
        ],
        "{printed}"
    );
    let tokens = fs::read_to_string(operator.at("work/tokens.json")).expect("the tokens");
    for part in ["\"bootstrap\"", "\"front\"", "\"reader\""] {
        assert!(tokens.contains(part), "{part}: {tokens}");
    }
    assert!(!operator.at("work/front.token").exists());
    let snapshot = "state/volumes/ark-snapshots/snapshots/before-0.2.0/ark.db";
    assert!(operator.at(snapshot).is_file(), "{printed}");
    // Each pod of either overlay has the image that the guide names.
    for (overlay, pods) in [("host", 2), ("bootstrap", 1)] {
        let objects = render(&operator.at(&format!("work/desk/{overlay}")));
        let images: Vec<_> = objects
            .iter()
            .map(|object| &object["spec"]["template"]["spec"]["containers"][0]["image"])
            .filter(|image| !image.is_null())
            .collect();
        assert_eq!(images, vec![new; pods], "{overlay}");
    }
}

#[test]
fn a_command_of_the_guide_that_fails_can_be_given_again() {
    let operator = Operator::new();
    let [prepare, bootstrap, start, _] = operator.read_blocks();
    // As somebody pastes it, who does not see a failure: nothing ends the shell.
    let script = format!(
        "{prepare}
echo wait > \"$KUBECTL_STATE/fails\"
{bootstrap}
echo \"first: ${{ARK_TOKEN-none}} $(wc -l < \"$KUBECTL_STATE/job.log\")\"
rm \"$KUBECTL_STATE/fails\"
{bootstrap}
kept=$ARK_TOKEN
export ARK_TOKEN=ark_{unknown}
{start}
echo \"second: $(stat -c '%a %s' front.token) $(ls \"$KUBECTL_STATE/secrets\" | tr '\\n' ' ')\"
export ARK_TOKEN=$kept
echo create > \"$KUBECTL_STATE/fails\"
{start}
echo \"third: $(stat -c '%a' front.token) $(wc -w < front.token) $(ls \"$KUBECTL_STATE/secrets\" | tr '\\n' ' ')\"
rm \"$KUBECTL_STATE/fails\"
{start}
echo \"fourth: $(wc -w < \"$KUBECTL_STATE/secrets/ark-front-token/token\")\"
",
        unknown = "0".repeat(64)
    );
    let (is_good, printed) = operator.run(&script);
    assert!(is_good, "{printed}");
    for line in [
        // The job was not deleted, and its log has the token.
        "first: none 2",
        // No secret without a token in it.
        "second: 600 0 ark-ca ark-secret-key ark-tls ",
        // A token that was made is kept until it is in the secret, since its name is given once.
        "third: 600 1 ark-ca ark-secret-key ark-tls ",
        "fourth: 1",
        "deployment/ark-front successfully rolled out",
    ] {
        let mut lines = printed.lines();
        assert!(lines.any(|one| one == line), "{line}: {printed}");
    }
}

#[test]
fn the_pod_for_repairs_restores_a_snapshot_and_changes_the_key() {
    let operator = Operator::new();
    let [prepare, bootstrap, start, upgrade] = operator.read_blocks();
    let blocks = read_tested_blocks(DISASTERS, TEST);
    let [restore, change_key] = &blocks[..] else {
        panic!("{DISASTERS}: {} blocks", blocks.len());
    };
    let script = format!(
        "set -euo pipefail
{prepare}{bootstrap}{start}
change() {{ echo \"$1\" | ark state set kyle \"$2\" - --url https://localhost:{host} --ca authority.pem; }}
change '\"s3cr3t\"' secret/feed
{upgrade}
change '\"later\"' plans/today
{restore}
{change_key}
ls \"$KUBECTL_STATE/volumes/ark-data/data\" > kept
ark state list kyle --url https://localhost:{host} --ca authority.pem > keys
kubectl -n ark exec ark-0 -- ark state check > checked.json
",
        restore = restore.commands,
        change_key = change_key.commands,
        host = operator.host
    );
    let (is_good, printed) = operator.run(&script);
    assert!(is_good, "{printed}");
    let read = |name: &str| fs::read_to_string(operator.at(name)).expect("a file");
    // What came after the snapshot is set aside.
    assert!(read("work/kept").contains("before-restore-"), "{printed}");
    let keys = read("work/keys");
    assert!(
        keys.contains("secret/feed") && !keys.contains("plans/today"),
        "{keys}"
    );
    // The host has the new key, by which the secret decrypts; the former one is kept.
    let checked: Value = serde_json::from_str(&read("work/checked.json")).expect("JSON");
    assert_eq!(checked["secrets"], 1, "{checked}");
    assert_eq!(checked["fault"], Value::Null, "{checked}");
    let [former, new] = ["former.key", "new.key"].map(|name| read(&format!("work/{name}")));
    assert_ne!(former.trim(), new.trim());
    assert_eq!(
        read("state/secrets/ark-secret-key/secret.key").trim(),
        new.trim()
    );
    let image = IMAGES[1];
    let events = operator.read_events();
    let repaired = [
        "host stopped".to_owned(),
        format!("repair {image}"),
        "repair deleted".to_owned(),
        format!("host {image}"),
    ];
    assert!(
        events.ends_with(&[&repaired[..], &repaired[..]].concat()),
        "{events:?}"
    );
    let pod = render(&operator.at("work/desk/repair")).remove(0);
    assert_eq!(pod["spec"]["containers"][0]["image"], image);
}
