//! One task for each of many inputs, with results as they are asked for.
//!
//! Guarantees: inputs are read in the thread or task that asks for results, one at a time and only
//! while fewer than `buffer` tasks are under way; a result that is there is held up by one input at
//! the most; each input has one result, in order unless told otherwise.

mod completed;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use self::completed::AsCompleted;
use crate::error::Result;
use crate::handle::Handle;

/// Tasks under way at once, at the least, unless told otherwise.
const LEAST: usize = 64;

/// How many times as many tasks as can run at once are under way, unless told otherwise.
const DEPTH: usize = 4;

type Submit<I, T> = Box<dyn FnMut(I) -> Handle<T> + Send>;

/// The results of [`Pool::map`](crate::Pool::map): an [`Iterator`], and by [`Map::stream`] a
/// [`Stream`] for async code.
///
/// Inputs are read by whoever asks for results, one before each result at the least: where the
/// inputs come slowly, a result that has come meanwhile waits for the next input.
///
/// A task that fails is an item, `Err`, and the others go on. When this is dropped, what is under
/// way is cancelled. When the pool takes no more tasks, the refusal is the last item.
///
/// ```standalone_crate
/// use manyhands::{Pool, task};
///
/// #[task]
/// fn invert(n: i64) -> i64 {
///     assert!(n != 0, "cannot divide by zero");
///     1000 / n
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(1).build()?;
///     let results: Vec<_> = pool.map(invert, -1..=1).collect();
///     assert_eq!(results[0].as_ref().unwrap(), &-1000);
///     assert!(results[1].is_err());
///     assert_eq!(results[2].as_ref().unwrap(), &1000);
///     Ok(())
/// }
/// ```
#[must_use = "a map is lazy: nothing is submitted until results are asked for"]
pub struct Map<I: Iterator, T> {
    /// `None` when they have come to an end.
    inputs: Option<I>,
    submit: Submit<I::Item, T>,
    buffer: usize,
    under_way: UnderWay<T>,
}

enum UnderWay<T> {
    Ordered(VecDeque<Handle<T>>),
    Unordered(AsCompleted<T>),
}

impl<T> UnderWay<T> {
    fn len(&self) -> usize {
        match self {
            Self::Ordered(queue) => queue.len(),
            Self::Unordered(set) => set.len(),
        }
    }

    fn push(&mut self, handle: Handle<T>) {
        match self {
            Self::Ordered(queue) => queue.push_back(handle),
            Self::Unordered(set) => set.push(handle),
        }
    }

    /// Could a result be given at once?
    fn has_result(&mut self) -> bool {
        match self {
            Self::Ordered(queue) => queue.front().is_some_and(Handle::is_done),
            Self::Unordered(set) => set.has_result(),
        }
    }
}

impl<I: Iterator, T> Map<I, T> {
    /// `at_once`: tasks that the pool can run at once.
    pub(crate) fn new(inputs: I, submit: Submit<I::Item, T>, at_once: usize) -> Self {
        Self {
            inputs: Some(inputs),
            submit,
            buffer: at_once.saturating_mul(DEPTH).max(LEAST),
            under_way: UnderWay::Ordered(VecDeque::new()),
        }
    }

    /// How many inputs are under way at the most: submitted, and their results not taken. By
    /// default four times as many as the pool can run at once, and at least 64.
    ///
    /// ```standalone_crate
    /// use std::cell::Cell;
    /// use manyhands::{Pool, task};
    ///
    /// #[task]
    /// fn same(n: u64) -> u64 {
    ///     n
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let read = Cell::new(0);
    ///     let inputs = (0..).inspect(|_| read.set(read.get() + 1));
    ///     let mut results = pool.map(same, inputs).buffer(10);
    ///     assert_eq!(read.get(), 0);
    ///     assert_eq!(results.next().unwrap()?, 0);
    ///     assert!(read.get() <= 10);
    ///     Ok(())
    /// }
    /// ```
    pub fn buffer(mut self, buffer: usize) -> Self {
        self.buffer = buffer.max(1);
        self
    }

