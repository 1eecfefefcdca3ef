//! Lends closures that borrow to threads that outlive the borrow.
//!
//! Guarantee: [`scoped`] returns, or unwinds, only after every closure that was
//! [lent](Lender::lend) has been consumed: called, or dropped. So the borrows that they hold have
//! ended, whatever the threads do with the closures. A closure that is leaked instead keeps
//! [`scoped`] from returning for ever, which is safe.

use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A closure whose borrows nobody can see any more.
pub(crate) type Lent = Box<dyn FnOnce() + Send + 'static>;

/// How many closures are lent and not yet consumed.
#[derive(Default)]
pub(crate) struct Tickets {
    out: Mutex<usize>,
    changed: Condvar,
}

impl Tickets {
    fn out(&self) -> MutexGuard<'_, usize> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no closure is lent: true; or until `enough`, which is asked whenever something
    /// [changed](Self::changed).
    pub(crate) fn wait(&self, mut enough: impl FnMut() -> bool) -> bool {
        let mut out = self.out();
        loop {
            if *out == 0 {
                return true;
            }
            if enough() {
                return false;
            }
            out = self
                .changed
                .wait(out)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has every [`wait`](Self::wait) ask again. The caller has changed something before.
    pub(crate) fn changed(&self) {
        drop(self.out());
        self.changed.notify_all();
    }
}

/// One closure that is lent. Dropped after it.
struct Ticket(Arc<Tickets>);

impl Ticket {
    fn new(tickets: &Arc<Tickets>) -> Self {
        *tickets.out() += 1;
        Self(tickets.clone())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        *self.0.out() -= 1;
        self.0.changed.notify_all();
    }
}

/// A closure whose borrows the compiler takes no notice of while it is passed on.
///
/// References that a function gets as an argument, also inside of a closure, must stay valid until
/// the function returns (rust-lang/rust#101983). Those that were lent end before, when the ticket
/// goes.
struct Veiled<F>(MaybeUninit<F>);

impl<F> Veiled<F> {
    fn new(closure: F) -> Self {
        Self(MaybeUninit::new(closure))
    }
}

impl<F: FnOnce()> Veiled<F> {
    fn call(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `new` has initialized it. It is read once: `this` is neither read nor dropped
        // again.
        let closure = unsafe { this.0.assume_init_read() };
        closure();
    }
}

impl<F> Drop for Veiled<F> {
    fn drop(&mut self) {
        // SAFETY: `new` has initialized it, and whoever moves it out forgets this.
        unsafe { self.0.assume_init_drop() }
    }
}

/// The closure comes first: fields are dropped in this order, also when the first drop panics.
struct Body<F> {
    closure: Veiled<F>,
    ticket: Ticket,
}

impl<F: FnOnce()> Body<F> {
    fn call(self) {
        let Self { closure, ticket } = self;
        // Consumes the closure and all that it captured, also if it panics; the ticket, a local
        // of this frame, goes after it.
        closure.call();
        drop(ticket);
    }
}

/// Lends closures; what else belongs to a scope is in `context`.
///
/// Both lifetimes are invariant. A closure may borrow what lives for `'scope`, the lender
/// included.
pub struct Lender<'scope, 'env: 'scope, C> {
    tickets: Arc<Tickets>,
    pub(crate) context: C,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, C> Lender<'scope, '_, C> {
    pub(crate) fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// A closure to be called, or dropped, anywhere and at any time.
    pub(crate) fn lend<F>(&'scope self, closure: F) -> Lent
    where
        F: FnOnce() + Send + 'scope,
    {
        let body = Body {
            closure: Veiled::new(closure),
            ticket: Ticket::new(&self.tickets),
        };
        let lent: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || body.call());
        // SAFETY: the two types differ in a lifetime only, so their layout is the same. What the
        // longer lifetime claims, that the closure may be used at any time, holds: nothing that
        // `'scope` bounds is touched after `'scope` has ended. A `&'scope self` exists in the
        // callback of `scoped` only (there is no other way to a `Lender`, and both lifetimes are
        // invariant, so that none can be made of another), and `'scope` contains the whole call of
        // that callback up to the end of `scoped`'s wait: the callback is `for<'scope>`, so the
        // borrow that it gets is of a local of `scoped` that lives past the wait. The wait ends
        // when the count of tickets is zero. This closure's ticket was counted above, on a thread
        // that the wait has not let go on yet: either the one that runs the callback, or one that
        // runs a lent closure, whose own ticket is out. The ticket is given back in `Ticket::drop`
        // only, after `closure` has been consumed: by `Body::call`, or by the drop of `Body`,
        // whose fields go in order. The box's memory, which is freed later, borrows nothing.
        unsafe { mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Lent>(lent) }
    }
}

/// Calls the callback, then `help`, which may run what was lent and is not trusted to; returns
/// when every closure that was lent is consumed. A panic of either goes on after that.
pub(crate) fn scoped<'env, C, R>(
    context: C,
    callback: impl for<'scope> FnOnce(&'scope Lender<'scope, 'env, C>) -> R,
    help: impl FnOnce(&C, &Tickets),
) -> R {
    let lender = Lender {
        tickets: Arc::default(),
        context,
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| callback(&lender)));
    let helped = catch_unwind(AssertUnwindSafe(|| help(&lender.context, &lender.tickets)));
    lender.tickets.wait(|| false);
    match (result, helped) {
        (Ok(result), Ok(())) => result,
        (Err(panic), _) | (_, Err(panic)) => resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn a_scope_ends_only_after_every_closure_was_called_or_dropped() {
        let mut log = Vec::new();
        let seen = Mutex::new(&mut log);
        let (sender, receiver) = channel::<Lent>();
        let runner = thread::spawn(move || {
            for (number, lent) in receiver.into_iter().enumerate() {
                thread::yield_now();
                if number % 2 == 0 {
                    lent();
                }
            }
        });
        struct Noted<'a>(u32, &'a Mutex<&'a mut Vec<u32>>);
        impl Drop for Noted<'_> {
            fn drop(&mut self) {
                self.1.lock().unwrap().push(self.0);
            }
        }
        {
            let seen = &seen;
            scoped(
                (),
                |lender| {
                    for number in 0..10 {
                        let noted = Noted(number, seen);
                        sender.send(lender.lend(move || drop(noted))).unwrap();
                    }
                },
                |(), _| {},
            );
            assert_eq!(seen.lock().unwrap().len(), 10);
        }
        drop(sender);
        runner.join().unwrap();
        assert_eq!(log, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_of_the_callback_goes_on_after_the_wait() {
        let done = Mutex::new(false);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            scoped(
                (),
                |lender| {
                    let lent = lender.lend(|| *done.lock().unwrap() = true);
                    thread::spawn(lent);
                    panic!("of the callback");
                },
                |(), _| {},
            )
        }));
        assert!(unwound.is_err());
        assert!(*done.lock().unwrap());
    }

    #[test]
    fn a_closure_that_panics_gives_its_ticket_back() {
        scoped(
            (),
            |lender| {
                let lent = lender.lend(|| panic!("of the closure"));
                assert!(thread::spawn(lent).join().is_err());
            },
            |(), _| {},
        );
    }
}
