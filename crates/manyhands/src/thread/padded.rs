//! A value alone on its cache lines: two, since the processor fetches them in pairs.

#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);
