//! How often each task has begun, counted where a killed worker's counts survive it: in a file.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Tells the workers where the file is.
pub const MARKS_FILE: &str = "MANYHANDS_TEST_MARKS";

/// A counter for each task.
pub struct Marks {
    counters: *mut AtomicU8,
    len: usize,
    path: Option<PathBuf>,
}

// SAFETY: the mapping belongs to the process, and holds nothing but atomics.
unsafe impl Send for Marks {}
// SAFETY: as above.
unsafe impl Sync for Marks {}

impl Marks {
    pub fn create(len: usize) -> Self {
        static FILES: AtomicU8 = AtomicU8::new(0);
        let file = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("manyhands-marks-{}-{file}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        file.set_len(len as u64).unwrap();
        Self {
            path: Some(path),
            ..Self::map(&file)
        }
    }

    pub fn open(path: &str) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        Self::map(&file)
    }

    fn map(file: &File) -> Self {
        let len = file.metadata().unwrap().len() as usize;
        // SAFETY: no address is asked for, so no existing memory is touched.
        let counters = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(counters, libc::MAP_FAILED);
        Self {
            counters: counters.cast(),
            len,
            path: None,
        }
    }

    pub fn path(&self) -> &str {
        self.path.as_ref().unwrap().to_str().unwrap()
    }

    fn counter(&self, id: u64) -> &AtomicU8 {
        assert!((id as usize) < self.len);
        // SAFETY: within the mapping, which is never unmapped; an atomic of any value is valid.
        unsafe { &*self.counters.add(id as usize) }
    }

    pub fn begin(&self, id: u64) {
        self.counter(id).fetch_add(1, Ordering::Relaxed);
    }

    pub fn begun(&self, id: u64) -> u8 {
        self.counter(id).load(Ordering::Relaxed)
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
