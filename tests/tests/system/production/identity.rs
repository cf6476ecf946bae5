//! The address, the data directory and the fronts of an exchange belong to one host, or nothing is begun.

use std::process::Command;

use ark_tests::{Client, wait_until};

use super::canary::stage::{CanaryFixture, is_ready, sh};
use super::exclusion::change_arguments;
use super::{rollback, upgrade};

/// The command with another data directory.
fn with_data(stage: &CanaryFixture, command: &Command, data: &str) -> Command {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let (given, wanted) = (path("data"), path(data));
    change_arguments(command, |arguments| {
        let other = |argument: String| {
            if argument == given {
                wanted.clone()
            } else {
                argument
            }
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
    for command in list_exchanges(&stage) {
        let told = format!("{command:?}");
        let refused = upgrade::errors_of(with_data(&stage, &command, "copy"));
        for part in [
            format!("the host that answers at http://{} ", stage.owner),
            format!("(instance {instance})"),
            format!("{} (no process holds it)", path("copy")),
            "correct --url or --data-dir".to_owned(),
        ] {
            assert!(refused.contains(&part), "{told}: {part}: {refused}");
        }
    }
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
