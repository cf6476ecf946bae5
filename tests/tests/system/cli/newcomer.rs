//! What a newcomer meets: lists without entries, names with a slip, keys and files that are not there. Each is said with what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ark_tests::artefacts::checkout_path;
use ark_tests::{Client, Host, TestDir, copy_agent, guests_dir, post_signal, wait_until};
use serde_json::{Value, json};

use super::{ark, printed, said};

#[test]
fn an_empty_list_is_said_to_people_and_is_empty_for_programs() {
    let dir = TestDir::new("");
    let host = dir.start();
    let url = format!("http://{}", host.address);
    let data = dir.data();
    let data = data.to_str().expect("UTF-8");
    for (command, sentence, items) in [
        (
            &["agent", "capsules", "--data-dir", data][..],
            format!("no capsules in {data}; a host with another data directory keeps its own"),
            None,
        ),
        (
            &["agent", "list"],
            "no agents serve".to_owned(),
            Some("/agents"),
        ),
        (
            &["policy", "list"],
            "no operator policies".to_owned(),
            Some("/policies"),
        ),
        (
            &["signals", "failed"],
            "no failed signals".to_owned(),
            Some("/signals"),
        ),
        (
            &["approvals", "list"],
            "no held actions with this status".to_owned(),
            Some("/approvals"),
        ),
        (&["token", "list"], "no tokens".to_owned(), Some("")),
    ] {
        let told = ark(dir.path(), &url, command, &[]);
        assert!(told.status.success(), "{command:?}: {}", said(&told));
        assert_eq!(printed(&told), "", "{command:?}");
        assert!(
            said(&told).starts_with(&format!("ark: {sentence}")),
            "{command:?}: {}",
            said(&told)
        );
        let json = ark(dir.path(), &url, &[command, &["--json"]].concat(), &[]);
        match items {
            // One document a line: no line.
            None => assert_eq!(printed(&json), "", "{command:?}"),
            Some(pointer) => {
                let document: Value =
                    serde_json::from_str(&printed(&json)).expect("JSON for programs");
                assert_eq!(document.pointer(pointer), Some(&json!([])), "{command:?}");
                assert_eq!(said(&json), "", "{command:?}");
            }
        }
    }
    let unknown = ark(
        dir.path(),
        &url,
        &["agent", "replay", "xyz", "--data-dir", data],
        &[],
    );
    assert!(
        said(&unknown).starts_with(&format!("ark: there is no capsule xyz in {data}; ")),
        "{}",
        said(&unknown)
    );
    let nowhere = ark(dir.path(), &url, &["agent", "capsules"], &[]);
    assert!(!nowhere.status.success());
    assert!(
        said(&nowhere).contains(
            "there is no data directory ark-data; name the host's with --data-dir or ARK_DATA_DIR"
        ),
        "{}",
        said(&nowhere)
    );
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn state_for_a_name_that_no_agent_has_is_kept_and_said() {
    let dir = TestDir::new("");
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let url = format!("http://{}", host.address);
    for (agent, notice) in [
        ("kyle", ""),
        (
            "kyl",
            "ark: no agent kyl serves on this host; did you mean kyle?\n",
        ),
        (
            "somebody",
            "ark: no agent somebody serves on this host (`ark agent list`); what is under this name waits for one\n",
        ),
    ] {
        let set = ark(
            dir.path(),
            &url,
            &["state", "set", agent, "plan", "1", "--by", "ada"],
            &[],
        );
        assert!(set.status.success(), "{}", said(&set));
        assert_eq!(said(&set), notice);
        let list = ark(dir.path(), &url, &["state", "list", agent], &[]);
        assert!(printed(&list).contains("\"plan\""), "{}", printed(&list));
        assert_eq!(said(&list), notice);
    }
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_failed_signal_is_listed_with_the_command_that_delivers_it_again() {
    let dir = TestDir::new("");
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let url = format!("http://{}", host.address);
    let mut client = Client::new(&host);
    let nobody = post_signal(&mut client, "no.such", &json!(1));
    assert_eq!(nobody["delivered_to"], json!([]));
    assert_eq!(
        nobody["hint"],
        "no agent subscribes to no.such: GET /v1/agents lists the agents, and GET /v1/agents/{name} the topics of one"
    );
    // No tick: the agent refuses it.
    let sent = post_signal(&mut client, "market.tick", &json!("much"));
    assert_eq!(sent["delivered_to"], json!(["kyle"]));
    assert_eq!(sent.get("hint"), None);
    wait_until("the signal has failed", || {
        let (_, failed) = client.get("/v1/signals/failed");
        failed["signals"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    let id = sent["signal_id"].as_str().expect("an id");
    let listed = ark(dir.path(), &url, &["signals", "failed"], &[]);
    let listed = printed(&listed);
    let command = listed
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("ark "))
        .unwrap_or_else(|| panic!("a command in {listed}"));
    assert_eq!(command, format!("ark signals redeliver {id} --agent kyle"));
    // As it stands it works.
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let again = ark(dir.path(), &url, &words, &[]);
    assert_eq!(
        printed(&again),
        format!("{id} is delivered to kyle again\n"),
        "{}",
        said(&again)
    );
    wait_until("the signal has failed again", || {
        let (_, failed) = client.get("/v1/signals/failed");
        failed["signals"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    // An agent in quarantine gets nothing before it is restored, and whoever sends is told.
    let order = json!({"reason": "a test"});
    assert_eq!(client.post("/v1/agents/kyle/quarantine", &order).0, 200);
    let waits = post_signal(&mut client, "market.tick", &json!("much"));
    assert_eq!(waits["delivered_to"], json!(["kyle"]));
    assert_eq!(
        waits["hint"],
        "kyle is in quarantine: what is delivered to it waits until it is restored: POST /v1/agents/{name}/restore"
    );
    let again = ark(dir.path(), &url, &words, &[]);
    assert_eq!(
        (printed(&again).as_str(), said(&again).as_str()),
        (
            format!("{id} waits for kyle again\n").as_str(),
            "ark: kyle is in quarantine: what is delivered to it waits until it is restored: `ark watchdog restore NAME`\n"
        )
    );
    // A name that no agent has is no empty list.
    let typo = ark(
        dir.path(),
        &url,
        &["signals", "failed", "--agent", "kyel"],
        &[],
    );
    assert!(!typo.status.success());
    let told = said(&typo);
    assert!(
        told.contains("there is no agent kyel") && told.contains("did you mean kyle?"),
        "{told}"
    );
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_host_without_the_key_of_its_secrets_says_so() {
    let dir = TestDir::new("");
    let key = dir.path().join("key");
    fs::write(
        &key,
        "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef",
    )
    .expect("a file");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("a mode");
    let with_key = [("ARK_SECRET_KEY_FILE", key.to_str().expect("UTF-8"))];
    let data = dir.data();
    let degraded = |host: &Host| {
        let (status, ready) = Client::new(host).get("/readyz");
        assert_eq!(status, 200, "{ready}");
        ready["degraded"].as_array().expect("a list").clone()
    };
    let host = Host::try_start_with(&data, &[], &with_key).expect("a host");
    assert_eq!(degraded(&host), Vec::<Value>::new());
    let (status, set) = Client::new(&host).send(
        "PUT",
        "/v1/state/kyle/secret%2Ffeed",
        &json!({"value": "s3cr3t", "updated_by": "ada"}),
    );
    assert_eq!(status, 200, "{set}");
    assert_eq!(host.terminate(), Some(0));

    let host = Host::try_start_with(&data, &[], &[]).expect("a host that judges all the same");
    let expected = "the database holds 1 secret that no agent can read: the host was started without their key; restart it with ARK_SECRET_KEY_FILE naming the file of the key";
    assert_eq!(degraded(&host), [json!(expected)]);
    let log = host.terminate_for_log();
    assert!(log.contains(expected), "{log}");

    let check = |environment: &[(&str, &str)]| {
        let checked = ark(
            dir.path(),
            "",
            &[
                "check",
                "--json",
                "--data-dir",
                data.to_str().expect("UTF-8"),
            ],
            environment,
        );
        let report: Value = serde_json::from_str(&printed(&checked)).expect("JSON");
        let lines = report["lines"].as_array().expect("lines").clone();
        let line = lines.into_iter().find(|line| line["check"] == "secret-key");
        line.expect("a line of the key")
    };
    let line = check(&[]);
    assert_eq!(line["status"], "error", "{line}");
    assert!(
        line["found"]
            .as_str()
            .is_some_and(|found| found.contains("the database holds 1 secret that no agent")),
        "{line}"
    );
    let line = check(&with_key);
    assert_eq!(line["status"], "ok", "{line}");
    let host = Host::try_start_with(&data, &[], &with_key).expect("a host");
    assert_eq!(degraded(&host), Vec::<Value>::new());
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn start_errors_name_the_key_or_the_flag() {
    let dir = TestDir::new("");
    let host = dir.start();
    let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let write = |name: &str, text: &str| {
        let path = at(name);
        fs::write(&path, text).expect("a configuration");
        path
    };
    let free = [
        "--listen",
        "127.0.0.1:0",
        "--telemetry-listen",
        "off",
        "--data-dir",
    ];
    let serve = |args: &[&str]| {
        let data = at("other");
        let mut all = vec!["serve"];
        all.extend(free);
        all.extend([data.as_str()]);
        // Of a flag that is given twice clap takes none: what a case gives stands in the place of the flag.
        if args[0].contains("listen") {
            let place = all.iter().position(|one| *one == args[0]).expect("a flag");
            all[place + 1] = args[1];
        } else {
            all.extend(args);
        }
        let output = ark(dir.path(), "", &all, &[]);
        assert!(!output.status.success(), "{args:?}");
        said(&output)
    };
    let (missing, agents, policy, unquoted, policies) = (
        at("missing.toml"),
        write("agents.toml", "agents_dir = \"nowhere\"\n"),
        write("policy.toml", "[[policies]]\nfile = \"house.wasm\"\n"),
        write("unquoted.toml", "listen = 127.0.0.1:1\n"),
        write("policies.toml", "policies_dir = \"nowhere\"\n"),
    );
    for (args, words) in [
        (
            ["--config", missing.as_str()],
            &[
                "missing.toml cannot be read: No such file",
                "correct --config",
            ][..],
        ),
        (
            ["--config", agents.as_str()],
            &["the agents' directory nowhere", "correct agents_dir"],
        ),
        (
            ["--config", policy.as_str()],
            &["policies[0]: `sha256` is missing", "sha256sum FILE"],
        ),
        (
            ["--config", unquoted.as_str()],
            &["a text stands in quotes: listen = \"127.0.0.1:1\""],
        ),
        (
            ["--config", policies.as_str()],
            &["nowhere: the directory cannot be read", "policies_dir"],
        ),
        (
            ["--graveyard", "nowhere"],
            &[
                "the Graveyard's file nowhere cannot be read",
                "correct graveyard",
            ],
        ),
        (
            ["--listen", host.address.as_str()],
            &[
                "cannot listen on",
                "give another address with `listen` (--listen, ARK_LISTEN)",
            ],
        ),
        (
            ["--telemetry-listen", host.address.as_str()],
            &[
                "cannot listen on",
                "for telemetry",
                "give another address with `telemetry_listen`",
            ],
        ),
    ] {
        let told = serve(&args);
        for words in words {
            assert!(told.contains(words), "{args:?}: {words}\n{told}");
        }
    }
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_field_of_the_command_line_has_one_name() {
    let dir = TestDir::new("");
    for (args, told) in [
        (
            &["--role", "submitter", "--actions", "*"][..],
            "ark: --agent: is missing; name the agents in whose names it may propose\n",
        ),
        (
            &["--role", "submitter", "--agent", "kyle"],
            "ark: --actions: is missing; give [\"*\"] for all, or the action types and families it may propose\n",
        ),
    ] {
        let data = dir.data();
        let data = data.to_str().expect("UTF-8");
        let create = [
            &["token", "create", "--name", "x", "--data-dir", data],
            args,
        ]
        .concat();
        assert_eq!(said(&ark(dir.path(), "", &create, &[])), told);
    }
    let restore = ark(
        dir.path(),
        "",
        &["state", "restore", "nowhere", "--data-dir", "other"],
        &[],
    );
    assert_eq!(
        said(&restore),
        "ark: there is no snapshot at nowhere: there is no such directory; name a directory that `ark state snapshot` made\n"
    );
}

#[test]
fn a_project_in_rust_is_explained_and_an_agent_is_not_told_why_it_is_no_policy() {
    let dir = TestDir::new("");
    let sdk = checkout_path("guest-sdk");
    let sdk = sdk.to_str().expect("UTF-8");
    let new = ark(dir.path(), "", &["agent", "new", "mine", "--sdk", sdk], &[]);
    assert!(new.status.success(), "{}", said(&new));
    let readme = fs::read_to_string(dir.path().join("mine/README.md")).expect("a README");
    assert!(readme.starts_with("# mine\n"), "{readme}");
    for line in readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
    {
        assert!(
            dir.path().join("mine").join(line).exists(),
            "the README names {line}"
        );
    }
    let component = guests_dir().join("kyle.wasm");
    let shown = ark(
        dir.path(),
        "",
        &["inspect", component.to_str().expect("UTF-8")],
        &[],
    );
    let shown = printed(&shown);
    assert!(shown.contains("as an agent: would be loaded"), "{shown}");
    assert!(
        shown.ends_with("as a policy: would be refused\n"),
        "{shown}"
    );
}
