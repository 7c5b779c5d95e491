//! Who waits for news of a feed: a waker each, in one allocation for all.

use std::task::Waker;

/// The watchers of one feed. A number stays a watcher's own until it leaves.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: Vec<Seat>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Seat {
    waker: Option<Waker>,
    /// Whether the watcher has to look up again what it watches.
    moved: bool,
}

impl Seats {
    pub(super) fn take(&mut self) -> usize {
        if let Some(number) = self.free.pop() {
            return number;
        }
        self.seats.push(Seat::default());
        self.seats.len() - 1
    }

    pub(super) fn leave(&mut self, number: usize) {
        self.seats[number] = Seat::default();
        self.free.push(number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats.len() == self.free.len()
    }

    /// Notes whom to wake at the next news.
    pub(super) fn wait(&mut self, number: usize, waker: &Waker) {
        let seat = &mut self.seats[number];
        if !seat.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            seat.waker = Some(waker.clone());
        }
    }

    /// Takes the wakers of all who wait.
    pub(super) fn take_waiting(&mut self, woken: &mut Vec<Waker>) {
        woken.extend(self.seats.iter_mut().filter_map(|seat| seat.waker.take()));
    }

    /// Tells one watcher to look up again what it watches.
    pub(super) fn move_away(&mut self, number: usize, woken: &mut Vec<Waker>) {
        let seat = &mut self.seats[number];
        seat.moved = true;
        woken.extend(seat.waker.take());
    }

    pub(super) fn take_moved(&mut self, number: usize) -> bool {
        std::mem::take(&mut self.seats[number].moved)
    }
}
