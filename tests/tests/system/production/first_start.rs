//! The commands with which `docs/installation.md` puts a host on a machine with systemd, run as they stand there by root, under a real systemd: the package
//! is installed, and its unit is started with all that it keeps from the host, reloaded, stopped, started by its socket, and removed.
//!
//! The machine is this one in namespaces of its own: its files below an overlay whose changes are in memory and end with it, its own processes, network and
//! control groups. Of its units only those of ARK are started, since others would change what is no file. So nothing of this machine is changed, and the
//! ports of the guide are free.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark_tests::programs::find_program;

use super::package::{build_dist, finish};
use crate::docs::pages::read_tested_block;
use crate::docs::shell::find_missing_line;

const PAGE: &str = "docs/installation.md";
/// How the fence of the block names this test.
const TEST: &str = "production/first_start.rs";
/// Makes the machine and becomes its systemd, in namespaces of its own. `$1`: a directory that it shows as `/mnt`; a mount point and a directory for the
/// overlay are in it.
///
/// What would reach beyond the namespaces (settings of the kernel, devices) cannot be written. The units of ARK are started without those that a boot has.
const BOOT: &str = r#"
set -eu
dir=$1 root=$1/machine layer=$1/layer
mount -t tmpfs -o size=4g,mode=0755 tmpfs "$layer"
mkdir "$layer/changes" "$layer/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/changes,workdir=$layer/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
for name in run tmp dev; do mount -t tmpfs -o size=1g,mode=0755 tmpfs "$root/$name"; done
chmod 1777 "$root/tmp"
for name in null zero full random urandom tty; do cp -a "/dev/$name" "$root/dev/$name"; done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
mount -t tmpfs -o size=1m,mode=0755 tmpfs "$root/sys/fs/cgroup"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mkdir "$root/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi
mount --bind "$dir/shown" "$root/mnt"
units=$root/etc/systemd/system
mkdir -p "$units/ark.service.d" "$units/ark.socket.d"
printf '[Unit]\nDefaultDependencies=no\n' >"$units/ark.socket.d/alone.conf"
# There is no journal.
printf '[Unit]\nDefaultDependencies=no\n[Service]\nStandardOutput=append:/mnt/log\nStandardError=inherit\n' >"$units/ark.service.d/alone.conf"
ln -sf /dev/null "$units/network-online.target"
cat >"$units/guide.service" <<'END'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
WorkingDirectory=/mnt/dist
ExecStart=/bin/bash -euo pipefail /mnt/commands
ExecStopPost=/bin/sh -c 'echo $EXIT_STATUS >/mnt/status; exec systemctl --force exit'
StandardOutput=file:/mnt/printed
StandardError=inherit
END
# A process below another root (chroot) may make no namespace of users, which the unit asks for; and what systemd mounts for a service is seen by it
# where mounts are shared.
cd "$root"
mkdir .before
pivot_root . .before
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot . sh -c '
    umount --lazy /.before
    mount --make-rshared /
    exec /lib/systemd/systemd --unit=guide.service --show-status=0 </dev/null'
"#;
/// The longest time for all of it: a bound against waiting for ever.
const PATIENCE: &str = "600";

/// A copy of this machine that a systemd boots, whose commands a test gives.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// One that shows the files of a distribution in `/mnt/dist`.
    fn prepare() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["machine", "layer", "shown"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        // Users of the machine go through it.
        for name in ["", "shown"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(dir.path().join(name), mode).expect("its mode");
        }
        build_dist(&dir.path().join("shown/dist"));
        Self { dir }
    }

    fn shown(&self, name: &str) -> PathBuf {
        self.dir.path().join("shown").join(name)
    }

    /// What the machine wrote into a file of the directory that it shows.
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.shown(name)).unwrap_or_default()
    }

    /// Boots the machine, runs commands in one shell and ends it. Returns what they print; they succeed.
    fn run(&self, commands: &str) -> String {
        fs::write(self.shown("commands"), commands).expect("commands");
        let booted = Command::new("timeout")
            .args(["--signal=KILL", PATIENCE, "unshare"])
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup"])
            .args(["--fork", "--kill-child", "sh", "-c", BOOT, "boot"])
            .arg(self.dir.path())
            .output()
            .expect("timeout and unshare start");
        let said = String::from_utf8_lossy(&booted.stderr).into_owned() + &self.read("log");
        let printed = self.read("printed");
        assert_eq!(self.read("status").trim(), "0", "{printed}{said}");
        printed
    }
}

