//! Calls a function that crashes now and then, as a native library may: each crash costs one
//! answer, and no more.

use manyhands::{Error, Exit, Pool, task};

/// Stands for a library with a bug: some inputs make it follow a stray pointer.
fn native_measure(picture: u64) -> u64 {
    if picture % 10 == 3 {
        let stray = std::ptr::without_provenance_mut::<u64>(8);
        // SAFETY: none whatever. The write is meant to end this process.
        #[allow(unsafe_code)]
        unsafe {
            stray.write_volatile(picture);
        }
    }
    picture * picture
}

#[task]
fn measure(picture: u64) -> u64 {
    native_measure(picture)
}

fn main() -> manyhands::Result<()> {
    manyhands::init();
    let pool = Pool::builder().workers(2).build()?;
    let (mut measured, mut crashed) = (Vec::new(), Vec::new());
    for (picture, result) in pool.map(measure, 0..40).enumerate() {
        match result {
            Ok(size) => {
                assert_eq!(size, (picture * picture) as u64);
                measured.push(picture);
            }
            Err(Error::WorkerDied { exit, pid, .. }) => {
                println!("picture {picture}: worker {pid} {exit}");
                assert_eq!(exit, Exit::Signal(11), "SIGSEGV");
                crashed.push(picture);
            }
            Err(other) => return Err(other),
        }
    }
    println!("{} measured, {} crashed", measured.len(), crashed.len());
    assert_eq!(crashed, [3, 13, 23, 33]);
    assert_eq!(measured.len(), 36);
    pool.shutdown()
}
