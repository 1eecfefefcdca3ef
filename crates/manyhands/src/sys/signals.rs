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

/// All signals are kept from the calling thread until this is dropped; a wait that is given it
/// lets them in while it sleeps, and only then. So a signal that comes between the last look at
/// what the handlers left and the sleep is not slept through; see ppoll(2).
pub struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    /// Blocks them. To be dropped by the same thread.
    #[must_use]
    pub fn new() -> Self {
        Self {
            before: set_mask(None),
        }
    }

    /// What the thread blocked before.
    pub(super) fn before(&self) -> &libc::sigset_t {
        &self.before
    }
}

impl Default for Blocked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(Some(self.before));
    }
}

/// Is this the thread that the program began with? Interpreters handle signals there.
#[must_use]
pub fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Ctrl-C is the parent's affair: this process does nothing about it from now on. (A handler, since
/// to ignore the signal would be inherited by every program that a task starts.) Where the signal
/// is ignored already, it stays so.
pub fn leave_interrupts_to_the_parent() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a zeroed sigaction is a valid one (no flags, an empty mask, the default handler).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: each call reads a valid action or null, and fills `before`, which lives here; the
    // handler touches nothing, so it may run at any moment.
    unsafe {
        let known = libc::sigaction(libc::SIGINT, std::ptr::null(), before.as_mut_ptr());
        if known == 0 && before.assume_init().sa_sigaction == libc::SIG_DFL {
            libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
        }
    }
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
