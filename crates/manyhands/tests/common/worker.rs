//! The worker: what a task's function name makes it do.

use std::collections::HashMap;
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use manyhands::Kind;
use manyhands::process::{Input, Job, Lane, Next, Seat};
use manyhands::task::{RETRY, STOPPED};

use super::marks::{MARKS_FILE, Marks};
use super::{CONTROL, START};

pub const OPERATIONS: &[&str] = &[
    "echo", "double", "sleep", "spin", "panic", "abort", "exit", "pid", "allocate", "fork",
    "items", "leak", "mark", "count", "scribble", "nap", "snore", "attempt", "listen",
];

/// Items of a batch: an operation and an argument.
pub const DOUBLE: u8 = 0;
pub const DIE: u8 = 1;
pub const SLEEP: u8 = 2;
/// Gives back as many bytes as the argument says.
pub const BYTES: u8 = 3;
/// Counts the run in [`super::marks`], spins for a while, doubles.
pub const MARK: u8 = 4;

pub fn item(operation: u8, argument: u64) -> [u8; 9] {
    let mut bytes = [operation; 9];
    bytes[1..].copy_from_slice(&argument.to_le_bytes());
    bytes
}

/// How an "attempt" fails, see [`attempt`].
pub const FAIL: u64 = 0;
pub const PERISH: u64 = 1;
pub const OVERRUN: u64 = 2;
/// Does not fail, but takes so many microseconds as `bad` says.
pub const TAKE: u64 = 3;

/// The input of "attempt": counts under `id`, and fails in this way as long as it counts no more
/// than `bad`; gives the double of `id` after that.
pub fn attempt(id: u64, way: u64, bad: u64) -> Vec<u8> {
    [id, way, bad].map(u64::to_le_bytes).concat()
}

/// The code of a task that panicked.
pub const PANICKED: u8 = 1;

pub fn become_worker_if_asked() {
    let Ok(control) = std::env::var(CONTROL) else {
        return;
    };
    // SAFETY: the parent put the number of an open descriptor there for this process alone.
    let control = unsafe { OwnedFd::from_raw_fd(control.parse().unwrap()) };
    // SAFETY: no other thread of this process runs yet that could read the environment.
    unsafe { std::env::remove_var(CONTROL) };
    let seat = Seat::join(control).unwrap();
    match std::env::var(START).as_deref() {
        Ok("fail") => {
            seat.initializer_failed(b"no luck").unwrap();
            std::process::exit(3);
        }
        Ok("exit") => std::process::exit(7),
        _ => {}
    }
    let coroutines = seat.clone();
    seat.guard(move || {
        thread::spawn(move || serve_coroutines(&coroutines));
    })
    .unwrap();
    seat.ready().unwrap();
    serve_functions(&seat);
    std::process::exit(0);
}

fn serve_functions(seat: &Arc<Seat>) {
    let mut lane = seat.lane(Kind::Function);
    let mut names = HashMap::new();
    loop {
        match lane.wait_next().unwrap() {
            Next::Job(mut job) => {
                lane.start(&mut job).unwrap();
                run(&mut lane, job, &mut names);
            }
            Next::Closing => return,
            Next::Interrupted => {}
        }
    }
}

/// A job that only waits: many of them at once, as coroutines are.
struct Nap {
    job: Job,
    end: Instant,
    /// Goes on although it is asked to stop.
    deaf: bool,
}

fn serve_coroutines(seat: &Arc<Seat>) {
    let mut lane = seat.lane(Kind::Coroutine);
    let (mut names, mut naps) = (HashMap::new(), Vec::<Nap>::new());
    loop {
        let asked = |lane: &Lane, nap: &Nap| !nap.deaf && lane.asked(&nap.job);
        let now = Instant::now();
        let over = naps.extract_if(.., |nap| nap.end <= now || asked(&lane, nap));
        for nap in over.collect::<Vec<_>>() {
            let code = if asked(&lane, &nap) { STOPPED } else { 0 };
            lane.complete(&nap.job, code, &[]).unwrap();
        }
        if seat.is_closing() && naps.is_empty() {
            return;
        }
        if !seat.is_closing()
            && let Some(mut job) = lane.claim()
        {
            lane.start(&mut job).unwrap();
            let name = name_of(&lane, &job, &mut names);
            if name == "nap" || name == "snore" {
                let Input::Inline(bytes, 8) = lane.input(&job).unwrap() else {
                    unreachable!("a number");
                };
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                let end = Instant::now() + Duration::from_micros(length);
                let deaf = name == "snore";
                naps.push(Nap { job, end, deaf });
            } else {
                run(&mut lane, job, &mut names);
            }
            continue;
        }
        if !lane.rest() && !seat.is_closing() {
            continue;
        }
        let first = naps.iter().map(|nap| nap.end).min();
        let left = first.map(|end| end.saturating_duration_since(Instant::now()));
        lane.event().wait(left).unwrap();
        lane.woke();
    }
}

fn name_of(lane: &Lane, job: &Job, names: &mut HashMap<u64, String>) -> String {
    let read = || String::from_utf8(lane.definition(job).unwrap().to_vec()).unwrap();
    names.entry(job.function()).or_insert_with(read).clone()
}

