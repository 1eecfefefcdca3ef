//! Handles in the order in which their tasks end.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::error::Result;
use crate::handle::Handle;

/// Handles, each polled when it was woken: whichever is ready is found without asking the others.
pub(super) struct AsCompleted<T> {
    handles: HashMap<u64, Handle<T>>,
    /// A result that was found while inputs were read.
    ready: Option<Result<T>>,
    next_key: u64,
    woken: Arc<Woken>,
}

impl<T> Default for AsCompleted<T> {
    fn default() -> Self {
        Self {
            handles: HashMap::new(),
            ready: None,
            next_key: 0,
            woken: Arc::default(),
        }
    }
}

impl<T> AsCompleted<T> {
    pub(super) fn push(&mut self, handle: Handle<T>) {
        let key = self.next_key;
        self.next_key += 1;
        self.handles.insert(key, handle);
        // To be polled for a first time.
        self.woken.lock().keys.push_back(key);
    }

    pub(super) fn len(&self) -> usize {
        self.handles.len() + usize::from(self.ready.is_some())
    }

    pub(super) fn has_result(&mut self) -> bool {
        if self.ready.is_none() {
            self.ready = self.take();
        }
        self.ready.is_some()
    }

    pub(super) fn cancel_last_first(&self) {
        let mut handles: Vec<_> = self.handles.iter().collect();
        handles.sort_unstable_by_key(|(key, _)| Reverse(**key));
        handles.iter().for_each(|(_, handle)| handle.cancel());
    }

    /// Polls those that were woken; gives the first that has ended. The keys' lock is not held
    /// meanwhile, as polling one may wake another.
    pub(super) fn take(&mut self) -> Option<Result<T>> {
        if let Some(ready) = self.ready.take() {
            return Some(ready);
        }
        loop {
            let key = self.woken.lock().keys.pop_front()?;
            let Some(handle) = self.handles.get_mut(&key) else {
                continue;
            };
            let waker = Waker::from(Arc::new(Key {
                key,
                woken: self.woken.clone(),
            }));
            let polled = Pin::new(handle).poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(result) = polled {
                self.handles.remove(&key);
                return Some(result);
            }
        }
    }

    pub(super) fn wait(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(result) = self.take() {
                return Some(result);
            }
            if self.handles.is_empty() {
                return None;
            }
            let mut woken = self.woken.lock();
            while woken.keys.is_empty() {
                woken = self
                    .woken
                    .changed
                    .wait(woken)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Result<T>>> {
        // Written down first: whatever is woken from now on wakes this.
        // Cloned without the lock, as that may run code of a stranger's.
        let waker = context.waker().clone();
        let before = self.woken.lock().waker.replace(waker);
        drop(before);
        match self.take() {
            Some(result) => Poll::Ready(Some(result)),
            None if self.handles.is_empty() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[derive(Default)]
struct Keys {
    keys: VecDeque<u64>,
    waker: Option<Waker>,
}

/// The keys of handles to be polled, and who wants to know of them.
#[derive(Default)]
struct Woken {
    keys: Mutex<Keys>,
    changed: Condvar,
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes for one handle.
struct Key {
    key: u64,
    woken: Arc<Woken>,
}

impl Wake for Key {
    fn wake(self: Arc<Self>) {
        let waker = {
            let mut woken = self.woken.lock();
            woken.keys.push_back(self.key);
            woken.waker.take()
        };
        self.woken.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
