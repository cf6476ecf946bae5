//! The canary of `docs/production.md`, run as it stands there, on a machine whose paths are below a directory and whose `systemctl` is a script. A test
//! gives it other places and a shorter time, by the list [`list_replacements`], and nothing else: options, commands and output are those of the page.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use ark_tests::{ark_program, wait_until};

use super::stage::{CanaryFixture, script};
use crate::docs::pages::read_tested_blocks;
use crate::docs::shell::find_missing_line;

const PAGE: &str = "docs/production.md";
/// How the fence of the block names this test.
const TEST: &str = "production/canary/guide.rs";
/// Bounds of a machine that may be slow, and whose clients then wait. What the page has is not about them.
const BOUNDS: &str = "--max-p95 20000 --idle-checks 1000 --take-over-timeout 240";

/// Where the directories of the guide's machine are.
fn machine(stage: &CanaryFixture) -> PathBuf {
    stage.dir.path().join("machine")
}

/// What the page names, and what stands for it here.
fn list_replacements(stage: &CanaryFixture) -> Vec<(&'static str, String)> {
    let at = |path: PathBuf| path.display().to_string();
    let root = machine(stage);
    vec![
        ("/run/haproxy/admin.sock", at(stage.haproxy.socket.clone())),
        ("http://127.0.0.1:9091", stage.prometheus.url.clone()),
        ("/opt/ark-", at(root.join("opt/ark-"))),
        ("/usr/bin/ark", at(root.join("usr/bin/ark"))),
        ("/var/lib/ark", at(stage.dir.data())),
        ("/var/backups/ark", at(root.join("snapshots"))),
        ("--step 600", "--step 2".to_owned()),
        ("--interval 30", "--interval 1".to_owned()),
    ]
}

/// The command of the page for this stage. It has no path of another place any more.
fn place_on_stage(stage: &CanaryFixture, commands: &str) -> String {
    let mut text = commands.trim_end().to_owned();
    let mut rest = text.clone();
    for (named, here) in list_replacements(stage) {
        assert!(text.contains(named), "the page does not name {named}");
        text = text.replace(named, &here);
        rest = rest.replace(named, "");
    }
    let elsewhere = [" /", "'/", "http:"].iter().find(|it| rest.contains(**it));
    assert_eq!(elsewhere, None, "nothing stands for a place in {rest}");
    text
}

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(path, text).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Makes the machine of the guide: two versions below `/opt`, the stable one in its place, and a `systemctl` that starts what stands there.
fn make_machine(stage: &CanaryFixture) {
    let root = machine(stage);
    let ark = ark_program().display().to_string();
    let stable = format!("#!/bin/sh\nexec {ark} \"$@\"\n");
    let new = fs::read_to_string(stage.dir.path().join("new-ark")).expect("the new version");
    write_program(&root.join("opt/ark-1.0.0/ark"), &stable);
    write_program(&root.join("opt/ark-2.0.0/ark"), &new);
    write_program(&root.join("usr/bin/ark"), &stable);
    fs::create_dir(root.join("snapshots")).expect("a directory");
    // The unit starts the program in its place, whatever version that is.
    let start = fs::read_to_string(stage.dir.path().join("start.sh")).expect("a script");
    let program = root.join("usr/bin/ark").display().to_string();
    let unit = start.replace(&format!("{ark} serve"), &format!("{program} serve"));
    assert_ne!(unit, start);
    write_program(&root.join("unit.sh"), &unit);
    // As for a unit of `Type=notify`, a start succeeds when the host serves, and fails when it ends before.
    let systemctl = format!(
        "#!/bin/sh\necho \"$*\" >>{orders}\ncase \"$*\" in\n\
         'stop ark') exec sh {stop} ;;\n\
         'start ark') {unit}\n\
         until {ark} health --ready --url http://{owner} >/dev/null 2>&1; do\n\
         {runs} $(cat {pid}) || exit 1\nsleep 0.05\ndone\nexit 0 ;;\nesac\nexit 5\n",
        orders = root.join("orders").display(),
        unit = root.join("unit.sh").display(),
        stop = stage.dir.path().join("stop.sh").display(),
        owner = stage.owner,
        runs = script(&stage.dir, "runs"),
        pid = stage.dir.path().join("pid").display(),
    );
    write_program(&root.join("bin/systemctl"), &systemctl);
}

