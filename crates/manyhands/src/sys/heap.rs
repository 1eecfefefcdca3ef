//! Advice on this process's private memory.

use rustix::mm::{Advice, madvise};

/// Two megabytes, the huge page of x86-64.
const HUGE_PAGE: usize = 2 << 20;

/// Asks for huge pages (madvise(2), `MADV_HUGEPAGE`) where they fit into a range that is about to
/// be written for the first time. Advice: where the system knows no huge pages, nothing changes.
pub fn use_huge_pages(start: *mut u8, len: usize) {
    let first = start.align_offset(HUGE_PAGE);
    let whole = len.saturating_sub(first) / HUGE_PAGE * HUGE_PAGE;
    if whole == 0 {
        return;
    }
    // SAFETY: the advice changes how pages are backed, never what they hold, so it may be given
    // for any address; the kernel refuses ranges that are not mapped.
    let _advice = unsafe {
        madvise(
            start.wrapping_add(first).cast(),
            whole,
            Advice::LinuxHugepage,
        )
    };
}
