//! How large an arena is, and what it keeps; defaults from the machine and its limits.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::sys::cores;

/// One gibibyte.
const GIB: u64 = 1 << 30;

/// All arenas of a pool together stay below half of what 47 bits of user space address.
const ADDRESS_SPACE: u64 = 1 << 46;

/// The smallest capacity that the defaults come to, however tight the limits.
const LEAST_CAPACITY: u64 = 16 << 20;

/// The measures of an arena, all of them upper bounds: memory is only used as payloads need it.
///
/// ```
/// use manyhands::arena::ArenaConfig;
///
/// let small = ArenaConfig { capacity: 64 << 20, ..ArenaConfig::default() };
/// assert!(small.keep_warm <= 256 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaConfig {
    /// The bytes of all payloads together, at most; address space, not memory.
    ///
    /// Default: twice the RAM, at least 1 GiB; less where RLIMIT_AS or RLIMIT_FSIZE is set, or
    /// where an arena for each core of the machine would not fit the address space.
    pub capacity: u64,
    /// How many bytes of released memory stay allocated to be used again, which is 10 to 30
    /// times as fast as fresh memory. What exceeds it goes back to the system.
    ///
    /// Default: 256 MiB, or a sixteenth of the memory that the process may use if that is less.
    pub keep_warm: u64,
    /// The most payloads alive at a time, at most 1,048,576. Each costs 32 bytes while it lives.
    ///
    /// Default: 1,048,576.
    pub spans: u32,
}

impl Default for ArenaConfig {
    fn default() -> Self {
        let ram = ram_bytes();
        let cores = cores::affinity() as u64;
        ArenaConfig {
            capacity: default_capacity(
                ram,
                cores,
                getrlimit(Resource::As).current,
                getrlimit(Resource::Fsize).current,
            ),
            keep_warm: (ram.min(memory_limit()) / 16).min(256 << 20),
            spans: super::entry::MAX_ENTRIES,
        }
    }
}

fn default_capacity(
    ram: u64,
    cores: u64,
    address_limit: Option<u64>,
    file_limit: Option<u64>,
) -> u64 {
    let mut capacity = (2 * ram)
        .next_multiple_of(GIB)
        .max(GIB)
        .min(ADDRESS_SPACE / (cores + 1));
    if let Some(limit) = address_limit {
        // The parent maps its own arena and one of each worker, and lives in the rest.
        while capacity > LEAST_CAPACITY && capacity > limit / (2 * (cores + 1)) {
            capacity /= 2;
        }
    }
    if let Some(limit) = file_limit {
        // The span table lies in the same file.
        while capacity > LEAST_CAPACITY && capacity > limit / 2 {
            capacity /= 2;
        }
    }
    capacity
}

fn ram_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit).max(1))
}

/// The control group's, as it was when first asked for: each worker of a pool takes an arena, and
/// looking it up reads several files.
///
/// Not a `OnceLock`: a fork while another thread initializes would leave the child waiting.
fn memory_limit() -> u64 {
    /// 0 is not known yet.
    static LIMIT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the number guards no other memory, and whoever comes first finds the same.
    match LIMIT.load(Ordering::Relaxed) {
        0 => {
            let found = cgroup_memory_limit().unwrap_or(u64::MAX).max(1);
            LIMIT.store(found, Ordering::Relaxed);
            found
        }
        known => known,
    }
}

/// The memory limit of the control group, where one can be found (cgroups(7)); a hint only.
fn cgroup_memory_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/")
        .to_owned();
    [
        format!("/sys/fs/cgroup{own}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ]
    .iter()
    .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
    .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_twice_the_ram_in_whole_gibibytes() {
        assert_eq!(default_capacity(24 * GIB + 5, 2, None, None), 49 * GIB);
        assert_eq!(default_capacity(GIB / 4, 2, None, None), GIB);
    }

    #[test]
    fn limits_halve_the_capacity_until_it_fits() {
        assert!(default_capacity(24 * GIB, 2, Some(4 * GIB), None) <= 4 * GIB / 6);
        assert!(default_capacity(24 * GIB, 2, None, Some(GIB)) <= GIB / 2);
        assert!(default_capacity(4096 * GIB, 256, None, None) <= ADDRESS_SPACE / 257);
        let least = default_capacity(24 * GIB, 2, Some(0), None);
        assert!(least <= LEAST_CAPACITY && least > LEAST_CAPACITY / 2);
    }
}
