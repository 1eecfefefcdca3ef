//! An arena and its views, across threads: what the README promises, one claim a test.

use std::sync::Arc;

use super::ledger::LARGE;
use super::*;

mod memory;
mod races;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn config(capacity: u64, keep_warm: u64) -> ArenaConfig {
    ArenaConfig {
        capacity,
        keep_warm,
        spans: 1 << 17,
    }
}

fn pair(config: ArenaConfig) -> (Arena, Arc<ArenaView>) {
    let arena = Arena::create(config).unwrap();
    let view = ArenaView::open(arena.fd().try_clone_to_owned().unwrap()).unwrap();
    (arena, Arc::new(view))
}

/// The memory behind an arena's memfd.
fn occupied(arena: &Arena) -> u64 {
    u64::try_from(rustix::fs::fstat(arena.fd()).unwrap().st_blocks).unwrap() * 512
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn what_is_written_is_read_whatever_its_size() {
    let (arena, view) = pair(config(64 * MIB, 16 * MIB));
    for round in 0..3 {
        for len in [
            1,
            63,
            64,
            65,
            192,
            4096,
            65_535,
            65_536,
            65_537,
            1 << 20,
            (5 << 20) + 1,
        ] {
            let bytes = pattern(round, len);
            let (a, b) = bytes.split_at(len / 3);
            let span = arena.write(&[a, &[], b]).unwrap();
            assert_eq!(span.offset % 64, 0);
            let guard = view.span(span).unwrap();
            assert_eq!((guard.len(), guard.is_empty()), (len, false));
            assert!(guard.to_vec() == bytes);
            let mut tail = vec![0; len - len / 3];
            guard.copy_out(len / 3, &mut tail).unwrap();
            assert!(tail == b);
            assert!(guard.copy_out(len / 3 + 1, &mut tail).is_err());
            assert!(guard.copy_to(&mut vec![0; len + 1]).is_err());
        }
    }
}

#[test]
fn an_empty_payload_occupies_nothing() {
    let (arena, view) = pair(config(MIB, MIB));
    let span = arena.write(&[&[], &[]]).unwrap();
    assert_eq!(span, SpanRef::default());
    assert_eq!(arena.usage().spans, 0);
    assert!(view.span(span).unwrap().to_vec().is_empty());
    arena.release(span);
    let mut reserved = arena.reserve(0).unwrap();
    assert!(!reserved.as_mut_ptr().is_null());
    assert!(reserved.append(b"x").is_err());
}

#[test]
fn a_released_reference_is_stale_and_cannot_free_what_came_after() {
    let (arena, view) = pair(config(MIB, MIB));
    let old = arena.write(&[b"old"]).unwrap();
    drop(view.span(old).unwrap());
    let stale = |result: Result<SpanGuard, ArenaError>| {
        matches!(
            result,
            Err(ArenaError::BadSpan {
                reason: BadSpan::Stale,
                ..
            })
        )
    };
    assert!(stale(view.span(old)));
    arena.collect();
    let new = arena.write(&[b"new"]).unwrap();
    assert_eq!((old.offset, old.ticket == new.ticket), (new.offset, false));
    view.release(old);
    arena.release(old);
    arena.collect();
    assert_eq!(arena.usage().spans, 1);
    assert_eq!(view.span(new).unwrap().to_vec(), b"new");
}

#[test]
fn references_that_disagree_with_the_table_are_refused() {
    let (arena, view) = pair(config(MIB, MIB));
    let span = arena.write(&[&[7; 100]]).unwrap();
    for (bad, reason) in [
        (SpanRef { offset: 0, ..span }, BadSpan::Mismatch),
        (
            SpanRef {
                offset: u64::MAX,
                ..span
            },
            BadSpan::Mismatch,
        ),
        (
            SpanRef {
                len: u64::MAX,
                ..span
            },
            BadSpan::Mismatch,
        ),
        (SpanRef { len: 101, ..span }, BadSpan::Mismatch),
        (
            SpanRef {
                offset: span.offset + 64,
                len: 10,
                ..span
            },
            BadSpan::Mismatch,
        ),
        (
            SpanRef {
                ticket: u64::MAX,
                ..span
            },
            BadSpan::Mismatch,
        ),
        (
            SpanRef {
                ticket: span.ticket + (1 << 20),
                ..span
            },
            BadSpan::Stale,
        ),
    ] {
        match view.span(bad) {
            Err(ArenaError::BadSpan { reason: found, .. }) => assert_eq!(found, reason, "{bad:?}"),
            other => panic!("{bad:?} gave {other:?}"),
        }
        view.release(SpanRef {
            ticket: bad.ticket ^ (1 << 30),
            ..bad
        });
    }
    assert_eq!(
        view.span(SpanRef { len: 50, ..span }).unwrap().to_vec(),
        [7; 50]
    );
}

#[test]
fn a_peek_leaves_the_release_to_the_writer() {
    let (arena, view) = pair(config(MIB, MIB));
    let span = arena.write(&[b"argument"]).unwrap();
    for _ in 0..2 {
        assert_eq!(view.peek(span).unwrap().to_vec(), b"argument");
    }
    arena.collect();
    assert_eq!(arena.usage().spans, 1);
    arena.release(span);
    assert_eq!(arena.usage().spans, 0);
    assert!(view.peek(span).is_err());
}

#[test]
fn a_reserved_span_is_released_unless_committed() {
    let (arena, view) = pair(config(MIB, MIB));
    drop(arena.reserve(1000).unwrap());
    assert_eq!(arena.usage().spans, 0);

    let mut log = arena.reserve(LARGE).unwrap();
    log.append(b"one").unwrap();
    let seen = view.peek(log.span()).unwrap();
    let mut record = [0; 3];
    seen.copy_out(0, &mut record).unwrap();
    assert_eq!(&record, b"one");
    log.write_at(LARGE - 1, b"!").unwrap();
    assert!(log.write_at(LARGE, b"!").is_err());
    assert!(log.write_at(u64::MAX, b"!").is_err());
    assert_eq!(
        std::io::Write::write(&mut log, &vec![2; 1 << 20]).unwrap() as u64,
        LARGE - 3
    );
    assert_eq!(log.appended(), LARGE);
    let span = log.commit();
    assert_eq!(arena.usage().spans, 1);
    assert_eq!(view.span(span).unwrap().to_vec()[LARGE as usize - 1], 2);
}

#[test]
fn a_guard_outlives_the_writer_and_every_other_holder_of_the_view() {
    let (arena, view) = pair(config(64 * MIB, MIB));
    let bytes = pattern(9, 3 << 20);
    let guard = view.span(arena.write(&[&bytes]).unwrap()).unwrap();
    drop((arena, view));
    assert!(guard.to_vec() == bytes);
}

#[test]
fn many_spans_are_alive_at_once() {
    let (arena, view) = pair(config(GIB, MIB));
    let spans: Vec<SpanRef> = (0..100_000u32)
        .map(|i| arena.write(&[&i.to_ne_bytes()]).unwrap())
        .collect();
    assert_eq!(arena.usage().spans, 100_000);
    for (i, span) in spans.iter().enumerate() {
        assert_eq!(view.span(*span).unwrap().to_vec(), (i as u32).to_ne_bytes());
    }
    arena.collect();
    assert_eq!(arena.usage().spans, 0);
}

#[test]
fn an_arena_has_one_writer_and_only_arenas_are_arenas() {
    let arena = Arena::create(config(MIB, MIB)).unwrap();
    let again = Arena::open_writer(arena.fd().try_clone_to_owned().unwrap(), config(0, 0));
    assert!(matches!(again, Err(ArenaError::NotAnArena(_))));
    let other = crate::sys::memfd::Memfd::create("other", MIB)
        .unwrap()
        .into_fd();
    assert!(matches!(
        ArenaView::open(other),
        Err(ArenaError::NotAnArena(_))
    ));
}

#[test]
fn a_forked_child_neither_releases_nor_writes() {
    let (arena, view) = pair(config(MIB, MIB));
    let span = arena.write(&[b"the parent's"]).unwrap();
    let arena = Arc::new(arena);
    let guard = view.span(span).unwrap();
    let child = {
        let (arena, view) = (Arc::clone(&arena), Arc::clone(&view));
        move || {
            view.release(span);
            arena.release(span);
            match arena.write(&[b"x"]) {
                Err(ArenaError::Forked) => Ok(()),
                _ => Err(std::io::ErrorKind::Other.into()),
            }
        }
    };
    let mut command = std::process::Command::new("true");
    // SAFETY: between fork and exec these calls do nothing but load one word each, which tells
    // them that they are in a child; they take no lock and allocate nothing.
    unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, child) };
    assert!(command.status().unwrap().success());
    arena.collect();
    assert_eq!(arena.usage().spans, 1);
    assert_eq!(guard.to_vec(), b"the parent's");
}
