//! The bodies of purges that are still being received.
//!
//! A signature covers the body, so a body is held before its sender is authenticated. All
//! unfinished bodies of an isolate together are therefore bounded. If a chunk has no room, the
//! bodies that began first give way: the sender of a real purge has its body at hand and sends it
//! at once. It repeats a purge whose body gave way.
//!
//! The bytes are held here and not by their requests, so that a request can free the memory of
//! another one, which waits.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use shared_keys::purge::MAX_BODY_BYTES;

use crate::purge::Refusal;

/// The time in which a body must be complete.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The bytes that all unfinished bodies of an isolate hold: four whole messages.
const MAX_HELD_BYTES: usize = 4 * MAX_BODY_BYTES;

/// The unfinished bodies of one isolate.
#[derive(Debug, Clone, Default)]
pub struct PurgeBodies(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    /// In the order in which they began.
    bodies: Vec<Held>,
    held_bytes: usize,
    last_id: u64,
}

#[derive(Debug)]
struct Held {
    id: u64,
    began: SystemTime,
    bytes: Vec<u8>,
}

/// One unfinished body. Dropping it frees its bytes.
#[derive(Debug)]
pub struct PurgeBody {
    bodies: PurgeBodies,
    id: u64,
}

impl PurgeBodies {
    /// Begins a body.
    #[must_use]
    pub fn begin(&self, now: SystemTime) -> PurgeBody {
        let mut state = self.0.borrow_mut();
        // The runtime may cancel a request without dropping its body.
        while let Some(first) = state.bodies.first()
            && now.duration_since(first.began).is_ok_and(|age| age > BODY_TIMEOUT)
        {
            state.free(0);
        }
        state.last_id += 1;
        let id = state.last_id;
        state.bodies.push(Held { id, began: now, bytes: Vec::new() });
        PurgeBody { bodies: self.clone(), id }
    }
}

impl PurgeBody {
    /// Appends a chunk.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] beyond the largest body, and [`Refusal::Busy`] if this body gave way
    /// to others.
    pub fn append(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let mut state = self.bodies.0.borrow_mut();
        let length = state.find(self.id).map_or(0, |index| state.bodies[index].bytes.len());
        if length + chunk.len() > MAX_BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        while state.held_bytes + chunk.len() > MAX_HELD_BYTES && !state.bodies.is_empty() {
            state.free(0);
        }
        let index = state.find(self.id).ok_or(Refusal::Busy)?;
        state.held_bytes += chunk.len();
        // Not more memory than needed: doubling would hold twice as much.
        let bytes = &mut state.bodies[index].bytes;
        bytes.reserve_exact(chunk.len());
        bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Returns the whole body.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if it gave way to others.
    pub fn finish(self) -> Result<Vec<u8>, Refusal> {
        let mut state = self.bodies.0.borrow_mut();
        let index = state.find(self.id).ok_or(Refusal::Busy)?;
        Ok(state.free(index))
    }
}

impl Drop for PurgeBody {
    fn drop(&mut self) {
        let mut state = self.bodies.0.borrow_mut();
        if let Some(index) = state.find(self.id) {
            state.free(index);
        }
    }
}

impl State {
    fn find(&self, id: u64) -> Option<usize> {
        self.bodies.iter().position(|held| held.id == id)
    }

    fn free(&mut self, index: usize) -> Vec<u8> {
        let bytes = self.bodies.remove(index).bytes;
        self.held_bytes -= bytes.len();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    static CHUNK: [u8; 32 << 10] = [b' '; 32 << 10];

    fn fill(body: &mut PurgeBody, chunks: usize) -> Result<(), Refusal> {
        (0..chunks).try_for_each(|_| body.append(&CHUNK))
    }

    #[test]
    fn a_body_is_returned_whole() {
        let mut body = PurgeBodies::default().begin(at(0));
        body.append(b"{\"v\"").unwrap();
        body.append(b":1}").unwrap();
        assert_eq!(body.finish().unwrap(), b"{\"v\":1}");
    }

    #[test]
    fn a_body_has_a_largest_length() {
        let bodies = PurgeBodies::default();
        let mut body = bodies.begin(at(0));
        fill(&mut body, MAX_BODY_BYTES / CHUNK.len()).unwrap();
        assert_eq!(body.append(b" "), Err(Refusal::TooLarge));
    }

    #[test]
    fn any_number_of_unfinished_bodies_holds_a_bounded_number_of_bytes() {
        let bodies = PurgeBodies::default();
        let mut open: Vec<_> = (0..150).map(|_| bodies.begin(at(0))).collect();
        for _ in 0..MAX_BODY_BYTES / CHUNK.len() {
            for body in &mut open {
                let _ = body.append(&CHUNK);
                let held: usize = bodies.0.borrow().bodies.iter().map(|held| held.bytes.capacity()).sum();
                assert!(held <= MAX_HELD_BYTES, "{held}");
            }
        }
    }

    #[test]
    fn slow_bodies_give_way_to_a_whole_one_and_learn_it() {
        let bodies = PurgeBodies::default();
        let mut slow: Vec<_> = (0..150).map(|_| bodies.begin(at(0))).collect();
        let gave_way = slow.iter_mut().filter_map(|body| fill(body, 20).err()).collect::<Vec<_>>();
        assert!(gave_way.is_empty(), "each had room when it sent");
        let mut real = bodies.begin(at(1));
        fill(&mut real, MAX_BODY_BYTES / CHUNK.len()).unwrap();
        assert_eq!(real.finish().unwrap().len(), MAX_BODY_BYTES);
        assert_eq!(slow[0].append(b" "), Err(Refusal::Busy));
        assert_eq!(slow.remove(0).finish(), Err(Refusal::Busy));
    }

    #[test]
    fn a_dropped_and_a_cancelled_body_hold_nothing() {
        let bodies = PurgeBodies::default();
        let mut dropped = bodies.begin(at(0));
        fill(&mut dropped, 3).unwrap();
        drop(dropped);
        assert_eq!(bodies.0.borrow().held_bytes, 0);
        // The runtime drops nothing of a request that it cancels.
        let mut cancelled = bodies.begin(at(0));
        fill(&mut cancelled, 3).unwrap();
        std::mem::forget(cancelled);
        let _next = bodies.begin(at(11));
        assert_eq!((bodies.0.borrow().held_bytes, bodies.0.borrow().bodies.len()), (0, 1));
    }
}
