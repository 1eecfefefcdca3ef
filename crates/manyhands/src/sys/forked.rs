//! Tells a process from its forked children at the price of one load.
//!
//! A forked child inherits every value of its parent, also those whose destructor writes to
//! shared memory on the parent's behalf. Such a value notes the [`ProcessMark`] it was made
//! under and does nothing where the mark is no longer the current one.
//!
//! The mark lies in a page that the kernel zeroes in every child (`MADV_WIPEONFORK`, madvise(2),
//! Linux 4.14); where that is missing, the process id is asked for instead.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// The wiped page; null until first used, and for ever where the kernel cannot wipe. Not a
/// `OnceLock`: a fork while another thread initializes would leave the child waiting.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The marks given out in this process and its ancestors.
static LAST: AtomicU32 = AtomicU32::new(0);

/// The identity of a process: what was made under it is not inherited by a forked child.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMark {
    /// 0 if there is no wiped page.
    mark: u32,
    pid: i32,
}

impl ProcessMark {
    /// The mark of the calling process.
    #[must_use]
    pub fn current() -> ProcessMark {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let mark = page().map_or(0, |word| {
            // Relaxed throughout: the word guards no other memory, and a child starts with the
            // one thread that forked.
            let fresh = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
            match word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => fresh,
                Err(current) => current,
            }
        });
        ProcessMark { mark, pid }
    }

    /// Whether the calling process is the one that the mark was made in.
    #[must_use]
    pub fn is_current(self) -> bool {
        match loaded_page() {
            Some(word) if self.mark != 0 => word.load(Ordering::Relaxed) == self.mark,
            _ => rustix::process::getpid().as_raw_nonzero().get() == self.pid,
        }
    }
}

fn loaded_page() -> Option<&'static AtomicU32> {
    let word = PAGE.load(Ordering::Acquire);
    // SAFETY: a pointer in PAGE is the start of a mapped, aligned page that is never unmapped,
    // private to this process and only ever used as this one atomic.
    unsafe { word.as_ref() }
}

fn page() -> Option<&'static AtomicU32> {
    if let Some(word) = loaded_page() {
        return Some(word);
    }
    let len = rustix::param::page_size();
    // SAFETY: a null hint without MAP_FIXED: the kernel picks a range that nothing else uses.
    let base = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        rustix::mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE).ok()?
    };
    // SAFETY: the page is ours and nothing is stored in it yet.
    let wiped = unsafe { rustix::mm::madvise(base, len, Advice::LinuxWipeOnFork) };
    // Release pairs with the Acquire in `loaded_page`, for form's sake: the kernel zeroed the page.
    let published = wiped.is_ok()
        && PAGE
            .compare_exchange(
                ptr::null_mut(),
                base.cast(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok();
    if !published {
        // SAFETY: the page is ours, and nobody else has seen its address. An error would only
        // leave a page mapped.
        let _ = unsafe { rustix::mm::munmap(base, len) };
    }
    loaded_page()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_current_in_the_process_that_made_it() {
        let mark = ProcessMark::current();
        assert!(mark.is_current());
        let other = std::thread::spawn(ProcessMark::current).join().unwrap();
        assert_eq!(mark.mark, other.mark);
    }

    #[test]
    fn a_mark_is_stale_in_a_forked_child_which_gets_one_of_its_own() {
        let mark = ProcessMark::current();
        let child = move || {
            let stale = !mark.is_current();
            let own = ProcessMark::current();
            let fresh = own.is_current() && !mark.is_current() && own.mark != mark.mark;
            if stale && fresh {
                Ok(())
            } else {
                Err(std::io::ErrorKind::Other.into())
            }
        };
        let mut command = std::process::Command::new("true");
        // SAFETY: between fork and exec the closure runs nothing but loads, atomic operations
        // and system calls, none of which needs a lock that another thread may have held.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, child) };
        assert!(command.status().unwrap().success());
        assert!(mark.is_current());
    }
}
