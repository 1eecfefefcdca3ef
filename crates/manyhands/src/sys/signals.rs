//! Keeping signals away from the engine's own threads: the kernel then delivers them to the
//! program's, where an interpreter's handlers belong.

use std::mem::MaybeUninit;
use std::thread;

/// Starts a thread that no signal is delivered to.
///
/// # Errors
/// As [`std::thread::Builder::spawn`].
pub fn spawn_without_signals<F>(name: String, body: F) -> std::io::Result<thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    // A thread inherits its mask, so that there is no moment at which a signal could reach it.
    let before = set_mask(None);
    let started = thread::Builder::new().name(name).spawn(body);
    set_mask(Some(before));
    started
}

/// Sets this thread's mask to `mask`, or to all signals; gives the one before.
fn set_mask(mask: Option<libc::sigset_t>) -> libc::sigset_t {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set that it is given (it can not fail on a valid
    // pointer), and pthread_sigmask reads one valid set and fills `before`; both live here.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        let mask = mask.unwrap_or(all.assume_init());
        let failed = libc::pthread_sigmask(libc::SIG_SETMASK, &mask, before.as_mut_ptr());
        assert_eq!(failed, 0, "pthread_sigmask with SIG_SETMASK can not fail");
        before.assume_init()
    }
}
