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

/// Where control groups say how much memory is left, and how much processor time there is.
#[derive(Debug)]
pub struct ControlGroups {
    root: PathBuf,
    membership: String,
}

impl ControlGroups {
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
    pub fn memory_left(&self) -> Option<u64> {
        self.least("memory", |folder, version| {
            let (limit, usage) = match version {
                Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
                Version::Two => ("memory.max", "memory.current"),
            };
            let usage = number(&read(folder, usage)?)?;
            Some(limit_in(folder, limit)?.saturating_sub(usage))
        })
    }

    /// How many processors it takes to use up the time that the tightest of the groups and
    /// their ancestors allows (v1 and v2): 2 for one and a half. None when none has a limit.
    #[must_use]
    pub fn processors(&self) -> Option<u64> {
        self.least("cpu", |folder, version| {
            let (quota, period) = match version {
                Version::One => (
                    number(&read(folder, "cpu.cfs_quota_us")?)?, // -1, unlimited, is no number
                    number(&read(folder, "cpu.cfs_period_us")?)?,
                ),
                Version::Two => {
                    let both = read(folder, "cpu.max")?;
                    let (quota, period) = both.trim().split_once(' ')?;
                    (number(quota)?, number(period)?)
                }
            };
            (period > 0).then(|| quota.div_ceil(period).max(1))
        })
    }

    /// The least that `ask` says of any group of that controller, and of its ancestors.
    fn least(&self, controller: &str, ask: impl Fn(&Path, Version) -> Option<u64>) -> Option<u64> {
        self.membership
            .lines()
            .filter_map(|line| {
                let (mounted, group, version) = self.hierarchy(line, controller)?;
                ancestry(&mounted, group)
                    .filter_map(|folder| ask(&folder, version))
                    .min()
            })
            .min()
    }

    /// Where the hierarchy of a line of the membership is mounted, and the group's path there;
    /// None when it does not have the controller.
    fn hierarchy<'a>(
        &self,
        line: &'a str,
        controller: &str,
    ) -> Option<(PathBuf, &'a str, Version)> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        if controllers.is_empty() {
            let unified = self.root.join("unified");
            let mounted = if unified.is_dir() {
                unified
            } else {
                self.root.clone()
            };
            return Some((mounted, group, Version::Two));
        }
        if !controllers.split(',').any(|name| name == controller) {
            return None;
        }
        let alone = self.root.join(controller);
        let mounted = if alone.is_dir() {
            alone
        } else {
            self.root.join(controllers) // mounted together, without the usual links
        };
        Some((mounted, group, Version::One))
    }
}

/// Of control groups.
#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// The folders of a group and its ancestors. Inside a container the group's own folder may not
/// be visible: the mount's root then stands for it.
fn ancestry(root: &Path, group: &str) -> impl Iterator<Item = PathBuf> {
    let own = root.join(group.trim_start_matches('/'));
    let root = root.to_owned();
    std::iter::successors(Some(own), move |folder| {
        (*folder != root).then(|| folder.parent().map(Path::to_owned))?
    })
}

fn read(folder: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(file)).ok()
}

/// `max` and v1's huge "unlimited" are no limit.
fn limit_in(folder: &Path, file: &str) -> Option<u64> {
    const UNLIMITED_FROM: u64 = 1 << 60;
    number(&read(folder, file)?).filter(|limit| *limit < UNLIMITED_FROM)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
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

    fn ask<R>(
        files: &[(&str, &str)],
        membership: &str,
        question: impl Fn(&ControlGroups) -> R,
    ) -> R {
        let root = tree(files);
        let answer = question(&ControlGroups::at(root.clone(), membership.into()));
        std::fs::remove_dir_all(root).unwrap();
        answer
    }

    fn left(files: &[(&str, &str)], membership: &str) -> Option<u64> {
        ask(files, membership, ControlGroups::memory_left)
    }

    fn processors(files: &[(&str, &str)], membership: &str) -> Option<u64> {
        ask(files, membership, ControlGroups::processors)
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
        assert_eq!(processors(&[("cpu.max", "max 100000\n")], "0::/\n"), None);
    }

    #[test]
    fn processor_time_of_v2_is_that_of_the_tightest_ancestor() {
        let files = [
            ("a/cpu.max", "150000 100000\n"),
            ("a/b/cpu.max", "400000 100000\n"),
            ("a/b/c/cpu.max", "max 100000\n"),
        ];
        assert_eq!(processors(&files, "0::/a/b/c\n"), Some(2));
    }

    #[test]
    fn processor_time_of_v1_knows_unlimited_as_minus_one() {
        let files = [
            ("cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        let membership = "2:cpu,cpuacct:/x\n1:cpuset:/\n";
        assert_eq!(processors(&files, membership), Some(1));
        assert_eq!(processors(&files[..2], membership), None);
    }

    #[test]
    fn both_versions_count_where_both_are() {
        let files = [
            ("cpu/cpu.cfs_quota_us", "300000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("unified/a/cpu.max", "200000 100000\n"),
        ];
        let both = "1:cpu:/\n0::/a\n";
        assert_eq!(processors(&files, both), Some(2));
    }
}
