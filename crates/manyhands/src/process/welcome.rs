//! What parent and worker say to each other over the control socket.
//!
//! The parent sends the welcome before the process exists: the numbers of the place, and
//! every descriptor that a worker needs. When it knows the process, it admits it; before that the
//! process touches nothing of the pool. The worker answers once: it is ready, or its initializer
//! failed, and how. The protocol is in README.md, "Taking a seat".

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use crate::sys::channel::{Channel, MAX_DESCRIPTORS, MAX_MESSAGE};
use crate::sys::event::wait_any;

/// Descriptors before the lanes' events: board, the parent's arena, the worker's own arena, the
/// parent's process, and the doorbells.
const FIXED: usize = 4 + super::DOORBELLS;

const ADMITTED: &[u8] = b"admitted";

/// The numbers in a welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) worker: usize,
    pub(super) epoch: u16,
    pub(super) lanes: usize,
}

/// A welcome as the worker receives it.
pub(super) struct Welcome {
    pub(super) place: Place,
    pub(super) board: OwnedFd,
    pub(super) inputs: OwnedFd,
    pub(super) outputs: OwnedFd,
    pub(super) parent: OwnedFd,
    pub(super) doorbells: Vec<OwnedFd>,
    pub(super) lanes: Vec<OwnedFd>,
}

pub(super) fn send(
    channel: &Channel,
    place: Place,
    fixed: &[BorrowedFd<'_>; 4],
    doorbells: &[impl AsFd],
    lanes: &[impl AsFd],
) -> io::Result<()> {
    let mut message = Vec::with_capacity(24);
    for number in [
        place.worker as u64,
        u64::from(place.epoch),
        place.lanes as u64,
    ] {
        message.extend(number.to_le_bytes());
    }
    let mut descriptors = fixed.to_vec();
    descriptors.extend(doorbells.iter().map(AsFd::as_fd));
    channel.send(&message, &descriptors)?;
    let lanes: Vec<_> = lanes.iter().map(AsFd::as_fd).collect();
    lanes
        .chunks(MAX_DESCRIPTORS)
        .try_for_each(|some| channel.send(b"lanes", some))
}

/// The process that the launcher has made may take its seat.
pub(super) fn admit(channel: &Channel) -> io::Result<()> {
    channel.send(ADMITTED, &[])
}

fn gone() -> io::Error {
    let text = "the pool's owner is gone, or does without this worker";
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

fn foreign() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a welcome of this version")
}

/// Waits until the parent admits this process.
pub(super) fn await_admission(channel: &Channel, parent: &impl AsFd) -> io::Result<()> {
    loop {
        // End of file alone would not tell of the parent's death where a process that it forked
        // holds its end of the socket.
        let mut fds = [
            PollFd::new(channel, PollFlags::IN),
            PollFd::new(parent, PollFlags::IN),
        ];
        wait_any(&mut fds, None)?;
        if !fds[1].revents().is_empty() {
            return Err(gone());
        }
        match channel.receive(false) {
            Ok(Some((message, _))) if message == ADMITTED => return Ok(()),
            Ok(Some(_)) => return Err(foreign()),
            Ok(None) => return Err(gone()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn receive(channel: &Channel) -> io::Result<Welcome> {
    let (message, fixed) = channel.receive(true)?.ok_or_else(gone)?;
    if message.len() != 24 || fixed.len() != FIXED {
        return Err(foreign());
    }
    let number = |at: usize| {
        let bytes = message[at * 8..at * 8 + 8]
            .try_into()
            .map_err(|_| foreign())?;
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| foreign())
    };
    let epoch = u16::try_from(number(1)?).map_err(|_| foreign())?;
    let place = Place {
        worker: number(0)?,
        epoch,
        lanes: number(2)?,
    };
    let mut lanes = Vec::with_capacity(place.lanes);
    while lanes.len() < place.lanes {
        lanes.extend(channel.receive(true)?.ok_or_else(gone)?.1);
    }
    let mut fixed = fixed.into_iter();
    let mut next = || fixed.next().ok_or_else(foreign);
    Ok(Welcome {
        place,
        board: next()?,
        inputs: next()?,
        outputs: next()?,
        parent: next()?,
        doorbells: fixed.collect(),
        lanes,
    })
}

/// A worker's answer.
pub(super) enum Answer {
    Ready,
    InitializerFailed(Box<[u8]>),
}

const READY: u8 = 1;
const FAILED: u8 = 2;

impl Answer {
    pub(super) fn send(&self, channel: &Channel) -> io::Result<()> {
        match self {
            Self::Ready => channel.send(&[READY], &[]),
            Self::InitializerFailed(error) => {
                let error = &error[..error.len().min(MAX_MESSAGE - 1)];
                channel.send(&[&[FAILED], error].concat(), &[])
            }
        }
    }

    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        match message.split_first()? {
            (&READY, []) => Some(Self::Ready),
            (&FAILED, error) => Some(Self::InitializerFailed(error.into())),
            _ => None,
        }
    }
}
