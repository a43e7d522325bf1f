//! A queue through the slots of a shard. Any slot can leave it in constant time.

use super::shard::Slot;

/// No place.
const NONE: u32 = u32::MAX;

/// The places of a slot's neighbours in its queue, or [`NONE`] at an end.
#[derive(Clone, Copy)]
pub(super) struct Links {
    newer: u32,
    older: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { newer: NONE, older: NONE }
    }
}

/// The ends of a queue, as places in the slots.
pub(super) struct Queue {
    newest: u32,
    oldest: u32,
    len: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { newest: NONE, oldest: NONE, len: 0 }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the place of the oldest slot.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.len > 0).then_some(self.oldest)
    }

    /// Adds a slot that is in no queue, as the newest.
    pub(super) fn push(&mut self, slots: &mut [Slot], place: u32) {
        let links = Links { newer: NONE, older: self.newest };
        slots[place as usize].links = links;
        self.link(slots, links, place, place);
        self.len += 1;
    }

    /// Removes a slot.
    pub(super) fn unlink(&mut self, slots: &mut [Slot], place: u32) {
        let links = slots[place as usize].links;
        self.link(slots, links, links.older, links.newer);
        self.len -= 1;
    }

    /// Changes the neighbours of a slot that is moved `from` a place `to` another one.
    pub(super) fn relocate(&mut self, slots: &mut [Slot], from: u32, to: u32) {
        self.link(slots, slots[from as usize].links, to, to);
    }

    /// Makes `older` the older neighbour of the newer slot of `links`, and `newer` the newer one of
    /// the older slot. An end of the queue takes the place of a slot that is missing.
    fn link(&mut self, slots: &mut [Slot], links: Links, older: u32, newer: u32) {
        match slots.get_mut(links.newer as usize) {
            Some(slot) => slot.links.older = older,
            None => self.newest = older,
        }
        match slots.get_mut(links.older as usize) {
            Some(slot) => slot.links.newer = newer,
            None => self.oldest = newer,
        }
    }
}
