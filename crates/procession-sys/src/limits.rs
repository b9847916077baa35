//! What the process may use: address space, file size, memory of its control groups.

use std::path::{Path, PathBuf};

fn soft_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `limit` is a live rlimit that the call fills.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit.rlim_cur
}

/// Largest file that this process may make (`RLIMIT_FSIZE`) in bytes; `u64::MAX` without limit.
#[must_use]
pub fn file_size() -> u64 {
    soft_limit(libc::RLIMIT_FSIZE)
}

/// Bytes of address space left under `RLIMIT_AS`; `u64::MAX` without limit.
#[must_use]
pub fn address_space_left() -> u64 {
    let limit = soft_limit(libc::RLIMIT_AS);
    if limit == libc::RLIM_INFINITY {
        return u64::MAX;
    }
    let pages: u64 = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    limit.saturating_sub(pages * crate::map::page_size() as u64)
}

/// Where control groups say how much memory is left.
#[derive(Debug)]
pub struct CgroupMemory {
    root: PathBuf,
    membership: String,
}

impl CgroupMemory {
    /// The groups of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            root: "/sys/fs/cgroup".into(),
            membership: std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        }
    }

    /// Groups under another root, for tests.
    #[must_use]
    pub fn at(root: PathBuf, membership: String) -> Self {
        Self { root, membership }
    }

    /// Bytes left before the tightest of the groups and their ancestors meets its limit
    /// (v1 and v2); None when none has a limit.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.membership
            .lines()
            .filter_map(|line| self.left_of(line))
            .min()
    }

    fn left_of(&self, line: &str) -> Option<u64> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        if controllers.is_empty() {
            let unified = self.root.join("unified");
            let v2 = if unified.is_dir() {
                unified
            } else {
                self.root.clone()
            };
            return tightest(&v2, group, "memory.max", "memory.current");
        }
        if !controllers.split(',').any(|name| name == "memory") {
            return None;
        }
        let v1 = self.root.join("memory");
        tightest(&v1, group, "memory.limit_in_bytes", "memory.usage_in_bytes")
    }
}

/// The least of limit less usage over a group and its ancestors. Inside a container the
/// group's own folder may not be visible: the mount's root then stands for it.
fn tightest(root: &Path, group: &str, limit: &str, usage: &str) -> Option<u64> {
    let mut folder = root.join(group.trim_start_matches('/'));
    let mut least: Option<u64> = None;
    loop {
        if let (Some(limit), Some(usage)) =
            (number(&folder.join(limit)), number(&folder.join(usage)))
        {
            let left = limit.saturating_sub(usage);
            least = Some(least.map_or(left, |known| known.min(left)));
        }
        if folder == root || !folder.pop() {
            return least;
        }
    }
}

/// A file that holds one number; `max` and v1's huge "unlimited" are no number.
fn number(path: &Path) -> Option<u64> {
    const UNLIMITED_FROM: u64 = 1 << 60;
    let value: u64 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (value < UNLIMITED_FROM).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> PathBuf {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("procession-cgroup-{}-{n}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn left(files: &[(&str, &str)], membership: &str) -> Option<u64> {
        let root = tree(files);
        let left = CgroupMemory::at(root.clone(), membership.into()).left();
        std::fs::remove_dir_all(root).unwrap();
        left
    }

    #[test]
    fn an_ancestor_of_v2_may_be_the_tightest() {
        let files = [
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "900\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "10\n"),
        ];
        assert_eq!(left(&files, "0::/a/b\n"), Some(100));
    }

    #[test]
    fn v1_counts_its_memory_controller_only() {
        let files = [
            ("memory/x/memory.limit_in_bytes", "5000"),
            ("memory/x/memory.usage_in_bytes", "1000"),
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
            ("memory/memory.usage_in_bytes", "1"),
        ];
        assert_eq!(left(&files, "4:memory:/x\n3:cpu:/y\n"), Some(4000));
    }

    #[test]
    fn a_hidden_group_leaves_the_mount_root() {
        let files = [("memory.max", "700"), ("memory.current", "500")];
        assert_eq!(left(&files, "0::/../../outside\n"), Some(200));
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!(left(&[("memory.max", "max")], "0::/\n"), None);
    }
}
