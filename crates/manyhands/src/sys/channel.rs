//! A control socket between parent and worker: messages with descriptors, see unix(7)
//! (`SOCK_SEQPACKET`, `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
    recvmsg, sendmsg, shutdown, socketpair,
};

/// Descriptors in one message at the most; the kernel's own limit (`SCM_MAX_FD`) is 253.
pub const MAX_DESCRIPTORS: usize = 128;

/// Bytes in one message at the most; well within the default socket buffer.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// One end of a control socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends, both closed on exec.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), Self(theirs)))
    }

    /// Sends one message, with up to [`MAX_DESCRIPTORS`] descriptors.
    ///
    /// # Errors
    /// The other end is closed, or the message is too large.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} descriptors in one message", descriptors.len()),
            ));
        }
        rustix::io::retry_on_intr(|| {
            sendmsg(
                &self.0,
                &[IoSlice::new(message)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )
        })?;
        Ok(())
    }

    /// Ends the conversation in both directions, also for whoever else holds this end, as a child
    /// that the program forked does: the other end finds what was sent before, and then the end.
    ///
    /// # Errors
    /// The other end is closed.
    pub fn end(&self) -> io::Result<()> {
        Ok(shutdown(&self.0, Shutdown::Both)?)
    }

    /// Receives one message; `None` when the other end is closed. Blocks unless `wait` is false,
    /// where [`io::ErrorKind::WouldBlock`] says that nothing is there.
    ///
    /// # Errors
    /// As recvmsg(2); or descriptors were lost because this process may open no more.
    pub fn receive(&self, wait: bool) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut message = vec![0; MAX_MESSAGE];
        let flags = RecvFlags::CMSG_CLOEXEC
            | if wait {
                RecvFlags::empty()
            } else {
                RecvFlags::DONTWAIT
            };
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut message)],
                &mut ancillary,
                flags,
            )
        });
        let received = match received {
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            other => other?,
        };
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other(
                "this process may not open the descriptors that it was sent; \
                 raise its limit of open files (RLIMIT_NOFILE)",
            ));
        }
        let mut descriptors = Vec::new();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 && descriptors.is_empty() {
            return Ok(None);
        }
        message.truncate(received.bytes);
        Ok(Some((message, descriptors)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_with_their_descriptors() {
        let (ours, theirs) = Channel::pair().unwrap();
        let event = crate::sys::event::Event::new().unwrap();
        ours.send(b"hello", &[event.as_fd()]).unwrap();
        let (message, mut descriptors) = theirs.receive(true).unwrap().unwrap();
        assert_eq!(message, b"hello");
        let copy = crate::sys::event::Event::from(descriptors.pop().unwrap());
        copy.set();
        assert!(event.clear());
        drop(ours);
        assert!(theirs.receive(true).unwrap().is_none());
    }

    #[test]
    fn an_end_reaches_the_other_side_though_a_copy_of_this_one_is_held() {
        let (ours, theirs) = Channel::pair().unwrap();
        let copy = ours.0.try_clone().unwrap();
        ours.send(b"last", &[]).unwrap();
        ours.end().unwrap();
        assert_eq!(theirs.receive(true).unwrap().unwrap().0, b"last");
        assert!(theirs.receive(true).unwrap().is_none());
        drop(copy);
    }
}
