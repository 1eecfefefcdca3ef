//! Whom a thread still has to wake.
//!
//! Who is woken asks for the interpreter's lock at once. So a thread wakes them when it has let go
//! of it, if that is next; or before it runs the next task, which may take long.

use std::sync::Arc;

use manyhands::task::Waiter;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Bells(Vec<Arc<dyn Waiter>>);

impl Bells {
    pub(crate) fn add(&mut self, waiter: Arc<dyn Waiter>) {
        self.0.push(waiter);
    }

    pub(crate) fn ring(&mut self) {
        for waiter in self.0.drain(..) {
            waiter.wake();
        }
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        self.ring();
    }
}
