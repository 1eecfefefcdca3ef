//! A batch's log: the outcome of each item as it ends, in the worker's arena.
//!
//! Records follow one another from the start of a span; the count of committed ones is a word of
//! the slot. Where a segment has no room for the next record, a *link* record names the next
//! segment; every segment keeps room for one, and begins with a record. A record is written before
//! it is counted, and a link before the record behind it, so whatever the count says can be read
//! after a death.

use super::notes::Scribbled;
use crate::arena::{Arena, ArenaError, SpanGuard, SpanRef};
use crate::task::{Outcome, Payload};

/// item, flags and code, length
const HEADER: usize = 16;
const LINK: u32 = 1 << 31;
const SPAN: u32 = 1 << 30;
/// A span as three words.
const SPAN_BYTES: usize = 24;
const LINK_BYTES: usize = HEADER + SPAN_BYTES;
const SEGMENT: std::ops::RangeInclusive<usize> = 1024..=64 * 1024;
/// Outcomes larger than this go into spans of their own: every segment has room for one record and
/// a link, so that none begins with a link.
const INLINE_LIMIT: usize = *SEGMENT.start() - HEADER - LINK_BYTES;

fn encode_span(span: SpanRef) -> [u8; SPAN_BYTES] {
    let mut bytes = [0; SPAN_BYTES];
    bytes[..8].copy_from_slice(&span.offset.to_le_bytes());
    bytes[8..16].copy_from_slice(&span.len.to_le_bytes());
    bytes[16..].copy_from_slice(&span.ticket.to_le_bytes());
    bytes
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn decode_span(bytes: &[u8]) -> SpanRef {
    SpanRef {
        offset: word(bytes, 0),
        len: word(bytes, 8),
        ticket: word(bytes, 16),
    }
}

/// The worker's side.
#[derive(Debug)]
pub(super) struct Writer {
    segment: SpanRef,
    at: usize,
}

impl Writer {
    /// A log for about `items` records.
    pub(super) fn begin(arena: &Arena, items: usize) -> Result<Self, ArenaError> {
        let bytes = (items * 64).clamp(*SEGMENT.start(), *SEGMENT.end());
        Ok(Self {
            segment: arena.reserve(bytes as u64)?.commit(),
            at: 0,
        })
    }

    /// Where the log begins.
    pub(super) fn start(&self) -> SpanRef {
        self.segment
    }

    /// Writes one record; the caller counts it afterwards.
    pub(super) fn append(
        &mut self,
        arena: &Arena,
        item: u32,
        code: u8,
        parts: &[&[u8]],
    ) -> Result<(), ArenaError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > INLINE_LIMIT {
            let span = arena.write(parts)?;
            let recorded = self.record(arena, item, SPAN | u32::from(code), &[&encode_span(span)]);
            if recorded.is_err() {
                arena.release(span);
            }
            return recorded;
        }
        self.record(arena, item, u32::from(code), parts)
    }

    fn record(
        &mut self,
        arena: &Arena,
        item: u32,
        flags: u32,
        parts: &[&[u8]],
    ) -> Result<(), ArenaError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let whole = HEADER + len.next_multiple_of(8);
        if self.at + whole + LINK_BYTES > self.segment.len as usize {
            let next = arena.reserve(*SEGMENT.end() as u64)?.commit();
            let link = encode_span(next);
            self.put(arena, 0, LINK, &[&link])?;
            self.segment = next;
            self.at = 0;
        }
        self.put(arena, item, flags, parts)
    }

    fn put(
        &mut self,
        arena: &Arena,
        item: u32,
        flags: u32,
        parts: &[&[u8]],
    ) -> Result<(), ArenaError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&item.to_le_bytes());
        header[4..8].copy_from_slice(&flags.to_le_bytes());
        header[8..].copy_from_slice(&(len as u64).to_le_bytes());
        let mut segment = arena.resume(self.segment);
        let mut at = self.at as u64;
        let whole = [&header[..]].into_iter().chain(parts.iter().copied());
        let written: Result<(), ArenaError> = whole.into_iter().try_for_each(|part| {
            segment.write_at(at, part)?;
            at += part.len() as u64;
            Ok(())
        });
        self.segment = segment.commit();
        written?;
        self.at += HEADER + len.next_multiple_of(8);
        Ok(())
    }
}

