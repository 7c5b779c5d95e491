//! Carries findings of a place to its instances, and remembers for how long it has been silent.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Ground,
    finding::Finding,
    place::{Member, Place},
};

/// What is remembered of a place between its connections.
#[derive(Debug)]
pub(super) struct Reporter {
    place: Arc<Place>,
    ground: Arc<Ground>,
    /// Since when it has been silent, and in how many attempts.
    silence: Option<(Instant, u32)>,
    /// Whether it has hung up since it was heard last: silence after that is no mere delay.
    hung_up: bool,
}

impl Reporter {
    pub(super) fn new(place: Arc<Place>, ground: Arc<Ground>) -> Self {
        Self {
            place,
            ground,
            silence: None,
            hung_up: false,
        }
    }

    /// Reports what the place answered to whoever is asked by this name.
    pub(super) fn answered(&mut self, name: &str, finding: &Finding, since: Instant) {
        self.heard();
        self.hung_up = false;
        for member in self.place.members() {
            if member.name() == name {
                self.tell(&member, finding, 0, since.elapsed());
            }
        }
        self.place.found.notify_waiters();
    }

    /// Reports to one instance what was answered before it came.
    pub(super) fn answered_by(&self, member: &Member, finding: &Finding) {
        self.tell(member, finding, 0, Duration::ZERO);
        self.place.found.notify_waiters();
    }

    /// Reports that the place failed for all of its instances.
    pub(super) fn failed(&mut self, finding: &Finding, since: Instant) {
        self.heard();
        for member in self.place.members() {
            self.tell(&member, finding, 0, since.elapsed());
        }
        self.place.found.notify_waiters();
    }

    /// Reports that nothing came to what was asked then.
    pub(super) fn silent(&mut self, finding: &Finding, asked: Instant) {
        let (since, tries) = self.silence.unwrap_or((asked, 0));
        let (tries, rhythm) = (tries + 1, self.place.rhythm());
        self.silence = Some((since, tries));
        for member in self.place.members() {
            let check = &member.registration.health_check;
            let silent = if self.hung_up {
                check.attempts
            } else {
                rhythm.silent_attempts(check, tries, since.elapsed())
            };
            self.tell(&member, finding, silent, asked.elapsed());
        }
        self.place.found.notify_waiters();
    }

    /// Notes that something came, whatever it was.
    pub(super) fn heard(&mut self) {
        self.silence = None;
    }

    /// Notes that the place hung up after it had answered.
    pub(super) fn note_hang_up(&mut self) {
        self.hung_up = true;
    }

    fn tell(&self, member: &Member, finding: &Finding, silent: u32, took: Duration) {
        self.ground.judge.found(&member.registration, finding, silent, took);
        member.note_finding();
    }
}
