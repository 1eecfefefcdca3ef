//! Where things lie in an arena's memfd: a header page, the span table, the payloads.
//!
//! The header's facts are written once, before the memfd has a second holder, and copied into
//! private memory by everyone who opens it. What changes later are three atomic words, each on
//! a cache line of its own.

use super::config::ArenaConfig;
use super::entry::{ENTRY_SIZE, MAX_ENTRIES};
use super::error::ArenaError;
use crate::sys::memfd::Memfd;

/// "manyhand", to tell an arena from any other file.
const MAGIC: u64 = u64::from_ne_bytes(*b"manyhand");

/// Changes whenever the layout does; all processes of a pool run one version of the crate.
const VERSION: u64 = 1;

/// The words of the header's facts.
const FACTS: usize = 6;

/// The writer's process id once there is one, 0 before.
pub(super) const WRITER_AT: u64 = 64;
/// How many bytes of warm free memory the writer has: a hint for readers.
pub(super) const WARM_FREE_AT: u64 = 128;
/// Bytes of large spans that readers released warm and the writer has not collected: a hint.
pub(super) const UNCOLLECTED_AT: u64 = 192;

/// The facts of one arena. A private copy, validated: offsets below are safe to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The entries of the span table.
    pub(super) entries: u32,
    /// The size of a page, which large spans are aligned to.
    pub(super) page: u64,
    /// The bytes of all payloads together, whole pages.
    pub(super) capacity: u64,
    /// See [`ArenaConfig::keep_warm`].
    pub(super) keep_warm: u64,
}

impl Layout {
    /// The layout that a configuration asks for.
    pub(super) fn new(config: &ArenaConfig) -> Layout {
        let page = rustix::param::page_size() as u64;
        let most = (isize::MAX as u64) / 4;
        Layout {
            entries: config.spans.clamp(1, MAX_ENTRIES),
            page,
            capacity: config.capacity.clamp(page, most).next_multiple_of(page),
            keep_warm: config.keep_warm,
        }
    }

    /// Where the span table begins: one page is left to the header.
    pub(super) fn table_at(&self) -> u64 {
        self.page
    }

    /// Where an entry of the span table lies (or, past the last, where the table ends).
    pub(super) fn entry_at(&self, index: u32) -> u64 {
        self.table_at() + u64::from(index) * ENTRY_SIZE
    }

    /// Where the payloads begin; header and table are what lies before.
    pub(super) fn payload_at(&self) -> u64 {
        self.entry_at(self.entries).next_multiple_of(self.page)
    }

    /// The size of the whole memfd.
    pub(super) fn file_len(&self) -> u64 {
        self.payload_at() + self.capacity
    }

    /// Writes the facts into a fresh memfd and allocates the header's page.
    pub(super) fn store(&self, memfd: &Memfd) -> std::io::Result<()> {
        let facts: [u64; FACTS] = [
            MAGIC,
            VERSION,
            u64::from(self.entries),
            self.page,
            self.capacity,
            self.keep_warm,
        ];
        memfd.allocate(0, self.page)?;
        memfd.write_at(facts.map(u64::to_ne_bytes).as_flattened(), 0)
    }

    /// Reads and validates the facts of a memfd that someone else made.
    pub(super) fn load(memfd: &Memfd) -> Result<Layout, ArenaError> {
        let mut bytes = [0u8; FACTS * 8];
        let read = rustix::io::pread(memfd, &mut bytes, 0).map_err(std::io::Error::from)?;
        if read != bytes.len() {
            return Err(ArenaError::NotAnArena("it is too short"));
        }
        let mut words = [0u64; FACTS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        let [magic, version, entries, page, capacity, keep_warm] = words;
        if magic != MAGIC {
            return Err(ArenaError::NotAnArena("its header is missing"));
        }
        if version != VERSION {
            return Err(ArenaError::NotAnArena(
                "another version of manyhands made it",
            ));
        }
        let entries = u32::try_from(entries)
            .ok()
            .filter(|n| (1..=MAX_ENTRIES).contains(n));
        let (Some(entries), true) = (entries, page == rustix::param::page_size() as u64) else {
            return Err(ArenaError::NotAnArena("its header makes no sense"));
        };
        let layout = Layout {
            entries,
            page,
            capacity,
            keep_warm,
        };
        let fits = capacity > 0
            && capacity.is_multiple_of(page)
            && capacity <= memfd.len()
            && layout.file_len() == memfd.len();
        if fits {
            Ok(layout)
        } else {
            Err(ArenaError::NotAnArena("its header does not match its size"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_survives_the_memfd() {
        let config = ArenaConfig {
            capacity: 12_345_678,
            keep_warm: 5,
            spans: 1000,
        };
        let layout = Layout::new(&config);
        let memfd = Memfd::create("test", layout.file_len()).unwrap();
        assert!(matches!(
            Layout::load(&memfd),
            Err(ArenaError::NotAnArena(_))
        ));
        layout.store(&memfd).unwrap();
        assert_eq!(Layout::load(&memfd).unwrap(), layout);
        assert_eq!(layout.payload_at() % layout.page, 0);
    }

    #[test]
    fn a_header_that_contradicts_the_file_is_refused() {
        let layout = Layout::new(&ArenaConfig {
            capacity: 1 << 20,
            keep_warm: 0,
            spans: 100,
        });
        let memfd = Memfd::create("test", layout.file_len() + layout.page).unwrap();
        layout.store(&memfd).unwrap();
        assert!(matches!(
            Layout::load(&memfd),
            Err(ArenaError::NotAnArena(_))
        ));
    }
}
