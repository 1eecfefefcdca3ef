//! A board that a worker has scribbled over is made anew, and the pool goes on.

mod common;

use common::Tester;
use manyhands::task::Outcome;

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

/// Scribbles with `byte` on each `step`th byte, while others wait, run and follow. Every task has an
/// outcome, and the pool goes on. A stray byte in a value itself is beyond anybody's notice. Where
/// all is overwritten from the front, only the slot that is filled just as the scribbler passes
/// through it can hold a wrong value unnoticed.
fn survives(byte: u64, step: u64) {
    let tester = Tester::new(2);
    tester.ready();
    let before: Vec<_> = (0..20u64)
        .map(|n| tester.submit("double", &n.to_le_bytes()))
        .collect();
    for (task, n) in before.iter().zip(0u64..) {
        assert_eq!(tester.number(task), n * 2);
    }
    let input = [byte.to_le_bytes(), step.to_le_bytes()].concat();
    let culprit = tester.submit("scribble", &input);
    let others: Vec<_> = (0..3000u64)
        .map(|n| tester.submit("double", &n.to_le_bytes()))
        .collect();
    let (mut lost, mut wrong) = (0, 0);
    for (task, n) in others.iter().zip(0u64..) {
        match tester.outcome(task) {
            Outcome::Ended { payload, .. } if step == 1 => {
                wrong += usize::from(*payload.into_bytes() != (n * 2).to_le_bytes());
            }
            Outcome::Ended { .. } => {}
            Outcome::Lost(_) | Outcome::Died(_) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    let _whatever = tester.outcome(&culprit);
    // Those that had begun are lost, and what looked as if; what waited for a slot is not.
    assert!(lost <= 2048, "{lost}");
    assert!(wrong <= 1, "{wrong}");
    assert_eq!(tester.call("echo", b"still here"), b"still here");
    tester.finish();
}

#[test]
fn a_zeroed_board_is_made_anew() {
    survives(0, 1);
}

#[test]
fn a_board_full_of_ones_is_made_anew() {
    survives(0xff, 1);
}

#[test]
fn a_board_with_stray_bytes_is_made_anew() {
    survives(0x5a, 97);
}
