//! How many cores this process may use: affinity and the cgroup's CPU quota, not what the
//! machine has.

use std::fs;
use std::path::{Path, PathBuf};

/// Cores that the process may use, at least one: the smaller of its affinity
/// (sched_getaffinity(2)) and its cgroup's quota (`cpu.max`, rounded up; cgroups(7)).
#[must_use]
pub fn usable() -> usize {
    let affinity = affinity();
    match quota(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")) {
        Some(cores) => affinity.min(cores.ceil().max(1.0) as usize),
        None => affinity,
    }
}

/// Cores that the process may run on, at least one (sched_getaffinity(2)).
pub(crate) fn affinity() -> usize {
    rustix::thread::sched_getaffinity(None)
        .map_or(1, |set| set.count() as usize)
        .max(1)
}

/// The tightest quota from the process's cgroup up to the root, in cores.
fn quota(membership: &Path, mount: &Path) -> Option<f64> {
    let membership = fs::read_to_string(membership).ok()?;
    let mut tightest: Option<f64> = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (root, version_2) = match controllers {
            "" => (mount.to_path_buf(), true),
            names if names.split(',').any(|name| name == "cpu") => (mount.join(names), false),
            _ => continue,
        };
        let mut folder: PathBuf = root.join(path.trim_start_matches('/'));
        loop {
            let limit = if version_2 {
                limit_v2(&folder)
            } else {
                limit_v1(&folder)
            };
            if let Some(cores) = limit {
                tightest = Some(tightest.map_or(cores, |least| least.min(cores)));
            }
            if folder == root || !folder.pop() {
                break;
            }
        }
    }
    tightest
}

fn limit_v2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn limit_v1(folder: &Path) -> Option<f64> {
    let read = |name| {
        fs::read_to_string(folder.join(name))
            .ok()?
            .trim()
            .parse::<f64>()
            .ok()
    };
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    (quota > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_quota_on_the_way_to_the_root_counts() {
        let folder = std::env::temp_dir().join(format!("cgroup-test-{}", std::process::id()));
        let inner = folder.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(folder.join("membership"), "0::/a/b\n").unwrap();
        fs::write(folder.join("a/cpu.max"), "150000 100000\n").unwrap();
        fs::write(inner.join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(quota(&folder.join("membership"), &folder), Some(1.5));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn at_least_one_core_is_usable() {
        assert!(usable() >= 1);
    }
}
