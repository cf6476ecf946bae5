//! Small uploads that declare, or would become, something enormous: each is refused in bounded time and memory, and others are served
//! meanwhile.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_tests::{Client, Host, base64, sha256, trade, wait_until};
use serde_json::{Value, json};

/// How long an upload may take to be refused, on a busy machine.
const LONGEST: Duration = Duration::from_secs(60);
/// How much the host may grow by, in KiB, over all of them.
const GROWTH: u64 = 1_500_000;

fn write_module(inside: &str) -> Vec<u8> {
    let text = format!("(component (core module $m {inside}) (core instance (instantiate $m)))");
    wat::parse_str(text).expect("a component")
}

fn repeat_part(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, index| {
        let _ = write!(text, "{}", each(index));
        text
    })
}

/// The most memory the host ever had, in KiB.
fn read_peak_memory(host: &Host) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

fn upload_component(host: &Host, component: &[u8]) -> (u16, Value) {
    let manifest = json!({
        "name": "bomb", "version": "1.0.0", "component": "bomb.wasm", "sha256": sha256(component), "topics": ["bomb.go"],
    });
    let body = json!({"manifest": manifest, "component": base64(component)}).to_string();
    let headers = [("Content-Type", "application/json")];
    let (status, _, answer) = Client::new(host)
        .request("PUT", "/v1/agents/bomb", &headers, body.as_bytes())
        .expect("an answer");
    (status, serde_json::from_slice(&answer).expect("a problem"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of components")]
fn small_components_that_declare_much_are_refused_while_others_are_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let before = read_peak_memory(&host);
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}{}", open.repeat(depth), close.repeat(depth))
    };
    // What is declared, and what the refusal must name, where it is the host that refuses before it compiles.
    let bombs: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "a million functions",
            write_module(&repeat_part(500_000, |_| "(func)".to_owned())),
            "functions",
        ),
        (
            "functions of nothing but locals",
            write_module(&format!(
                "(func (local {})){}",
                "i64 ".repeat(50_000),
                repeat_part(200, |_| format!("(func (local {}))", "i64 ".repeat(40_000)))
            )),
            "local variables",
        ),
        (
            "types",
            write_module(&repeat_part(200_000, |_| {
                "(type (func (param i32 i64 f32 f64)))".to_owned()
            })),
            "types",
        ),
        (
            "globals",
            write_module(&repeat_part(200_000, |_| {
                "(global i64 (i64.const 0))".to_owned()
            })),
            "globals",
        ),
        (
            "segments of data",
            write_module(&format!(
                "(memory 1){}",
                repeat_part(90_000, |_| "(data (i32.const 0) \"x\")".to_owned())
            )),
            "segments of data",
        ),
        (
            "exports",
            write_module(&format!(
                "(func $f){}",
                repeat_part(90_000, |index| format!("(export \"{index}\" (func $f))"))
            )),
            "exports",
        ),
        (
            "instances",
            wat::parse_str(format!(
                "(component (core module $m (memory 1000)) {})",
                repeat_part(50_000, |_| "(core instance (instantiate $m))".to_owned())
            ))
            .expect("a component"),
            "instances",
        ),
        (
            "all the memory there can be",
            write_module("(memory 65536)"),
            "",
        ),
        (
            "a table of four thousand million elements",
            write_module("(table 4294967295 funcref)"),
            "",
        ),
        (
            "data beyond its memory",
            write_module("(memory 1) (data (i32.const 2147483647) \"x\")"),
            "",
        ),
        (
            "blocks in blocks",
            write_module(&format!("(func {})", nested("(block ", ")", 20_000))),
            "",
        ),
        (
            "components in components",
            wat::parse_str(nested("(component ", ")", 90)).expect("a component"),
            "",
        ),
        (
            "a type that doubles with every line",
            wat::parse_str(format!(
                "(component (type $t0 (tuple u8 u8)) {})",
                repeat_part(60, |index| format!(
                    "(type $t{} (tuple $t{index} $t{index}))",
                    index + 1
                ))
            ))
            .expect("a component"),
            "",
        ),
    ];
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (host, served) = (&host, &served);
        let other = scope.spawn(move || {
            let mut slowest = Duration::ZERO;
            while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let began = Instant::now();
                let (status, answer) =
                    Client::new(host).post("/v1/actions?dry_run=true", &trade("X", 0.01));
                assert_eq!(status, 200, "{answer}");
                slowest = slowest.max(began.elapsed());
                served.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
            slowest
        });
        for (what, component, named) in &bombs {
            let began = Instant::now();
            let (status, problem) = upload_component(host, component);
            assert_eq!(status, 422, "{what}: {problem}");
            assert!(began.elapsed() < LONGEST, "{what}: {:?}", began.elapsed());
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(named), "{what}: {detail}");
            // However fast the machine is, others go on being served after each.
            let before = served.load(Ordering::SeqCst);
            wait_until(&format!("another client is served after {what}"), || {
                served.load(Ordering::SeqCst) > before || other.is_finished()
            });
        }
        drop(done);
        let slowest = other.join().expect("the other client");
        assert!(served.load(Ordering::SeqCst) >= bombs.len(), "{served:?}");
        assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    });
    let grown = read_peak_memory(&host).saturating_sub(before);
    assert!(grown < GROWTH, "the host grew by {grown} KiB");
    let (_, agents) = Client::new(&host).get("/v1/agents");
    assert_eq!(agents["agents"], json!([]));
    assert_eq!(host.terminate(), Some(0));
}
