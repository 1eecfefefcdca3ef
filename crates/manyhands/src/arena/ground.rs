//! What the writer and its readers alike stand on: the shared memory and its measures.

use std::io;
use std::os::fd::OwnedFd;

use super::error::ArenaError;
use super::layout::Layout;
use super::table::SharedTable;
use crate::sys::mapping::{Access, Mapping};
use crate::sys::memfd::Memfd;

/// An arena's memfd with its head mapped.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) memfd: Memfd,
    pub(super) table: SharedTable,
    pub(super) layout: Layout,
}

impl Ground {
    /// Takes over the memfd of an arena, and validates that it is one.
    pub(super) fn open(fd: OwnedFd) -> Result<Ground, ArenaError> {
        let memfd = Memfd::from_fd(fd)?;
        let layout = Layout::load(&memfd)?;
        let table = SharedTable::map(&memfd, layout)?;
        Ok(Ground {
            memfd,
            table,
            layout,
        })
    }

    /// Maps all of it, so that offsets in the file are offsets in the mapping.
    pub(super) fn map(&self, access: Access) -> io::Result<Mapping> {
        let len = self.layout.file_len();
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Mapping::new(&self.memfd, len, access)
    }
}
