//! A descriptor that a tokio runtime watches.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watched for becoming readable, by the runtime in which it was made.
pub(crate) struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// # Errors
    /// As epoll_ctl(2).
    ///
    /// # Panics
    /// The caller is in no runtime with I/O.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is owned by what is registered, which gives it to nobody, so it
        // is not replaced, and closed only after it was taken from the runtime.
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Ready once each time that the descriptor may have become readable. The caller empties it
    /// afterwards: what comes in between is told anew.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_read_ready(context))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}