/// The parent's side: the first `records` of the log that begins at `start`; `open` gives a
/// span of the worker's arena.
pub(super) fn read(
    start: SpanRef,
    records: u64,
    open: impl Fn(SpanRef) -> Result<SpanGuard, Scribbled>,
) -> Result<Vec<(u32, Outcome)>, Scribbled> {
    let mut found = Vec::with_capacity(records.min(1 << 16) as usize);
    let mut segment = open(start)?.to_vec();
    let mut at = 0;
    while (found.len() as u64) < records {
        let torn = || Scribbled("a batch's log does not end where it should".into());
        let header = segment.get(at..at + HEADER).ok_or_else(torn)?;
        let first = word(header, 0);
        let (item, flags) = (first as u32, (first >> 32) as u32);
        let len = usize::try_from(word(header, 8)).map_err(|_| torn())?;
        let end = (at + HEADER).checked_add(len).ok_or_else(torn)?;
        let body = segment.get(at + HEADER..end).ok_or_else(torn)?;
        if flags & (LINK | SPAN) != 0 && len != SPAN_BYTES {
            return Err(torn());
        }
        if flags & LINK != 0 {
            if at == 0 {
                // No segment begins with a link: it could lead round for ever.
                return Err(torn());
            }
            segment = open(decode_span(body))?.to_vec();
            at = 0;
            continue;
        }
        let payload = if flags & SPAN != 0 {
            Payload::Span(open(decode_span(body))?)
        } else {
            Payload::Bytes(body.into())
        };
        found.push((
            item,
            Outcome::Ended {
                code: flags as u8,
                payload,
            },
        ));
        at = end.next_multiple_of(8);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::arena::{ArenaConfig, ArenaView};

    /// What is read of a log of these outcomes, for about so many of which it was begun.
    fn round_trip(expected: usize, outcomes: &[Vec<u8>]) -> Vec<(u32, u8, Vec<u8>)> {
        let arena = Arena::create(ArenaConfig::default()).unwrap();
        let view = Arc::new(ArenaView::open(arena.fd().try_clone_to_owned().unwrap()).unwrap());
        let mut writer = Writer::begin(&arena, expected).unwrap();
        let start = writer.start();
        for (item, outcome) in (0..).zip(outcomes) {
            let (head, tail) = outcome.split_at(outcome.len() / 3);
            writer
                .append(&arena, item, item as u8, &[head, tail])
                .unwrap();
        }
        let open = |span| Ok(view.span(span).unwrap());
        read(start, outcomes.len() as u64, open)
            .unwrap()
            .into_iter()
            .map(|(item, outcome)| match outcome {
                Outcome::Ended { code, payload } => {
                    let mut bytes = vec![0; payload.len()];
                    payload.copy(0, &mut bytes);
                    (item, code, bytes)
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn check(expected: usize, outcomes: &[Vec<u8>]) {
        let wanted: Vec<_> = (0..)
            .zip(outcomes)
            .map(|(item, outcome)| (item, item as u8, outcome.clone()))
            .collect();
        assert_eq!(round_trip(expected, outcomes), wanted);
    }

    #[test]
    fn an_only_outcome_of_any_size_is_read_back() {
        for len in (0..2 * SEGMENT.start()).chain([*SEGMENT.end(), SEGMENT.end() + 1]) {
            check(1, &[vec![7; len]]);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            expected in 1..40_usize,
            sizes in prop::collection::vec(
                prop_oneof![0..80_usize, INLINE_LIMIT - 24..INLINE_LIMIT + 24, 0..70_000_usize],
                0..150,
            ),
        ) {
            let outcomes: Vec<_> =
                (0..).zip(sizes).map(|(fill, len): (u8, _)| vec![fill; len]).collect();
            check(expected, &outcomes);
        }
    }
}
