//! The memory limit of the control group that this process lives in, as the kernel tells it: version 2, or version 1 where there is no other.
//!
//! A group's limit counts for all groups below it, so the lowest on the way to the root is the one. In a container the group's own path is hidden and its limit stands at the root.

use std::path::{Path, PathBuf};

/// Where the hierarchies are mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// What version 1 says where there is no limit is a little less than this.
const NO_LIMIT: u64 = 1 << 62;

/// The limit in bytes; `None` without one.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    limit_below(&std::fs::read_to_string("/proc/self/cgroup").ok()?, Path::new(MOUNT))
}

/// The lowest limit of the groups that `membership`, the text of `/proc/self/cgroup`, names.
fn limit_below(membership: &str, mount: &Path) -> Option<u64> {
    let lines = membership.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        match (number, controllers) {
            ("0", "") => Some((mount.to_owned(), path, "memory.max")),
            _ if is_memory => Some((mount.join("memory"), path, "memory.limit_in_bytes")),
            _ => None,
        }
    });
    lines.filter_map(|(root, path, file)| lowest(&root, path, file)).min()
}

fn lowest(root: &Path, path: &str, file: &str) -> Option<u64> {
    let group: PathBuf = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(root));
    let limits = groups.filter_map(|group| std::fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok());
    limits.filter(|limit| *limit < NO_LIMIT).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hierarchy with these files.
    fn hierarchy(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        let root = hierarchy(&[("memory.max", "max\n"), ("pods/memory.max", "1073741824\n"), ("pods/one/memory.max", "max\n")]);
        assert_eq!(limit_below("0::/pods/one\n", root.path()), Some(1 << 30));
        assert_eq!(limit_below("0::/other\n", root.path()), None);
    }

    #[test]
    fn a_container_sees_its_limit_at_the_root() {
        let root = hierarchy(&[("memory.max", "536870912\n")]);
        assert_eq!(limit_below("0::/\n", root.path()), Some(512 << 20));
        assert_eq!(limit_below("0::/../elsewhere\n", root.path()), Some(512 << 20), "a path out of sight");
    }

    #[test]
    fn the_first_version_says_a_large_number_for_none() {
        let root = hierarchy(&[("memory/memory.limit_in_bytes", "9223372036854771712\n"), ("memory/docker/x/memory.limit_in_bytes", "268435456\n")]);
        let membership = |path: &str| format!("5:cpu,cpuacct:{path}\n4:memory:{path}\n0::/\n");
        assert_eq!(limit_below(&membership("/docker/x"), root.path()), Some(256 << 20));
        assert_eq!(limit_below(&membership("/docker/y"), root.path()), None);
    }

    #[test]
    fn nonsense_is_no_limit() {
        let root = hierarchy(&[("memory.max", "much\n")]);
        assert_eq!(limit_below("0::/\nx\n1:memory\n", root.path()), None);
    }
}
