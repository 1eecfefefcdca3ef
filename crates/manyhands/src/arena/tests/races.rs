//! Writers and readers on several threads at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;

#[test]
fn releases_on_other_threads_race_with_writing_and_nothing_is_mixed_up() {
    let (arena, view) = pair(config(256 * MIB, 4 * MIB));
    let arena = Arc::new(arena);
    let (send, receive) = mpsc::sync_channel::<(u64, SpanRef)>(256);
    let receive = Arc::new(std::sync::Mutex::new(receive));
    let failed = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (receive, view, failed) = (receive.clone(), view.clone(), failed.clone());
            thread::spawn(move || {
                while let Ok((seed, span)) = { receive.lock().unwrap().recv() } {
                    let guard = view.span(span).unwrap();
                    if guard.to_vec() != pattern(seed, guard.len()) {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..2u64)
        .map(|thread| {
            let (arena, send) = (arena.clone(), send.clone());
            thread::spawn(move || {
                for i in 0..4000u64 {
                    let seed = i * 2 + thread;
                    let len = if i.is_multiple_of(50) {
                        300_000
                    } else {
                        1 + (seed * 97 % 5000) as usize
                    };
                    let bytes = pattern(seed, len);
                    send.send((seed, arena.write(&[&bytes]).unwrap())).unwrap();
                    // A span of its own, released by the writer at once, and its late twin.
                    let own = arena.write(&[&bytes[..len / 2 + 1]]).unwrap();
                    arena.release(own);
                    arena.release(own);
                }
            })
        })
        .collect();
    drop(send);
    for thread in writers.into_iter().chain(readers) {
        thread.join().unwrap();
    }
    assert!(!failed.load(Ordering::Relaxed));
    arena.collect();
    assert_eq!(arena.usage().spans, 0);
    assert_eq!(arena.usage().live_bytes, 0);
}

#[test]
fn of_reader_and_writer_releasing_the_same_span_one_counts() {
    let (arena, view) = pair(config(64 * MIB, 0));
    thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel::<SpanRef>(1);
        scope.spawn(|| receive.into_iter().for_each(|span| view.release(span)));
        for i in 0..3000u32 {
            let len = if i.is_multiple_of(2) {
                LARGE as usize
            } else {
                500
            };
            let span = arena.write(&[&vec![i as u8; len]]).unwrap();
            let guard = arena.write(&[b"bystander"]).unwrap();
            send.send(span).unwrap();
            arena.release(span);
            assert_eq!(view.span(guard).unwrap().to_vec(), b"bystander");
        }
        drop(send);
    });
    arena.collect();
    assert_eq!((arena.usage().spans, arena.usage().live_bytes), (0, 0));
}
