//! The examples run, and find what they should: each checks its own answers.

use std::path::PathBuf;
use std::process::Command;

/// Where cargo has put an example, when it built this test.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    assert!(path.ends_with("deps"), "{path:?}");
    path.set_file_name("examples");
    path.push(name);
    assert!(path.exists(), "{path:?}; `cargo build --examples` makes it");
    path
}

fn run(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(example(name))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn primes_are_counted_alike_on_processes_and_threads() {
    let text = run("primes", &["100000"]);
    assert_eq!(text.matches("9592 primes").count(), 2, "{text}");
}

#[test]
fn the_crawler_finds_every_page() {
    assert!(run("crawler", &[]).contains("500 pages in all"));
}

#[test]
fn a_crash_costs_only_itself() {
    assert!(run("crash", &[]).contains("36 measured, 4 crashed"));
}

#[test]
fn a_runaway_loop_is_stopped() {
    assert_eq!(run("runaway", &[]).matches("still not there").count(), 4);
}
