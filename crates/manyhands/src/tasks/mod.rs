//! Tasks as Rust programs write them: the [`Task`] trait that `#[task]` implements, the registry
//! in which a worker process finds them, and how their values travel.

mod codec;
mod how;
#[cfg(doctest)]
mod refused;
mod registry;

use std::future::Future;
use std::pin::Pin;

pub use codec::{Decoder, Encoded, Encoder, Failure, Source};
pub use how::{HowBytes, HowResult, HowSerde, Slot, can_travel};
pub(crate) use registry::registry;
pub use registry::{Entry, Registration, Run, Running};

use crate::board::Kind;

/// A function that a pool can run; made by [`#[task]`](macro@crate::task), and by nothing else.
///
/// The function becomes a value of the same name, of a type of its own: it holds nothing, and calls
/// the function where it is called itself. (So a variable cannot have the name of a task that is in
/// scope: the compiler would take it for that value.)
///
/// ```
/// use manyhands::{Kind, Task, task};
///
/// #[task]
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// #[task]
/// async fn greet(name: String) -> String {
///     format!("hello, {name}")
/// }
///
/// fn kind_of<T: Task>(_task: T) -> Kind {
///     T::KIND
/// }
///
/// assert_eq!(add(2, 3), 5);
/// assert_eq!(kind_of(add), Kind::Function);
/// assert_eq!(kind_of(greet), Kind::Coroutine);
/// assert!(<add as Task>::NAME.ends_with("::add"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "not a task",
    note = "write `#[task]` (that is `#[manyhands::task]`) above the function, and name the \
            function here without calling it",
    note = "a closure cannot run in another process; it can on `Pool::threads()`, by `spawn`"
)]
pub trait Task: Copy + Send + Sync + 'static {
    /// What is submitted: `()` for a function without arguments, the argument's own type for
    /// one, a tuple for several.
    type Input: Send + 'static;
    /// What the function returns.
    type Output: Send + 'static;
    /// The function's path.
    const NAME: &'static str;
    /// Whether it is a plain `fn` or an `async fn`.
    const KIND: Kind;

    #[doc(hidden)]
    fn registration() -> &'static Registration;

    #[doc(hidden)]
    fn call(input: Self::Input) -> Called<Self::Output>;

    #[doc(hidden)]
    fn encode<'a>(input: &'a Self::Input, to: &mut Encoder<'a>);

    #[doc(hidden)]
    fn decode_input(input: &Source<'_>) -> Result<Self::Input, Failure>;

    #[doc(hidden)]
    fn decode(output: &Source<'_>) -> Result<Self::Output, Failure>;
}

/// What calling a task's function in this process gives.
pub enum Called<T> {
    /// A function's result.
    Value(T),
    /// A coroutine, not begun.
    Future(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> std::fmt::Debug for Called<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value",
            Self::Future(_) => "Future",
        })
    }
}
