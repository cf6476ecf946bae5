//! The address, the data directory and the fronts of an exchange belong to one host, or nothing is begun.

use std::process::{Child, Command, Stdio};

use ark_tests::{Client, TestDir, ark_program, wait_until};

use super::exclusion::change_arguments;
use crate::production::canary::stage::{CanaryFixture, is_ready, sh};
use crate::production::{rollback, upgrade};

/// The command with other arguments in the place of some.
fn with_arguments(command: &Command, changes: &[(&str, &str)]) -> Command {
    change_arguments(command, |arguments| {
        let other = |argument: String| {
            let change = changes.iter().find(|(given, _)| *given == argument);
            change.map_or(argument, |(_, wanted)| (*wanted).to_owned())
        };
        arguments.into_iter().map(other).collect()
    })
}

/// The three exchanges, each as a run and as a dry run.
fn list_exchanges(stage: &CanaryFixture) -> Vec<Command> {
    let options = rollback::options(stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let take_over = stage.take_over_options();
    let take_over: Vec<&str> = take_over.iter().map(String::as_str).collect();
    let mut exchanges = Vec::new();
    for more in [&[][..], &["--dry-run"]] {
        exchanges.push(upgrade::upgrade(stage, more));
        let mut rolled = rollback::command(stage, &options);
        rolled.args(more);
        exchanges.push(rolled);
        let mut canary = stage.start_command(&take_over);
        canary.args(more);
        exchanges.push(canary);
    }
    exchanges
}

#[test]
fn an_exchange_with_the_data_directory_of_another_host_is_refused() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let ready = Client::at(&stage.owner).get("/readyz").1;
    let instance = ready["instance"].as_str().expect("a name").to_owned();
    let lock = std::fs::read_to_string(stage.dir.path().join("data/ark.lock")).expect("a file");
    assert_eq!(lock.lines().nth(2), Some(instance.as_str()), "{lock}");
    // A copy of the data that nobody holds.
    sh(&format!("cp -r {} {}", path("data"), path("copy")));
    let [owner, front] = [&stage.owner, &stage.stable.address].map(|at| format!("http://{at}"));
    for command in list_exchanges(&stage) {
        let changed = with_arguments(&command, &[(&path("data"), &path("copy"))]);
        let refused = upgrade::errors_of(changed);
        for part in [
            format!("the host that answers at {owner} "),
            format!("(instance {instance})"),
            format!("{} (no process holds it)", path("copy")),
            "correct --url or --data-dir".to_owned(),
        ] {
            assert!(refused.contains(&part), "{command:?}: {part}: {refused}");
        }
        // A front of that host is none, with any directory: it is ready also while the host is away.
        let refused = upgrade::errors_of(with_arguments(&command, &[(&owner, &front)]));
        let part = format!("a front answers at {front}");
        assert!(refused.contains(&part), "{command:?}: {refused}");
        assert!(refused.contains("--owner"), "{command:?}: {refused}");
    }
    let front_ready = Client::at(&stage.stable.address).get("/readyz").1;
    assert_eq!(front_ready["owner_instance"], instance.as_str());
    assert_ne!(front_ready["instance"], instance.as_str(), "it is a front");
    assert!(!stage.dir.path().join("snapshots").exists());
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    let now = Client::at(&stage.owner).get("/readyz").1;
    assert_eq!(now["instance"], instance.as_str(), "it is the same process");
    // With its own data it is possible, and a restart has another name.
    let output = upgrade::upgrade(&stage, &["--dry-run"]).output();
    let output = output.expect("ark starts");
    assert!(output.status.success(), "{output:?}");
    upgrade::back_to_stable(&stage);
    wait_until("another process serves", || {
        Client::at(&stage.owner).get("/readyz").1["instance"] != instance.as_str()
    });
}

#[test]
fn a_canary_whose_front_works_for_another_host_is_not_begun() {
    let mut stage = CanaryFixture::start("", "");
    let other_dir = TestDir::new("");
    let other = other_dir.start();
    let front = stage.canary.take().expect("the front of the new version");
    let (address, telemetry) = (front.address.clone(), front.telemetry.clone());
    drop(front);
    // The new version's front has the owner of another host by mistake.
    let _front = Ended(
        Command::new(ark_program())
            .args(["front", "--owner", &format!("http://{}", other.address)])
            .args(["--listen", &address])
            .args(["--telemetry-listen", &telemetry.expect("an address")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ark starts"),
    );
    let instance = |address: &str| Client::at(address).get("/readyz").1["instance"].clone();
    wait_until("the front knows its owner", || {
        is_ready(&address)
            && Client::at(&address).get("/readyz").1["owner_instance"] == instance(&other.address)
    });
    let own = instance(&stage.owner);
    let prometheus = stage
        .prometheus
        .url
        .trim_start_matches("http://")
        .to_owned();
    let shown = instance(&other.address);
    wait_until("Prometheus knows the front's owner", || {
        let (_, answer) = Client::at(&prometheus).get("/api/v1/query?query=ark_front_owner_info");
        let rows = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        rows.iter().any(|row| row["metric"]["process"] == shown)
    });
    wait_until("HAProxy reaches the front", || {
        let status = stage.haproxy.ask("show stat");
        let mut lines = status.lines();
        lines.any(|line| line.starts_with("ark,canary,") && line.contains(",UP,"))
    });
    for more in [&["--dry-run"][..], &[]] {
        let refused = upgrade::errors_of(stage.start_command(more));
        for part in [
            format!(
                "process {}",
                instance(&other.address).as_str().expect("a name")
            ),
            format!("(instance {})", own.as_str().expect("a name")),
            "give each front that host as --owner".to_owned(),
        ] {
            assert!(refused.contains(&part), "{more:?}: {part}: {refused}");
        }
    }
    stage.assert_weights(100, 0);
    assert!(stage.recorded().is_empty() && stage.steps().is_empty());
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
