//! A program that forgot `init` is told so, and starts no process.

use manyhands::{Error, Pool};

#[test]
fn a_pool_without_init_says_what_to_add() {
    let error = Pool::builder().build().unwrap_err();
    assert!(matches!(error, Error::NotInitialized));
    let text = error.to_string();
    assert!(text.contains("`manyhands::init();`"), "{text}");
    assert!(text.contains("`manyhands::testing::worker!();`"), "{text}");
    // What is printed when `main` returns it.
    assert_eq!(format!("{error:?}"), format!("NotInitialized: {text}"));
}
