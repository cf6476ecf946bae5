//! Agents in Python, JavaScript and Rust, as a newcomer makes them: from the templates, with the toolchains that the commands install, on a real
//! host. What each costs is printed as a table.
//!
//! `ARK_LANGUAGE_SIGNALS=1000` hands each agent so many signals.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ark_tests::artefacts::checkout_path;
use ark_tests::telemetry::series_value;
use ark_tests::{
    Client, Host, TestDir, ark_program, post_signal, take_turn, wait_for_trace, wait_until,
};
use serde_json::{Value, json};

use crate::journeys::{JourneyStep, record_steps};

/// How many signals each agent handles.
const SIGNALS: u32 = 50;

fn run_ark_in(dir: &Path, args: &[&str]) -> Output {
    Command::new(ark_program())
        .args(args)
        .current_dir(dir)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("ARK_LANGUAGE_SIGNALS")
        .output()
        .expect("ark starts")
}

/// Runs a command that must succeed, and returns what it printed.
fn run_successfully(dir: &Path, args: &[&str]) -> String {
    let output = run_ark_in(dir, args);
    let text = read_stdout(&output);
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

fn read_stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn count_signals() -> u32 {
    std::env::var("ARK_LANGUAGE_SIGNALS").map_or(SIGNALS, |text| text.parse().expect("a number"))
}

/// What an agent costs.
struct Cost {
    language: &'static str,
    bytes: u64,
    first_test: Duration,
    upload: Duration,
    invocations_per_second: f64,
    fuel: f64,
    memory: f64,
    /// By how much the host grew with the agent, in KiB.
    resident_kib: i64,
    /// The same of its address space.
    virtual_kib: i64,
}

/// Makes, tests and uploads the agent of a language, and hands it signals. `make_signal` returns topic and payload of a signal.
fn follow_journey(
    language: &'static str,
    test_dir: &TestDir,
    host: &Host,
    make_signal: impl Fn(u32) -> (String, Value),
) -> Cost {
    let name = language;
    let dir = test_dir.path();
    let sdk = checkout_path("guest-sdk");
    let sdk = sdk.to_str().expect("UTF-8");
    let mut new = vec!["agent", "new", name, "--lang", language];
    if language == "rust" {
        new.extend(["--sdk", sdk]);
    }
    run_successfully(dir, &new);
    let started = Instant::now();
    let tested = run_successfully(dir, &["agent", "test", name]);
    let first_test = started.elapsed();
    assert!(tested.contains("APPROVED"), "{tested}");
    let project = dir.join(name);
    let component = std::fs::metadata(project.join(format!("dist/{name}.wasm")));
    let manifest = format!("{name}/dist/{name}.toml");
    let kib = |field| host.memory_kib(field).cast_signed();
    let before = (kib("VmRSS"), kib("VmSize"));
    let started = Instant::now();
    let address = format!("http://{}", host.address);
    run_successfully(
        dir,
        &[
            "agent", "upload", &manifest, "--url", &address, "--reason", "a test",
        ],
    );
    let upload = started.elapsed();
    let mut client = Client::new(host);
    let count = count_signals();
    let started = Instant::now();
    for number in 0..count {
        let (topic, payload) = make_signal(number);
        post_signal(&mut client, &topic, &payload);
    }
    let path = format!("/v1/agents/{name}");
    wait_until("the signals are handled", || {
        let (_, agent) = client.get(&path);
        assert_eq!(agent["failed"], 0, "{agent:#}");
        agent["handled"] == json!(count)
    });
    let elapsed = started.elapsed();
    let metrics = Client::of_telemetry(host).get_text("/metrics");
    let series = |metric: &str| {
        let series = format!("{metric}{{agent=\"{name}\",deployment=\"stable\"}}");
        series_value(&metrics, &series).unwrap_or_else(|| panic!("{series} in {metrics}"))
    };
    Cost {
        language,
        bytes: component.expect("a component").len(),
        first_test,
        upload,
        invocations_per_second: f64::from(count) / elapsed.as_secs_f64(),
        fuel: series("ark_agent_fuel_total") / f64::from(count),
        memory: series("ark_agent_memory_peak_bytes"),
        resident_kib: kib("VmRSS") - before.0,
        virtual_kib: kib("VmSize") - before.1,
    }
}

#[test]
fn agents_of_three_languages_are_made_tested_uploaded_and_handle_signals() {
    let _turn = take_turn();
    let dir = TestDir::new("[limits]\ndeadline_ms = 60000\n");
    let host = dir.start();
    let tick = |name: &'static str| {
        move |number: u32| {
            let price = if number.is_multiple_of(2) {
                65_000
            } else {
                64_100
            };
            let payload = json!({"symbol": "BTC-USD", "price": price, "average": 64_000});
            (format!("{name}.tick"), payload)
        }
    };
    let costs = [
        follow_journey("rust", &dir, &host, |_| {
            ("rust.ping".to_owned(), json!({"from": "a test"}))
        }),
        follow_journey("python", &dir, &host, tick("python")),
        follow_journey("javascript", &dir, &host, tick("javascript")),
    ];
    for (place, cost) in costs.iter().enumerate() {
        let step = |name: &str, took: Duration| JourneyStep {
            name: name.to_owned(),
            seconds: took.as_secs_f64(),
        };
        record_steps(
            "author",
            2 + place,
            cost.language,
            &[
                step("ark agent test, which installs the tools", cost.first_test),
                step("ark agent upload", cost.upload),
            ],
        );
    }
    println!(
        "| agent | component | first `ark agent test` | upload | invocations/s | fuel | memory | host grew: resident | virtual |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for cost in &costs {
        println!(
            "| {} | {:.2} MB | {:.0} s | {:.1} s | {:.0} | {:.2} million | {:.1} MiB | {} MiB | {} MiB |",
            cost.language,
            f64::from(u32::try_from(cost.bytes).expect("a size")) / 1e6,
            cost.first_test.as_secs_f64(),
            cost.upload.as_secs_f64(),
            cost.invocations_per_second,
            cost.fuel / 1e6,
            cost.memory / f64::from(1 << 20),
            cost.resident_kib / 1024,
            cost.virtual_kib / 1024,
        );
    }
    // What fails says why, in the language's own words.
    let mut client = Client::new(&host);
    for name in ["python", "javascript"] {
        let payload = json!({"symbol": "BTC-USD", "price": "much", "average": 1});
        let answer = post_signal(&mut client, &format!("{name}.tick"), &payload);
        let trace_id = answer["trace_id"].as_str().expect("a trace id");
        let trace = wait_for_trace(&mut client, trace_id, |trace| {
            trace["pending_deliveries"] == 0
        });
        let reason = trace["steps"][0]["deliveries"][0]["reason"].to_string();
        assert!(reason.contains("price: is"), "{trace:#}");
    }
    any_component_becomes_an_agent(&dir);
    the_sdks_pass_their_own_tests(&dir.path().join("python/.venv/bin/python"));
    assert_eq!(host.terminate(), Some(0));
}

