//! What a thread is called in lists of processes; prctl(2), `PR_SET_NAME`.

use std::ffi::CString;

/// The kernel keeps so many bytes.
const MOST: usize = 15;

/// The name without NUL characters, which end a name for the system, and at which the standard
/// library panics.
#[cfg(not(loom))]
pub(crate) fn without_nul(name: &str) -> String {
    name.replace('\0', "")
}

/// Names the calling thread; a process goes by the name of its main thread.
pub(crate) fn name_thread(name: &str) {
    let name: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(MOST).collect();
    if let Ok(name) = CString::new(name) {
        // Of no consequence but in such lists.
        let _named = rustix::thread::set_name(&name);
    }
}