/// The command of a script, in which the programs of the machine come first.
fn run_script(stage: &CanaryFixture, script: &str) -> (bool, String) {
    let directory = ark_program().parent().expect("a directory").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [machine(stage).join("bin"), directory]
        .into_iter()
        .chain(std::env::split_paths(&path));
    let output = Command::new("bash")
        .args(["-c", &format!("exec 2>&1\nset -euo pipefail\n{script}")])
        .current_dir(machine(stage))
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .env("ARK_URL", format!("http://{}", stage.owner))
        .env("XDG_STATE_HOME", stage.dir.path().join("state"))
        .output()
        .expect("bash starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), printed)
}

/// The program of the host that serves.
fn serving_program(stage: &CanaryFixture) -> PathBuf {
    let pid = fs::read_to_string(stage.dir.path().join("pid")).expect("a process id");
    fs::read_link(format!("/proc/{}/exe", pid.trim())).expect("a program")
}

/// Runs the canary of the page under load. Returns whether it has succeeded, what it prints, and what the page says that it prints.
fn run_guide(stage: &CanaryFixture) -> (bool, String, String) {
    let blocks = read_tested_blocks(PAGE, TEST);
    let [block] = &blocks[..] else {
        panic!("{PAGE}: {} blocks name {TEST}", blocks.len())
    };
    // It has the time before.
    LazyLock::force(&stage.prometheus);
    let script = format!("{} {BOUNDS}", place_on_stage(stage, &block.commands));
    let ((has_succeeded, printed), decided) = stage.under_load(|| {
        wait_until("there is a baseline", || stage.judged_by_stable() > 100.0);
        run_script(stage, &script)
    });
    println!("{script}\n{printed}");
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
    (has_succeeded, printed, block.output.clone())
}

/// What `systemctl` was told.
fn list_orders(stage: &CanaryFixture) -> String {
    fs::read_to_string(machine(stage).join("orders")).expect("orders")
}

#[test]
fn the_canary_of_the_guide_gives_the_new_version_requests_and_data() {
    let stage = CanaryFixture::start("", "");
    make_machine(&stage);
    let (has_succeeded, printed, expected) = run_guide(&stage);
    assert!(has_succeeded, "{printed}");
    assert!(!expected.is_empty(), "the page shows what it prints");
    assert_eq!(find_missing_line(&expected, &printed), None, "{printed}");
    stage.assert_weights(0, 256);
    let program = serving_program(&stage);
    assert!(program.ends_with("ark-next"), "{}", program.display());
    assert_eq!(list_orders(&stage), "stop ark\nstart ark\n");
}

#[test]
fn the_canary_of_the_guide_brings_the_stable_version_back() {
    let stage = CanaryFixture::start("", "");
    make_machine(&stage);
    let new = machine(&stage).join("opt/ark-2.0.0/ark");
    let program = fs::read_to_string(&new).expect("a program");
    let broken = "\nif [ \"$1\" = serve ]; then exit 7; fi\n";
    write_program(&new, &program.replacen('\n', broken, 1));
    let (has_succeeded, printed, _) = run_guide(&stage);
    assert!(!has_succeeded, "{printed}");
    assert!(
        printed.contains("2.0.0 went BACK (take-over): "),
        "{printed}"
    );
    stage.assert_weights(100, 0);
    let program = serving_program(&stage);
    assert_eq!(program.file_name(), ark_program().file_name(), "{printed}");
    let orders = list_orders(&stage);
    assert!(orders.ends_with("stop ark\nstart ark\n"), "{orders}");
    assert_eq!(orders.matches("start ark").count(), 2, "{orders}");
}
