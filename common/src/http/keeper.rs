//! Connections that have to go: overdue ones, and idle ones when there is need.

use super::connection::Connection;
use super::engine::{Core, Slots};
use super::slot::Slot;

/// Ends what is overdue.
pub(super) fn sweep(core: &Core, slots: &Slots) {
    let now_ms = core.now_ms();
    let overdue = |slot: &Slot| slot.deadline().is_some_and(|(at_ms, _)| at_ms <= now_ms);
    for slot in slots.iter().filter(|slot| overdue(slot)) {
        // Whoever holds the lock moves the connection on, and its deadline with it.
        if let Some(mut state) = slot.try_lock()
            && overdue(slot)
        {
            slot.expire(&mut state);
        }
    }
}

/// Closes the connection that has been idle for longest; false when none is idle.
pub(super) fn evict_idle(slots: &Slots) -> bool {
    let oldest = slots.iter().filter(|slot| is_idle(slot)).min_by_key(|slot| slot.deadline());
    oldest.is_some_and(|slot| close_if_idle(slot))
}

/// Closes every idle connection.
pub(super) fn close_idle(slots: &Slots) {
    for slot in slots.iter().filter(|slot| is_idle(slot)) {
        close_if_idle(slot);
    }
}

fn is_idle(slot: &Slot) -> bool {
    matches!(slot.deadline(), Some((_, true)))
}

fn close_if_idle(slot: &Slot) -> bool {
    let Some(mut state) = slot.try_lock() else { return false };
    let idle = state.connection.as_ref().is_some_and(Connection::is_deserted);
    if idle {
        slot.close(&mut state);
    }
    idle
}
