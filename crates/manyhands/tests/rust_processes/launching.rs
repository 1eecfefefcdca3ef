//! How workers are started, and what else may look like one.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use manyhands::{Error, Pool, task};

use super::{double, watchdog};

#[task]
fn standard_streams() -> (String, bool) {
    let stdin = std::fs::read_link("/proc/self/fd/0").unwrap();
    let mut text = String::new();
    let at_end = std::io::Read::read_to_string(&mut std::io::stdin(), &mut text).unwrap() == 0;
    (stdin.to_str().unwrap().to_owned(), at_end)
}

#[test]
fn a_workers_standard_input_is_empty() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let (stdin, at_end) = pool.submit(standard_streams, ()).wait().unwrap();
    assert_eq!((stdin.as_str(), at_end), ("/dev/null", true));
}

/// What this binary says when a task starts it, as some other program.
#[test]
fn entry_for_a_subprocess() {
    if std::env::var_os("MANYHANDS_TEST_SUBPROCESS").is_some() {
        manyhands::init();
        println!("not a worker");
    }
}

#[task]
fn starts_a_program(stdin_is_inherited: bool) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "launching::entry_for_a_subprocess",
            "--exact",
            "--nocapture",
        ])
        .env("MANYHANDS_TEST_SUBPROCESS", "1");
    if !stdin_is_inherited {
        command.stdin(Stdio::piped());
    }
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_subprocess_of_a_task_is_no_worker() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    for inherited in [true, false] {
        let said = pool.submit(starts_a_program, inherited).wait().unwrap();
        assert!(said.contains("not a worker"), "{said}");
    }
}

#[task]
fn names() -> (String, Vec<String>) {
    let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    (name.trim().to_owned(), std::env::args().collect())
}

#[test]
fn workers_go_by_the_pools_name() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).name("parsers").build().unwrap();
    let (name, arguments) = pool.submit(names, ()).wait().unwrap();
    assert_eq!(name, "parsers-0");
    assert!(arguments[1].ends_with("manyhands_worker"), "{arguments:?}");
    assert!(format!("{pool:?}").contains("parsers"));
}

#[task]
#[allow(unsafe_code)]
fn interrupted() -> bool {
    // SAFETY: sends a signal, which this process handles; touches no memory.
    unsafe { libc::raise(libc::SIGINT) == 0 }
}

#[test]
fn workers_leave_ctrl_c_to_the_parent() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    assert!(pool.submit(interrupted, ()).wait().unwrap());
    assert_eq!(pool.submit(double, 1).wait().unwrap(), 2);
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let refused = |builder: manyhands::Builder, name: &str, text: &str| {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::Setting { name: found, .. } if found == name));
        assert_eq!(error.to_string(), text);
    };
    for workers in [0, 257] {
        let text = format!("`workers` must be from 1 to 256, not {workers}");
        refused(Pool::builder().workers(workers), "workers", &text);
    }
    let text = "`concurrency` must be 1 or more, not 0";
    refused(Pool::builder().concurrency(0), "concurrency", text);
    let text = "`max_tasks` must be 1 or more, not 0";
    refused(Pool::builder().max_tasks(0), "max_tasks", text);
}

/// What the calling thread blocks, and how a program that it starts ends by SIGTERM.
fn signals() -> (String, Option<i32>) {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let blocked = status.lines().find(|line| line.starts_with("SigBlk"));
    let mut shell = Command::new("sh");
    let ended = shell.args(["-c", "kill -TERM $$; exit 9"]).status();
    (blocked.unwrap().to_owned(), ended.unwrap().signal())
}

#[task]
fn signals_of_functions() -> (String, Option<i32>) {
    signals()
}

#[task]
async fn signals_of_coroutines() -> (String, Option<i32>) {
    signals()
}

#[test]
fn tasks_and_what_they_start_hear_of_the_signals_that_the_program_hears_of() {
    let _watchdog = watchdog();
    let expected = signals();
    assert_eq!(expected.1, Some(libc::SIGTERM));
    let pool = Pool::builder().workers(1).build().unwrap();
    // The first worker and its replacement.
    for _ in 0..2 {
        let handle = pool.submit(signals_of_functions, ());
        assert_eq!(handle.wait().unwrap(), expected);
        let handle = pool.submit(signals_of_coroutines, ());
        assert_eq!(handle.wait().unwrap(), expected);
        pool.submit(super::abort, ()).wait().unwrap_err();
    }
}

#[task]
#[allow(unsafe_code)]
fn terminated() {
    // SAFETY: sends a signal, which ends this process; touches no memory.
    unsafe { libc::raise(libc::SIGTERM) };
}

#[test]
fn a_worker_is_ended_by_sigterm() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let text = pool.submit(terminated, ()).wait().unwrap_err().to_string();
    assert!(text.contains("was killed by SIGTERM (signal 15)"), "{text}");
}

#[test]
fn a_forked_child_cannot_use_the_pool_and_does_not_end_it() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let handle = pool.submit(super::sleep, 100);
    #[allow(unsafe_code)]
    // SAFETY: the child takes no lock that another thread may have held, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = matches!(
            (pool.submit(double, 1).wait(), handle.wait()),
            (
                Err(manyhands::Error::OtherProcess),
                Err(manyhands::Error::OtherProcess)
            )
        );
        drop(pool);
        #[allow(unsafe_code)]
        // SAFETY: ends the child without its parent's destructors.
        unsafe {
            libc::_exit(i32::from(!refused))
        };
    }
    let mut status = 0;
    #[allow(unsafe_code)]
    // SAFETY: waits for one's own child, and stores into a local.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    assert_eq!(handle.wait().unwrap(), 100);
    assert_eq!(pool.submit(double, 1).wait().unwrap(), 2);
}
