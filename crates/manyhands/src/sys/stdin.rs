//! Standard input as the way by which a worker gets its control socket.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

/// Takes the control socket away from standard input, which is `/dev/null` from then on; `None`
/// where standard input is no such socket.
pub(crate) fn take_socket() -> Option<OwnedFd> {
    let stdin = std::io::stdin();
    let stdin = stdin.as_fd();
    let is_control = sockopt::socket_domain(stdin) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(stdin) == Ok(SocketType::SEQPACKET);
    if !is_control {
        return None;
    }
    // A duplicate is closed on exec.
    let control = stdin.try_clone_to_owned().ok()?;
    let null = File::open("/dev/null").ok()?;
    rustix::stdio::dup2_stdin(null).ok()?;
    Some(control)
}