fn run(lane: &mut Lane, mut job: Job, names: &mut HashMap<u64, String>) {
    let name = name_of(lane, &job, names);
    let bytes;
    let input = lane.input(&job).unwrap();
    let input: &[u8] = match &input {
        Input::Inline(bytes, len) => &bytes[..*len],
        Input::Span(span) => {
            bytes = span.to_vec();
            &bytes
        }
    };
    if job.is_batch() {
        while let Some(index) = lane.next_item(&job) {
            let item = &input[index as usize * 9..][..9];
            let output = run_item(item[0], u64::from_le_bytes(item[1..].try_into().unwrap()));
            lane.complete_item(&mut job, index, 0, &[&output]).unwrap();
        }
        lane.complete_batch(&job);
        return;
    }
    if name == "attempt" {
        let number = |at: usize| u64::from_le_bytes(input[at..at + 8].try_into().unwrap());
        let (id, way, bad) = (number(0), number(8), number(16));
        let marks = marks();
        marks.begin(id);
        match way {
            TAKE => {
                spin(bad);
                lane.complete(&job, 0, &[&(id * 2).to_le_bytes()]).unwrap();
            }
            _ if u64::from(marks.begun(id)) > bad => {
                lane.complete(&job, 0, &[&(id * 2).to_le_bytes()]).unwrap();
            }
            FAIL => lane.complete(&job, RETRY | PANICKED, &[b"again"]).unwrap(),
            PERISH => die(),
            OVERRUN => loop {
                std::hint::spin_loop();
            },
            other => unreachable!("way {other}"),
        }
        return;
    }
    if name == "listen" {
        // As code would that knows nothing of lanes.
        let flag = lane.stop_flag(&job);
        while !flag.is_set() {
            thread::sleep(Duration::from_micros(100));
        }
        lane.complete(&job, STOPPED, &[]).unwrap();
        return;
    }
    match catch_unwind(AssertUnwindSafe(|| operate(&name, input))) {
        Ok(output) => lane.complete(&job, 0, &[&output]).unwrap(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().unwrap();
            lane.complete(&job, PANICKED, &[text.as_bytes()]).unwrap();
        }
    }
}

fn run_item(operation: u8, argument: u64) -> Vec<u8> {
    match operation {
        DOUBLE => (argument * 2).to_le_bytes().to_vec(),
        DIE => die(),
        SLEEP => {
            thread::sleep(Duration::from_millis(argument));
            Vec::new()
        }
        BYTES => vec![argument as u8; argument as usize],
        MARK => mark(argument),
        other => unreachable!("item {other}"),
    }
}

fn die() -> ! {
    // SAFETY: sends a signal to this process, and touches no memory.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("SIGKILL came");
}

fn spin(micros: u64) {
    let end = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

fn marks() -> &'static Marks {
    static MARKS: OnceLock<Marks> = OnceLock::new();
    MARKS.get_or_init(|| Marks::open(&std::env::var(MARKS_FILE).unwrap()))
}

/// Says that the task `id` has begun, and gives back its double.
fn mark(id: u64) -> Vec<u8> {
    marks().begin(id);
    spin(id * 7 % 120);
    (id * 2).to_le_bytes().to_vec()
}

/// Overwrites the board, all of it or, with a second number, every so many bytes of it: what a
/// native library's stray pointer might do.
fn scribble(input: &[u8]) {
    let number = |at: usize| u64::from_le_bytes(input[at..at + 8].try_into().unwrap()) as usize;
    let (byte, step) = (number(0) as u8, number(8));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let board = maps
        .lines()
        .find(|line| line.contains("memfd:manyhands-board"))
        .unwrap();
    let (range, _) = board.split_once(' ').unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap());
    for at in (start..end).step_by(step) {
        // SAFETY: not at all, on purpose: the range is mapped for writing, and that what others
        // rely on is overwritten is what is tested.
        unsafe { (at as *mut u8).write_volatile(byte) };
    }
}

fn operate(name: &str, input: &[u8]) -> Vec<u8> {
    let number = || u64::from_le_bytes(input[..8].try_into().unwrap());
    match name {
        "echo" => input.to_vec(),
        "double" => (number() * 2).to_le_bytes().to_vec(),
        "sleep" => {
            thread::sleep(Duration::from_millis(number()));
            Vec::new()
        }
        "mark" => mark(number()),
        "count" => {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            count.to_le_bytes().to_vec()
        }
        "spin" => {
            spin(number());
            number().to_le_bytes().to_vec()
        }
        "panic" => panic!("{} is not to my taste", String::from_utf8_lossy(input)),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(number() as i32),
        "pid" => u64::from(std::process::id()).to_le_bytes().to_vec(),
        "allocate" => vec![7; number() as usize],
        "fork" => {
            // SAFETY: the child only returns into the worker's loop, which is what is tested:
            // it is to be ended there, before it touches the board.
            let child = unsafe { libc::fork() };
            assert!(child >= 0);
            if child == 0 {
                return b"the child's".to_vec();
            }
            let mut status = 0;
            // SAFETY: waits for one's own child, and stores into a local.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(waited, child);
            let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
            format!("{signal:?}").into_bytes()
        }
        "scribble" => {
            scribble(input);
            Vec::new()
        }
        "leak" => {
            // A process that outlives its task and holds what the worker held, as a careless
            // task's subprocess would.
            // SAFETY: the child calls only async-signal-safe functions, and then exits.
            match unsafe { libc::fork() } {
                0 => {
                    // SAFETY: as above.
                    unsafe {
                        libc::usleep(number() as u32 * 1000);
                        libc::_exit(0)
                    }
                }
                child => (child as u64).to_le_bytes().to_vec(),
            }
        }
        other => unreachable!("operation {other}"),
    }
}
