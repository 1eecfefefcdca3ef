//! Nothing: the measures are in `benches/`. In a crate of their own, so that tests need not build
//! what is measured beside us.
