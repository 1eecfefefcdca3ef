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

/// The signals that a thread blocks, to be carried to another thread or process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalMask(u64);

impl SignalMask {
    /// What the calling thread blocks.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&change_mask(libc::SIG_BLOCK, &no_signals()))
    }

    fn of(set: &libc::sigset_t) -> Self {
        // SAFETY: reads one valid set; a number that is no signal is answered with -1.
        let blocked = |signal: &i32| unsafe { libc::sigismember(set, *signal) } == 1;
        Self(
            (1..=64)
                .filter(blocked)
                .fold(0, |bits, signal| bits | 1 << (signal - 1)),
        )
    }

    /// The calling thread blocks these signals from now on, and no others; so does every thread
    /// and every program that it starts.
    pub fn apply(self) {
        let mut set = no_signals();
        for signal in (1..=64).filter(|signal| self.0 >> (signal - 1) & 1 == 1) {
            // SAFETY: changes one valid set. (It refuses the two signals that the C library keeps
            // to itself, which no thread can block either.)
            let _refused = unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        change_mask(libc::SIG_SETMASK, &set);
    }

    /// As a number: bit `n - 1` is set where signal `n` is blocked, as in `SigBlk` of proc(5).
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// From what [`SignalMask::to_bits`] gave.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
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
    let mut all = no_signals();
    // SAFETY: fills one valid set, which can not fail.
    unsafe { libc::sigfillset(&raw mut all) };
    change_mask(libc::SIG_SETMASK, &mask.unwrap_or(all))
}

fn no_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that it is given, and can not fail on a valid
    // pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Changes this thread's mask; gives the one before.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: pthread_sigmask reads one valid set and fills `before`; both live here.
    unsafe {
        let failed = libc::pthread_sigmask(how, set, before.as_mut_ptr());
        assert_eq!(failed, 0, "pthread_sigmask with a valid `how` can not fail");
        before.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_carried_as_a_number_and_a_thread_without_signals_blocks_all() {
        let mine = SignalMask::current();
        let two = 1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGTERM - 1);
        SignalMask::from_bits(two).apply();
        assert_eq!(SignalMask::current().to_bits(), two);
        mine.apply();
        assert_eq!(SignalMask::current(), mine);

        let (send, receive) = std::sync::mpsc::channel();
        let body = move || send.send(SignalMask::current()).unwrap();
        spawn_without_signals("blocks".into(), body)
            .unwrap()
            .join()
            .unwrap();
        let blocked = receive.recv().unwrap().to_bits();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD] {
            assert!(blocked >> (signal - 1) & 1 == 1, "{signal}");
        }
        assert_eq!(SignalMask::current(), mine);
    }
}
