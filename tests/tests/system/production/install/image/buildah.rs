//! A real buildah with images of its own, and programs that it runs in them: with the user, the environment and the files of the image, and on the
//! network of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ark_tests::artefacts::checkout_path;
use ark_tests::wait_for;
use rustix::process::{Pid, Signal, kill_process};

/// The moment that all files of the image have, in seconds since 1970.
pub(super) const MOMENT: &str = "1700000000";

/// A buildah with images of its own. They go with it.
pub(super) struct Buildah {
    dir: tempfile::TempDir,
}

impl Buildah {
    /// Layers are on overlayfs where that is possible; where the directory itself is on one, they are copies.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let buildah = Self { dir };
        for driver in ["overlay", "vfs"] {
            let text = format!(
                "[storage]\ndriver = \"{driver}\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
                buildah.path(driver).display(),
                buildah.path("run").display()
            );
            fs::write(buildah.path("storage.conf"), text).expect("a file");
            let found = buildah.command("buildah").arg("images").output();
            let found = found.expect("buildah; install it with `apt-get install buildah`");
            if found.status.success() {
                return buildah;
            }
        }
        panic!(
            "buildah can keep no images in {}",
            buildah.path("").display()
        );
    }

    /// A path in a directory that goes with the images.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that sees these images.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("BUILDAH_ISOLATION", "chroot")
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        command
    }

    /// Runs a command of buildah, and returns what it prints.
    pub(super) fn run(&self, args: &[&str]) -> String {
        finish(self.command("buildah").args(args))
    }

    /// Makes an image of a root file system.
    pub(super) fn import(&self, root: &Path, name: &str, architecture: &str) {
        self.import_configured(root, name, architecture, &[]);
    }

    /// Makes an image of a root file system. `settings` are options of `buildah config`.
    pub(super) fn import_configured(
        &self,
        root: &Path,
        name: &str,
        architecture: &str,
        settings: &[String],
    ) {
        let container = self.run(&["from", "--arch", architecture, "scratch"]);
        let mounted = self.run(&["mount", &container]);
        let contents = format!("{}/.", root.display());
        finish(Command::new("cp").args(["-a", &contents, &mounted]));
        self.run(&["umount", &container]);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let common = ["config", "--os=linux", "--arch", architecture];
        self.run(&[&common[..], &settings, &[container.as_str()]].concat());
        self.run(&["commit", "--quiet", "--rm", &container, name]);
    }

    /// `cargo xtask image` with the version and the moment of these tests.
    pub(super) fn image_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(checkout_path("target/debug/xtask"));
        command
            .args(["image", "--version=9.9.9"])
            .args(args)
            .current_dir(checkout_path(""))
            .env("SOURCE_DATE_EPOCH", MOMENT);
        command
    }

    /// Makes a container of an image. Returns its id, and where its files are.
    pub(super) fn make_container(&self, image: &str) -> (String, PathBuf) {
        let container = self.run(&["from", "--pull-never", image]);
        let files = PathBuf::from(self.run(&["mount", &container]));
        (container, files)
    }

    /// A command that runs the program of a container as the image's user, without any capability. `options` are those of `buildah run`.
    pub(super) fn program(&self, container: &str, options: &[String], args: &[&str]) -> Command {
        let mut command = self.command("buildah");
        command
            .args(["run", "--cap-drop=all"])
            .args(options)
            .args([container, "--", "/usr/bin/ark"])
            .args(args);
        command
    }
}

/// Runs a command to its end, which is a success, and returns what it prints.
pub(super) fn finish(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The processes that a process started.
fn list_children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let lists = threads.flatten().map(|thread| {
        let list = fs::read_to_string(thread.path().join("children"));
        list.unwrap_or_default()
    });
    let lists: Vec<String> = lists.collect();
    let ids = lists.iter().flat_map(|list| list.split_whitespace());
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// The `ark` that a process or one of its descendants became.
fn find_program(process: u32) -> Option<u32> {
    let program = fs::read_link(format!("/proc/{process}/exe"));
    if program.is_ok_and(|program| program.ends_with("usr/bin/ark")) {
        return Some(process);
    }
    list_children(process).into_iter().find_map(find_program)
}

/// A program that runs in a container. It is ended with the test.
pub(super) struct Contained {
    engine: Child,
    /// The id of its process on this machine.
    pub(super) id: u32,
}

impl Contained {
    /// Starts a command of [`Buildah::program`] and waits until the program itself runs.
    pub(super) fn start(mut command: Command) -> Self {
        let mut engine = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("buildah starts");
        let id = wait_for("the program of the image runs", || {
            let ended = engine.try_wait().expect("its status");
            assert_eq!(ended, None, "{command:?} ended");
            find_program(engine.id())
        });
        Self { engine, id }
    }

    fn send(&self, signal: Signal) -> bool {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        id.is_some_and(|id| kill_process(id, signal).is_ok())
    }

    /// Ends the program as a container engine does. Returns its exit status.
    pub(super) fn terminate(mut self) -> Option<i32> {
        assert!(self.send(Signal::TERM), "the program runs");
        self.engine.wait().expect("its end").code()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // A process that ended is waited for by the engine, so its id is nobody else's while the engine runs.
        if let Ok(None) = self.engine.try_wait() {
            let _ = self.send(Signal::KILL);
        }
        let _ = self.engine.wait();
    }
}
