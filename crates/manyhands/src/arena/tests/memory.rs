//! What memory an arena uses, and what happens when there is no more.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::*;

#[test]
fn surplus_goes_back_to_the_system() {
    let (arena, view) = pair(config(GIB, 8 * MIB));
    let spans: Vec<SpanRef> = (0..64)
        .map(|_| arena.write(&[&vec![3; 1 << 20]]).unwrap())
        .collect();
    assert!(occupied(&arena) >= 64 * MIB);
    for span in spans {
        drop(view.span(span).unwrap());
    }
    // The writer has done nothing since: the reader returned what would have been surplus.
    assert!(occupied(&arena) <= 9 * MIB, "{}", occupied(&arena));
    arena.collect();
    let usage = arena.usage();
    assert_eq!((usage.spans, usage.live_bytes), (0, 0));
    assert!(usage.warm_free_bytes <= 8 * MIB);
    assert_eq!(usage.warm_free_bytes + usage.cold_bytes, usage.capacity);
}

#[test]
fn surplus_of_the_writers_own_and_of_small_spans_goes_back_too() {
    let (arena, view) = pair(config(GIB, 4 * MIB));
    let large = arena.write(&[&vec![3; 64 << 20]]).unwrap();
    arena.release(large);
    assert!(occupied(&arena) <= 5 * MIB, "{}", occupied(&arena));
    let small: Vec<SpanRef> = (0..20_000)
        .map(|_| arena.write(&[&[1; 1000]]).unwrap())
        .collect();
    for span in small {
        drop(view.span(span).unwrap());
    }
    arena.collect();
    assert!(arena.usage().warm_free_bytes <= 4 * MIB);
    assert!(occupied(&arena) <= 6 * MIB, "{}", occupied(&arena));
}

#[test]
fn an_exhausted_arena_says_so_and_goes_on_once_something_is_released() {
    let (arena, view) = pair(config(4 * MIB, MIB));
    assert!(matches!(
        arena.write(&[&vec![0; 5 << 20]]),
        Err(ArenaError::Exhausted {
            requested: 5_242_880,
            capacity: 4_194_304,
            live: 0
        })
    ));
    let mut spans = Vec::new();
    let error = loop {
        match arena.write(&[&vec![1; 700 << 10]]) {
            Ok(span) => spans.push(span),
            Err(error) => break error,
        }
    };
    assert_eq!(spans.len(), 5);
    assert!(matches!(error, ArenaError::Exhausted { .. }), "{error}");
    assert!(error.to_string().contains("let go of results"), "{error}");
    for span in spans {
        view.release(span);
    }
    // All of it is needed in one piece, so what is warm has to be returned first.
    let whole = arena.write(&[&vec![2; 4 << 20]]).unwrap();
    assert!(arena.write(&[b"x"]).is_err());
    arena.release(whole);
    arena.write(&[b"x"]).unwrap();
}

#[test]
fn a_full_span_table_says_so_and_goes_on_once_something_is_released() {
    let (arena, view) = pair(ArenaConfig {
        spans: 3,
        ..config(MIB, MIB)
    });
    let spans: Vec<SpanRef> = (0..3).map(|_| arena.write(&[b"x"]).unwrap()).collect();
    assert!(matches!(
        arena.write(&[b"y"]),
        Err(ArenaError::TooManySpans { limit: 3 })
    ));
    view.release(spans[1]);
    arena.write(&[b"y"]).unwrap();
}

#[test]
fn a_refusal_by_the_system_is_an_error_and_leaves_nothing_behind() {
    // A descriptor that may not write stands for a system without memory.
    let fd = create_memfd(&config(64 * MIB, MIB)).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let read_only = OwnedFd::from(std::fs::File::open(path).unwrap());
    let opened = Arena::open_writer(
        read_only.as_fd().try_clone_to_owned().unwrap(),
        config(0, 0),
    );
    assert!(matches!(opened, Err(ArenaError::System(_))), "{opened:?}");
    let arena = Arena::open_writer(fd, config(0, MIB)).unwrap();
    let span = arena.write(&[b"fine"]).unwrap();
    // Swap the file under it for one of the same inode without the right to write.
    rustix::io::dup2(&read_only, &mut clone_in_place(&arena)).unwrap();
    assert!(arena.write(&[&vec![0; 10 << 20]]).is_err());
    assert!(arena.reserve(10 << 20).is_err());
    assert_eq!(arena.usage().spans, 1);
    arena.release(span);
    assert_eq!(arena.usage().live_bytes, 0);
    arena.write(&[b"warm memory needs no system call"]).unwrap();
}

