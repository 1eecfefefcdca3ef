//! What knows the operating system: one primitive a file. Nothing else in the crate calls the
//! kernel.
#![allow(unsafe_code)]

pub mod channel;
pub mod clock;
pub mod cores;
pub mod event;
pub mod forked;
pub mod heap;
pub mod mapping;
pub mod memfd;
pub mod parker;
pub mod pidfd;
pub(crate) mod scoped;
pub mod signals;
pub mod timer;
