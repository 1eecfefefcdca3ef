//! Which task the calling thread runs, so that it can be asked whether it is to stop.

use std::cell::RefCell;
use std::rc::Rc;

use crate::process::StopFlag;

thread_local! {
    static CURRENT: RefCell<Option<Rc<StopFlag>>> = const { RefCell::new(None) };
}

/// Inside a task: has its caller asked it to stop, or is its time over?
///
/// Worth asking in long loops. On a pool of threads a function cannot be stopped otherwise. On a
/// pool of processes it can: its worker is killed, after the pool's
/// [`stop_grace`](crate::Builder::stop_grace), and before that this says so.
///
/// In a thread that a task started itself, and outside of tasks, it is always `false`.
///
/// ```standalone_crate
/// use std::time::Duration;
/// use manyhands::{Error, Pool, task};
///
/// #[task]
/// fn count_until_told() -> u64 {
///     let mut count = 0;
///     while !manyhands::is_cancelled() {
///         count += 1;
///     }
///     count // of no use: the caller gets `Cancelled`
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(1).stop_grace(Duration::from_secs(60)).build()?;
///     let handle = pool.submit(count_until_told, ());
///     handle.cancel();
///     assert!(matches!(handle.wait(), Err(Error::Cancelled)));
///     assert!(!manyhands::is_cancelled());
///     Ok(())
/// }
/// ```
#[must_use]
pub fn is_cancelled() -> bool {
    let here = CURRENT.with_borrow(|current| current.as_ref().is_some_and(|flag| flag.is_set()));
    here || crate::thread::is_cancelled()
}

/// While this lives, the calling thread runs a task; then again what it ran before.
pub(super) struct Running(Option<Rc<StopFlag>>);

impl Running {
    pub(super) fn enter(flag: Rc<StopFlag>) -> Self {
        Self(CURRENT.with_borrow_mut(|current| current.replace(flag)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| *current = self.0.take());
    }
}