#[test]
fn traffic_of_any_volume_runs_in_bounded_memory() {
    let (arena, view) = pair(config(GIB, 32 * MIB));
    let payload = vec![5u8; 16 << 20];
    let (mut traffic, mut peak) = (0, 0);
    let mut held = std::collections::VecDeque::new();
    for i in 0.. {
        // Sizes vary, so that ranges are split and merged.
        let len = (payload.len() * (1 + i % 7) / 7) as u64;
        held.push_back(
            view.span(arena.write(&[&payload[..len as usize]]).unwrap())
                .unwrap(),
        );
        if held.len() > 2 {
            held.pop_front();
        }
        traffic += len;
        peak = peak.max(occupied(&arena));
        if traffic > 9 * GIB / 2 {
            break;
        }
    }
    assert!(peak < 160 * MIB, "{peak}");
}

#[test]
fn one_payload_may_exceed_two_gibibytes() {
    let (arena, view) = pair(config(3 * GIB, MIB));
    // 40 references to the same 64 MiB: 2.5 GiB in the arena, little outside of it.
    let part = pattern(4, 64 << 20);
    let parts = vec![part.as_slice(); 40];
    let span = arena.write(&parts).unwrap();
    assert_eq!(span.len, 40 * (64 << 20));
    let guard = view.span(span).unwrap();
    let mut found = vec![0; 4096];
    for i in 0..40 {
        guard
            .copy_out((i * part.len()) + part.len() - 4096, &mut found)
            .unwrap();
        assert!(found == part[part.len() - 4096..], "part {i}");
    }
    drop(guard);
    assert!(occupied(&arena) < 4 * MIB);
}

#[test]
fn released_memory_is_used_again_before_fresh_memory() {
    let (arena, view) = pair(config(GIB, 256 * MIB));
    let payload = vec![1u8; 4 << 20];
    let first = arena.write(&[&payload]).unwrap();
    drop(view.span(first).unwrap());
    let before = occupied(&arena);
    for _ in 0..20 {
        let span = arena.write(&[&payload]).unwrap();
        assert_eq!(span.offset, first.offset);
        drop(view.span(span).unwrap());
    }
    assert_eq!(occupied(&arena), before);
}

#[test]
fn a_limit_on_address_space_makes_arenas_smaller_and_never_kills() {
    const INNER: &str = "MANYHANDS_TEST_INNER";
    let (_, path) = module_path!().split_once("::").unwrap();
    if std::env::var_os(INNER).is_none() {
        let test = format!("{path}::a_limit_on_address_space_makes_arenas_smaller_and_never_kills");
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 1500000 && exec \"$0\" \"$@\" --exact"])
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .env(INNER, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{output:?}"
        );
        return;
    }
    let (arena, view) = pair(ArenaConfig::default());
    assert!(arena.usage().capacity < 1_500_000 << 10);
    let payload = vec![1; 8 << 20];
    let mut held = Vec::new();
    let error = loop {
        match arena.write(&[&payload]) {
            Ok(span) => held.push(view.span(span).unwrap()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ArenaError::Exhausted { .. }), "{error}");
    assert!(held.iter().all(|guard| guard.to_vec() == payload));
    // Asked for more than there can be, it takes what there is.
    drop((arena, view, held));
    let arena = Arena::create(config(1 << 40, MIB)).unwrap();
    assert!(arena.usage().capacity >= 64 * MIB);
    arena.write(&[&payload]).unwrap();
}

/// The arena's own descriptor, for `dup2` to replace; never closed through this value.
fn clone_in_place(arena: &Arena) -> std::mem::ManuallyDrop<OwnedFd> {
    // SAFETY: the descriptor is open for as long as the arena lives, which the test outlasts;
    // ManuallyDrop keeps it from being closed twice.
    std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(arena.fd().as_raw_fd()) })
}
