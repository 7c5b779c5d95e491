//! One watcher's stream: pulled by its reader, so that nothing waits for one that does not read, and nothing is queued.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Guard, Scope, WatchId, Watches,
    batch::Position,
    feed::News,
    feeds::Seat,
    frame::{Parts, Told, with_watch_id},
};
use crate::{error::Error, store::Store};

/// What a watcher asks for.
#[derive(Debug)]
pub struct Request {
    /// What it is shown.
    pub scope: Scope,
    /// The position of the view that it holds.
    pub position: Option<Position>,
    /// The longest time between two messages.
    pub heartbeat_interval: Duration,
    /// Whether the watcher will acknowledge what it has applied, so that a drain waits for it.
    pub acknowledges: bool,
}

/// An open watch. It has a position in its feed and no queue: what it has not read yet is merged when it reads.
#[derive(Debug)]
pub struct Watcher {
    store: Arc<Store>,
    guard: Guard,
    seat: Seat,
    /// Where the view is that its reader has, once it has read everything.
    position: Option<Position>,
    /// What is not read yet of what it was told: at most one view.
    parts: Option<Parts>,
    /// What is not read yet of a message.
    rest: Option<Bytes>,
    started: bool,
    heartbeat_interval: Duration,
    heartbeat_at: Instant,
    /// Fires at the time that the heartbeat had been due when it was set: every message puts that off.
    timer: Pin<Box<Sleep>>,
}

impl Watcher {
    /// Opens a watch: its first message is a snapshot or what was missed.
    ///
    /// # Errors
    /// [`Error::TooManyWatchers`].
    pub fn open(store: Arc<Store>, watches: &Arc<Watches>, request: Request) -> Result<Self, Error> {
        let guard = watches.open(&request.scope, request.acknowledges)?;
        let seat = store.read(|state| store.feeds().take_seat(request.scope, state));
        guard.follow(seat.feed());
        let heartbeat_at = Instant::now() + request.heartbeat_interval;
        Ok(Self {
            store,
            guard,
            seat,
            position: request.position,
            parts: None,
            rest: None,
            started: false,
            heartbeat_interval: request.heartbeat_interval,
            heartbeat_at,
            timer: Box::pin(sleep_until(heartbeat_at)),
        })
    }

    /// What names the watch.
    pub fn id(&self) -> WatchId {
        self.guard.id()
    }

    /// The next piece of the stream: a message as gRPC frames it, or a part of one. Most are shared with other watchers.
    ///
    /// # Errors
    /// The end of the stream: [`Error::Draining`] when the registry stops, [`Error::InstanceNotFound`] when the instance
    /// that is followed is gone. It must not be polled any more.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Ok(rest));
        }
        loop {
            if let Some(parts) = &mut self.parts {
                let (message, more) = parts.next();
                if !more {
                    self.parts = None;
                }
                return Poll::Ready(Ok(self.tell(message)));
            }
            let (told, position) = ready!(self.poll_told(cx))?;
            self.position = Some(position);
            match told {
                Told::Whole(message) => return Poll::Ready(Ok(self.tell(message))),
                Told::InParts(batch, cuts) => self.parts = Some(Parts::new(batch, &cuts)),
            }
        }
    }

    fn tell(&mut self, message: Bytes) -> Bytes {
        self.heartbeat_at = Instant::now() + self.heartbeat_interval;
        if std::mem::replace(&mut self.started, true) {
            return message;
        }
        let [first, rest] = with_watch_id(&message, self.guard.id().to_string());
        self.rest = Some(rest);
        first
    }

    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Told, Position), Error>> {
        let Some(position) = self.position.filter(|_| self.started) else {
            return Poll::Ready(self.catch_up());
        };
        loop {
            match self.seat.news(position, cx.waker()) {
                News::Message(told, position) => return Poll::Ready(Ok((told, position))),
                News::Behind | News::Moved => return Poll::Ready(self.catch_up()),
                News::Closed => return Poll::Ready(Err(Error::Draining)),
                News::None => {
                    ready!(self.poll_heartbeat_due(cx));
                    let heartbeat = self.store.read(|state| self.seat.heartbeat(state, position));
                    if let Some(heartbeat) = heartbeat {
                        return Poll::Ready(Ok(heartbeat));
                    }
                }
            }
        }
    }

    /// What the feed does not know: what was missed as the history has it, otherwise a snapshot. Looks up first what the
    /// instance requires that the watcher follows.
    fn catch_up(&mut self) -> Result<(Told, Position), Error> {
        let store = self.store.clone();
        let (moved, told) = store.read(|state| {
            let scope = self.seat.scope().refreshed(&state.catalog)?;
            let moved = (scope != *self.seat.scope()).then(|| store.feeds().take_seat(scope, state));
            let told = moved.as_ref().unwrap_or(&self.seat).missed(state, self.position);
            Ok::<_, Error>((moved, told))
        })?;
        if let Some(seat) = moved {
            self.guard.follow(seat.feed());
            self.seat = seat;
        }
        Ok(told)
    }

    fn poll_heartbeat_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Thousands of watchers may share one task, whose budget for timers would be used up by a few of them.
            ready!(pin!(unconstrained(self.timer.as_mut())).poll(cx));
            if self.heartbeat_at <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.heartbeat_at);
        }
    }
}
