//! The process pool from its owner's side. Each test's name is a claim.

mod common;

use common::Tester;

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

#[test]
fn bytes_of_any_size_come_back_as_they_went() {
    let tester = Tester::new(2);
    for size in [0, 1, 192, 193, 64 << 10, 64 << 20] {
        let input: Vec<u8> = (0..size).map(|at: usize| (at * 31 >> 3) as u8).collect();
        assert!(tester.call("echo", &input) == input, "{size} bytes");
    }
    tester.finish();
}