    /// Results as they come, instead of in the order of the inputs.
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
    /// use manyhands::{Pool, task};
    ///
    /// #[task]
    /// async fn nap(milliseconds: u64) -> u64 {
    ///     tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    ///     milliseconds
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let naps: Result<Vec<_>, _> = pool.map(nap, [500, 1]).unordered().collect();
    ///     assert_eq!(naps?, [1, 500]);
    ///     Ok(())
    /// }
    /// ```
    pub fn unordered(mut self) -> Self {
        if let UnderWay::Ordered(queue) = &mut self.under_way {
            let mut set = AsCompleted::default();
            queue.drain(..).for_each(|handle| set.push(handle));
            self.under_way = UnderWay::Unordered(set);
        }
        self
    }

    /// The same for async code. (A type of its own, as the methods of a stream are called as an
    /// iterator's are.)
    ///
    /// ```standalone_crate
    /// use futures_util::StreamExt;
    /// use manyhands::{Pool, task};
    ///
    /// #[task]
    /// async fn length(page: String) -> usize {
    ///     page.len()
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    ///     runtime.block_on(async {
    ///         let pages = ["a", "bb", "ccc"].map(String::from);
    ///         let mut lengths = pool.map(length, pages).unordered().stream();
    ///         let mut total = 0;
    ///         while let Some(result) = lengths.next().await {
    ///             total += result?;
    ///         }
    ///         assert_eq!(total, 6);
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn stream(self) -> MapStream<I, T> {
        MapStream(self)
    }

    /// Submits inputs: at least one if there is room, then until a result is there.
    fn fill(&mut self) {
        let mut first = true;
        while self.under_way.len() < self.buffer && (first || !self.under_way.has_result()) {
            first = false;
            let Some(input) = self.inputs.as_mut().and_then(Iterator::next) else {
                self.inputs = None;
                return;
            };
            let handle = (self.submit)(input);
            if handle.is_refused() {
                // So will be all that follow, and the input may be endless.
                self.inputs = None;
            }
            self.under_way.push(handle);
        }
    }
}

impl<I: Iterator, T> Iterator for Map<I, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.fill();
        match &mut self.under_way {
            UnderWay::Ordered(queue) => queue.pop_front().map(Handle::wait),
            UnderWay::Unordered(set) => set.wait(),
        }
    }
}

/// The results of [`Pool::map`](crate::Pool::map) as a [`Stream`], from [`Map::stream`].
///
/// Inputs are read while it is polled, so their iterator should not block for long.
#[must_use = "a stream is lazy: nothing is submitted until it is polled"]
pub struct MapStream<I: Iterator, T>(Map<I, T>);

impl<I: Iterator, T> Unpin for MapStream<I, T> {}

impl<I: Iterator, T> Stream for MapStream<I, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let map = &mut self.0;
        map.fill();
        match &mut map.under_way {
            UnderWay::Ordered(queue) => {
                let Some(front) = queue.front_mut() else {
                    return Poll::Ready(None);
                };
                let polled = Pin::new(front).poll(context);
                if polled.is_ready() {
                    queue.pop_front();
                }
                polled.map(Some)
            }
            UnderWay::Unordered(set) => set.poll(context),
        }
    }
}

impl<I: Iterator, T> fmt::Debug for MapStream<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MapStream").field(&self.0).finish()
    }
}

impl<I: Iterator, T> Drop for Map<I, T> {
    /// The last first: else a worker that is stopped would begin one that is about to be cancelled.
    fn drop(&mut self) {
        match &self.under_way {
            UnderWay::Ordered(queue) => queue.iter().rev().for_each(Handle::cancel),
            UnderWay::Unordered(set) => set.cancel_last_first(),
        }
    }
}

impl<I: Iterator, T> fmt::Debug for Map<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("under_way", &self.under_way.len())
            .field("buffer", &self.buffer)
            .field("inputs_have_ended", &self.inputs.is_none())
            .finish_non_exhaustive()
    }
}
