//! Reading outcomes from the board, and from the arenas of those who wrote them. What is read is
//! copied first and checked then.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::desk::{Desk, Effects, Scribbled};
use super::log;
use crate::arena::{SpanGuard, SpanRef};
use crate::board::{INLINE_BYTES, Place, Slot};
use crate::task::{Outcome, Payload};

impl Desk {
    /// Reads the outcome of a slot that is DONE, and frees it.
    pub(super) fn take(
        &mut self,
        slot: &Slot,
        index: u32,
        worker: usize,
        effects: &mut Effects,
    ) -> Result<(), Scribbled> {
        let task = self.shadow[index as usize].task.clone();
        let task = task.ok_or_else(|| Scribbled(format!("slot {index} is nobody's")))?;
        let outcome = if task.is_batch() {
            let items = self.read_log(slot, worker)?;
            task.add_items(items);
            let elapsed = Duration::from_nanos(slot.elapsed.load(Ordering::Relaxed));
            // What has no record was withdrawn by the parent before it began.
            task.with_the_rest_cancelled(elapsed)
        } else {
            let (code, place) = slot
                .output()
                .ok_or_else(|| Scribbled(format!("slot {index}: output in no known place")))?;
            Outcome::Ended {
                code,
                payload: self.payload(slot, worker, place)?,
            }
        };
        self.free(slot, index);
        self.outstanding -= usize::from(!task.is_done());
        effects.end(task, outcome);
        Ok(())
    }

    fn payload(&self, slot: &Slot, worker: usize, place: Place) -> Result<Payload, Scribbled> {
        match place {
            Place::Inline(len) => {
                let mut bytes = [0; INLINE_BYTES];
                slot.copy_output(&mut bytes[..len]);
                Ok(Payload::Bytes(bytes[..len].into()))
            }
            Place::Span(span) => self.span(worker, span).map(Payload::Span),
        }
    }

    fn span(&self, worker: usize, span: SpanRef) -> Result<SpanGuard, Scribbled> {
        let view = self.views[worker].as_ref();
        let view = view.ok_or_else(|| Scribbled(format!("worker {worker} has no arena")))?;
        view.span(span)
            .map_err(|error| Scribbled(error.to_string()))
    }

    pub(super) fn read_log(
        &self,
        slot: &Slot,
        worker: usize,
    ) -> Result<Vec<(u32, Outcome)>, Scribbled> {
        let (span, records) = slot.log();
        if records == 0 && span.len == 0 {
            return Ok(Vec::new());
        }
        log::read(span, records, |span| self.span(worker, span))
    }
}
