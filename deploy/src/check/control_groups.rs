//! The control groups that a process is in, from its own to the outermost that is seen.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
pub(super) const GROUPS: &str = "/sys/fs/cgroup";

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ControlGroup {
    /// Its path below the outermost one.
    path: PathBuf,
    dir: PathBuf,
}

impl ControlGroup {
    /// The group in words.
    pub(super) fn describe(&self) -> String {
        format!("the control group /{}", self.path.display())
    }

    /// Reads a number of the group; `None`: it has none, or no limit ("max" is no number).
    pub(super) fn read_number(&self, file: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join(file)).ok()?;
        text.trim().parse().ok()
    }
}

/// Reads the table of the groups of a process; `None`: of this one.
pub(super) fn read_group_table(pid: Option<u32>) -> Option<String> {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    fs::read_to_string(format!("/proc/{process}/cgroup")).ok()
}

/// Lists the groups around a process that have a controller. `table`: that of its groups, `root`: where they are mounted.
pub(super) fn list_groups(controller: &str, table: &str, root: &Path) -> Vec<ControlGroup> {
    let Some((mount, path)) = find_group(controller, table, root) else {
        return Vec::new();
    };
    // In a container the table may name the path that the machine sees, of which only the outermost directory is there.
    let path = Path::new(path.trim_start_matches('/'));
    let groups = path.ancestors().map(|group| ControlGroup {
        path: group.to_owned(),
        dir: mount.join(group),
    });
    groups.collect()
}

/// Where the groups with the controller are mounted, and the path of a process below that. Version 1 has a directory of the controller's name.
fn find_group<'a>(controller: &str, table: &'a str, root: &Path) -> Option<(PathBuf, &'a str)> {
    let mut unified = None;
    for line in table.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers.split(',').any(|name| name == controller) {
            return Some((root.join(controller), path));
        }
        if number == "0" {
            unified = Some((root.to_owned(), path));
        }
    }
    unified
}