/// The lines `NAME:VALUE` or `NAME=VALUE` of a text.
fn read_pairs(text: &str, sign: char) -> BTreeMap<&str, &str> {
    let pairs = text.lines().filter_map(|line| line.split_once(sign));
    pairs.map(|(name, value)| (name, value.trim())).collect()
}

/// Whether this process may make the machine; says so otherwise.
fn may_make_machines() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        for (program, package) in [("systemctl", "systemd"), ("sudo", "sudo")] {
            finish(find_program(program, package).arg("--version"));
        }
        assert!(Path::new("/lib/systemd/systemd").exists(), "systemd");
    } else {
        println!("skipped: only root can have a machine of its own");
    }
    is_root
}

#[test]
fn the_commands_of_the_guide_put_a_host_on_a_machine() {
    if !may_make_machines() {
        return;
    }
    let block = read_tested_block(PAGE, TEST);
    let machine = Machine::prepare();
    // What the guide says besides, in its text.
    let commands = format!(
        "{}\n{}",
        block.commands,
        r"
systemctl show ark -p ActiveState,MainPID,Type,User >/mnt/started
pid=$(systemctl show ark -p MainPID --value)
cat /proc/$pid/status >/mnt/process
stat -c '%U %a' /var/lib/ark /var/backups/ark/first /etc/ark/secret.key >/mnt/owners
systemctl reload ark
ark health --ready
systemctl stop ark
systemctl show ark -p ActiveState,Result,ExecMainStatus >/mnt/stopped
ark health && exit 8
systemctl enable --now ark.socket
systemctl is-active ark && exit 9
# The first connection starts the host, and waits for it.
ark health --ready --timeout 60
systemctl show ark -p ActiveState,MainPID >/mnt/activated
systemctl restart ark
ark health --ready --timeout 60
apt-get remove --yes ark
systemctl show ark -p ActiveState >/mnt/removed
ls -d /var/lib/ark /var/backups/ark/first /etc/ark/env
"
    );
    let printed = machine.run(&commands);
    println!("{printed}");
    assert!(!block.output.is_empty(), "the page shows what it prints");
    assert_eq!(
        find_missing_line(&block.output, &printed),
        None,
        "{printed}"
    );

    let started = machine.read("started");
    let unit = read_pairs(&started, '=');
    assert_eq!(unit["ActiveState"], "active");
    assert_eq!((unit["Type"], unit["User"]), ("notify", "ark"));
    // What the unit keeps from the host is kept from the process.
    let status = machine.read("process");
    let process = read_pairs(&status, ':');
    assert_eq!(process["Name"], "ark");
    assert!(!process["Uid"].split('\t').any(|id| id == "0"), "{status}");
    for (name, value) in [
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(process[name], value, "{name}: {status}");
    }
    let owners = machine.read("owners");
    let owners: Vec<&str> = owners.lines().collect();
    assert_eq!(owners, ["ark 700", "ark 700", "ark 400"]);
    let stopped = machine.read("stopped");
    let stopped = read_pairs(&stopped, '=');
    assert_eq!(stopped["ActiveState"], "inactive");
    assert_eq!(
        (stopped["Result"], stopped["ExecMainStatus"]),
        ("success", "0")
    );
    let activated = machine.read("activated");
    assert_eq!(read_pairs(&activated, '=')["ActiveState"], "active");
    assert_eq!(machine.read("removed").trim(), "ActiveState=inactive");
}
