//! What the compiler itself refuses as a task, or as its input: each of these must not compile.
//!
//! An argument, or a result, that serde does not know:
//!
//! ```compile_fail,E0277
//! struct Page(String);
//!
//! #[manyhands::task]
//! fn parse(_page: Page) {}
//! ```
//!
//! ```compile_fail,E0277
//! struct Page(String);
//!
//! #[manyhands::task]
//! fn load(name: String) -> Result<Page, String> {
//!     Ok(Page(name))
//! }
//! ```
//!
//! A coroutine that holds, while it waits, what must stay in its thread:
//!
//! ```compile_fail
//! #[manyhands::task]
//! async fn hold(n: u64) -> u64 {
//!     let held = std::rc::Rc::new(n);
//!     std::future::ready(()).await;
//!     *held
//! }
//! ```
//!
//! A function without the attribute, and a closure:
//!
//! ```compile_fail,E0277
//! fn double(n: u64) -> u64 {
//!     n * 2
//! }
//! manyhands::Pool::builder().build().unwrap().submit(double, 7);
//! ```
//!
//! ```compile_fail,E0277
//! manyhands::Pool::builder().build().unwrap().submit(|n: u64| n * 2, 7);
//! ```
//!
//! An input of another type than the task's:
//!
//! ```compile_fail,E0308
//! #[manyhands::task]
//! fn double(n: u64) -> u64 {
//!     n * 2
//! }
//! manyhands::Pool::builder().build().unwrap().submit(double, "seven");
//! ```
//!
//! An initializer that gives something:
//!
//! ```compile_fail,E0277
//! #[manyhands::task]
//! fn load() -> u64 {
//!     7
//! }
//! let _ = manyhands::Pool::builder().initializer(load, ());
//! ```
//!
//! And what all of them have in common does compile:
//!
//! ```
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Page(String);
//!
//! #[manyhands::task]
//! fn parse(page: Page) -> Result<Page, String> {
//!     if page.0.is_empty() { Err("empty".into()) } else { Ok(page) }
//! }
//!
//! assert!(parse(Page("text".into())).is_ok());
//! assert!(parse(Page(String::new())).is_err());
//! ```