/// Runs the tests of the SDKs, with the packages that the Python agent installed.
fn the_sdks_pass_their_own_tests(python: &Path) {
    let mut pytest = Command::new(python);
    pytest
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(checkout_path("guest-sdk/python"));
    let mut node = Command::new("node");
    node.arg("--test")
        .current_dir(checkout_path("guest-sdk/javascript"));
    for mut tests in [pytest, node] {
        let output = tests.output().expect("the tests start");
        assert!(output.status.success(), "{}", read_stdout(&output));
    }
}

/// A component alone, and no terminal: what is missing is named; given, the manifest is one that a host loads.
fn any_component_becomes_an_agent(dir: &TestDir) {
    let bare = dir.path().join("bare");
    std::fs::create_dir(&bare).expect("a directory");
    std::fs::copy(
        dir.path().join("rust/dist/rust.wasm"),
        bare.join("found.wasm"),
    )
    .expect("a copy");
    for (args, named) in [
        (&["agent", "add", "found.wasm"][..], "--topic"),
        (
            &["agent", "add", "found.wasm", "--topic", "rust.ping"],
            "--grant",
        ),
        (
            &[
                "agent",
                "add",
                "found.wasm",
                "--topic",
                "Not A Topic",
                "--grant",
                "none",
            ],
            "--topic",
        ),
    ] {
        let output = run_ark_in(&bare, args);
        assert!(!output.status.success());
        assert!(
            read_stdout(&output).contains(named),
            "{}",
            read_stdout(&output)
        );
        assert!(!bare.join("rust.toml").exists(), "nothing is half done");
    }
    let add = [
        "agent",
        "add",
        "found.wasm",
        "--topic",
        "rust.ping",
        "--grant",
        "message",
    ];
    run_successfully(&bare, &add);
    assert!(read_stdout(&run_ark_in(&bare, &add)).contains("exists already"));
    let given = ["--topic", "rust.ping", "--payload", r#"{"from": "me"}"#];
    let handled = run_successfully(
        &bare,
        &[&["agent", "run", "rust.toml"][..], &given].concat(),
    );
    assert!(handled.contains("APPROVED"), "{handled}");
}
