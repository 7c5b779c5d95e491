//! One connection to one place, for as long as it lasts: a `Health/Watch` for each name that its instances are asked by,
//! `Health/Check` in its place where a server has no Watch, and signs of life of a connection that is idle.
//!
//! A sign of life is an empty SETTINGS, which HTTP/2 has every peer acknowledge. Not a PING: stock gRPC servers close
//! connections that ping more often than every five minutes. Now and then it is a `Health/Check`, which has to pass
//! through the whole of the process. A peer that pings by itself has not to be asked, but for that.
//!
//! Stock servers acknowledge 20,000 of them one after the other, and as many as a probe every 100 ms asks for in four
//! minutes, without a word of complaint: grpc-go 1.33, grpc-java 1.41 (Netty 4.1.48), grpc-js 1.14 (Node 20), Envoy 1.40
//! in front of grpc-go. `tests/interop/` has grpcio and grpc-js acknowledge thousands. There is never more than one on its
//! way: Node closes a connection on which thousands come at once.

use std::{convert::Infallible, sync::Arc, time::Duration};

use homeroom::{
    proto::health::v1::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus},
    transport::ConnectError,
};
use prost::Message;
use tokio::time::{Instant, sleep_until};
use tonic::Code;

use super::{
    Ground,
    dial::{NoConnection, connect},
    finding::Finding,
    link::{End, Link},
    place::{Place, Rhythm},
    report::Reporter,
    signs::Part,
    wire::{CallId, News, Status},
};

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Of so many signs of life, one is a whole call.
const SIGNS_A_CHECK: u32 = 16;

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The place had answered on this connection before it ended.
    WasAlive,
    /// The place refused.
    Refused,
    /// The place did not answer in time.
    Silent,
    /// It is to be asked otherwise from now on, on a new connection.
    Changed,
    /// This process could not ask: nothing was found out.
    Unable(ConnectError),
}

/// Why a session cannot go on.
enum Stop {
    /// The connection has ended.
    Disconnected(End),
    /// Nothing came in time to what was asked then.
    TimedOut(&'static str, Instant),
    /// A name is not asked for any more.
    Changed,
}

/// Probes over one connection until it ends. Reports each finding as it comes.
pub(super) async fn run(ground: &Ground, place: &Place, reporter: &mut Reporter) -> Ended {
    let (rhythm, started) = (place.rhythm(), Instant::now());
    // Boxed, as it is rare: a connection that is idle is to take little memory.
    let link = match Box::pin(connect(ground, place, rhythm.timeout)).await {
        Ok(stream) => Link::new(stream),
        Err(NoConnection::Unable(error)) => return Ended::Unable(error),
        Err(NoConnection::Found(finding)) if finding.is_silence() => {
            reporter.silent(&finding, started);
            return Ended::Silent;
        }
        Err(NoConnection::Found(finding)) => {
            reporter.failed(&finding, started);
            return Ended::Refused;
        }
    };
    let mut session = Session {
        link,
        rhythm,
        place,
        reporter,
        names: Vec::new(),
        part: ground.signs.take_part(rhythm.interval),
        sign: Sign::None,
        signs: 0,
        answered: false,
    };
    let Err(stop) = session.go().await;
    let answered = session.answered;
    drop(session);
    conclude(stop, answered, reporter)
}

fn conclude(stop: Stop, answered: bool, reporter: &mut Reporter) -> Ended {
    let now = Instant::now();
    let finding = match stop {
        Stop::Changed => return Ended::Changed,
        Stop::TimedOut(what, asked) => {
            let cause = format!("no answer to {what} in {:?}", now.duration_since(asked));
            reporter.silent(&Finding::Silent(cause), asked);
            return Ended::Silent;
        }
        // It was closed in good order, as servers do that limit the age of connections: the next dial tells.
        Stop::Disconnected(End::Closed) if answered => return Ended::WasAlive,
        Stop::Disconnected(End::Closed) => Finding::Refused("it hung up without an answer".to_owned()),
        Stop::Disconnected(End::NotHttp2(cause)) => Finding::NotHttp2(cause),
        Stop::Disconnected(End::Tls(cause)) => Finding::SpeaksTls(cause),
        Stop::Disconnected(End::Broken(cause)) => Finding::Refused(cause),
        Stop::Disconnected(End::Silent(cause)) => {
            reporter.silent(&Finding::Silent(cause), now);
            return Ended::Silent;
        }
    };
    reporter.failed(&finding, now);
    if answered { Ended::WasAlive } else { Ended::Refused }
}

struct Session<'a> {
    link: Link,
    rhythm: Rhythm,
    place: &'a Place,
    reporter: &'a mut Reporter,
    names: Vec<Name>,
    part: Part,
    sign: Sign,
    /// How many signs of life there were.
    signs: u32,
    answered: bool,
}

/// What instances are asked by.
struct Name {
    name: Arc<str>,
    asking: Asking,
    /// Since when.
    since: Instant,
    /// What was found last, for instances that come later.
    last: Option<Finding>,
}

/// How a name is being asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// A stream was opened, and has told nothing yet.
    Opening(CallId),
    /// A stream tells.
    Watching(CallId),
    /// It is asked again and again, now.
    Checking(CallId),
    /// The same, and it has answered; its end is missing.
    Answered(CallId, ServingStatus),
    /// It is asked again then.
    Resting(Instant),
}

/// What sign of life was asked for.
enum Sign {
    None,
    /// An acknowledgement.
    Settings(Instant),
    /// The answer to a check, whatever it says: the streams tell what the status is.
    Check(Instant, CallId),
}

impl Session<'_> {
    async fn go(&mut self) -> Result<Infallible, Stop> {
        self.take_members_in()?;
        let mut timer = std::pin::pin!(sleep_until(self.due()));
        loop {
            tokio::select! {
                biased;
                // First: what has come in time is not too late because this process was.
                news = self.link.next() => {
                    for (call, news) in news.map_err(Stop::Disconnected)? {
                        self.take(call, news)?;
                    }
                    self.note_signs();
                }
                () = self.place.changed.notified() => self.take_members_in()?,
                () = &mut timer => self.act()?,
            }
            if self.link.wire.is_over() {
                return Err(Stop::Disconnected(End::Closed));
            }
            let due = self.due();
            if due != timer.deadline() {
                timer.as_mut().reset(due);
            }
        }
    }

    /// When something is to be done if nothing comes.
    fn due(&self) -> Instant {
        let sign = match self.sign {
            Sign::None => self.part.due(),
            Sign::Settings(asked) | Sign::Check(asked, _) => asked + self.rhythm.timeout,
        };
        let names = self.names.iter().filter_map(|name| name.due(self.rhythm.timeout));
        names.fold(sign, Instant::min)
    }

    /// Does what is due.
    fn act(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        for at in 0..self.names.len() {
            let name = &self.names[at];
            match name.asking {
                _ if name.due(self.rhythm.timeout).is_none_or(|due| due > now) => {}
                Asking::Resting(_) => self.check(at)?,
                Asking::Opening(_) => return Err(Stop::TimedOut("Health/Watch", name.since)),
                _ => return Err(Stop::TimedOut("Health/Check", name.since)),
            }
        }
        match self.sign {
            Sign::Settings(asked) if now >= asked + self.rhythm.timeout => {
                Err(Stop::TimedOut("a SETTINGS of HTTP/2", asked))
            }
            Sign::Check(asked, _) if now >= asked + self.rhythm.timeout => Err(Stop::TimedOut("Health/Check", asked)),
            Sign::None if now >= self.part.due() => {
                self.ask_for_a_sign(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn ask_for_a_sign(&mut self, now: Instant) {
        // Whoever is checked anyway shows that the connection is alive.
        let Some(name) = self.names.iter().find(|name| name.is_watched()) else {
            self.part.next();
            return;
        };
        let name = name.name.clone();
        self.sign = if self.is_check_next() && !self.link.wire.is_leaving() {
            Sign::Check(now, self.call(CHECK, &name))
        } else {
            self.link.wire.ask();
            Sign::Settings(now)
        };
    }

    /// Whether the next sign of life is to pass through the whole of the process.
    fn is_check_next(&self) -> bool {
        self.signs % SIGNS_A_CHECK == SIGNS_A_CHECK - 1
    }

    fn note_signs(&mut self) {
        let has_pinged = self.link.wire.take_pinged();
        match self.sign {
            Sign::Settings(_) if self.link.wire.is_acknowledged() => self.note_sign(),
            Sign::None if has_pinged && !self.is_check_next() => {
                self.signs = self.signs.wrapping_add(1);
                self.part.heard();
            }
            _ => {}
        }
    }

    fn note_sign(&mut self) {
        self.sign = Sign::None;
        self.signs = self.signs.wrapping_add(1);
        self.part.next();
        self.reporter.heard();
    }

    /// Begins to ask for names that are new, and tells new instances what is known already.
    fn take_members_in(&mut self) -> Result<(), Stop> {
        let members = self.place.members();
        let gone = |name: &Name| members.iter().all(|member| *member.name() != *name.name);
        if self.place.rhythm() != self.rhythm || self.names.iter().any(gone) {
            return Err(Stop::Changed);
        }
        for member in members {
            match self.names.iter().find(|name| *name.name == *member.name()) {
                Some(name) => {
                    if let (0, Some(last)) = (member.findings(), &name.last) {
                        self.reporter.answered_by(&member, last);
                    }
                }
                None => {
                    self.names.push(Name {
                        name: member.name().into(),
                        asking: Asking::Resting(Instant::now()),
                        since: Instant::now(),
                        last: None,
                    });
                    self.watch(self.names.len() - 1)?;
                }
            }
        }
        Ok(())
    }

    /// Opens the stream of news for a name.
    fn watch(&mut self, at: usize) -> Result<(), Stop> {
        let call = self.begin(at, WATCH)?;
        self.names[at].asking = Asking::Opening(call);
        Ok(())
    }

    fn check(&mut self, at: usize) -> Result<(), Stop> {
        let call = self.begin(at, CHECK)?;
        self.names[at].asking = Asking::Checking(call);
        Ok(())
    }

    fn begin(&mut self, at: usize, path: &'static str) -> Result<CallId, Stop> {
        if self.link.wire.is_leaving() {
            return Err(Stop::Disconnected(End::Closed));
        }
        let name = self.names[at].name.clone();
        self.names[at].since = Instant::now();
        Ok(self.call(path, &name))
    }

    fn call(&mut self, path: &'static str, name: &str) -> CallId {
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let authority = self.place.key.0.as_str();
        self.link.wire.call(authority, path, &request.encode_to_vec())
    }

    fn take(&mut self, call: CallId, news: News) -> Result<(), Stop> {
        if matches!(self.sign, Sign::Check(_, check) if check == call) {
            if matches!(news, News::Over(_)) {
                self.note_sign();
            }
            return Ok(());
        }
        let Some(at) = self.names.iter().position(|name| name.asking.call() == Some(call)) else {
            return Ok(());
        };
        let asking = self.names[at].asking;
        match (asking, news) {
            (Asking::Opening(_) | Asking::Watching(_), News::Message(message)) => {
                let since = if asking == Asking::Opening(call) {
                    self.names[at].since
                } else {
                    Instant::now()
                };
                let status = serving_status(&message);
                self.names[at].asking = Asking::Watching(call);
                self.found(at, finding(&self.names[at].name, status), since);
            }
            (Asking::Opening(_), News::Over(_)) => self.check(at)?,
            (Asking::Watching(_), News::Over(_)) => self.over(at)?,
            (_, News::Message(message)) => {
                self.names[at].asking = Asking::Answered(call, serving_status(&message));
            }
            (_, News::Over(status)) => {
                let name = &self.names[at];
                let (finding, since) = (finding_of(&name.name, name.asking, status), name.since);
                self.names[at].asking = Asking::Resting(Instant::now() + self.pause());
                self.found(at, finding, since);
            }
        }
        Ok(())
    }

    /// A stream was ended in good order: when it had worked for a while, another one tells what was missed; else the
    /// server may have no Watch after all.
    fn over(&mut self, at: usize) -> Result<(), Stop> {
        if self.names[at].since.elapsed() >= self.rhythm.interval {
            self.watch(at)
        } else {
            self.check(at)
        }
    }

    fn found(&mut self, at: usize, finding: Finding, since: Instant) {
        self.answered = true;
        self.reporter.answered(&self.names[at].name, &finding, since);
        self.names[at].last = Some(finding);
    }

    /// How long a check waits for the next: the interval, jittered to the short side.
    fn pause(&self) -> Duration {
        self.rhythm.interval.mul_f64(fastrand::f64().mul_add(0.1, 0.9))
    }
}

impl Name {
    fn is_watched(&self) -> bool {
        matches!(self.asking, Asking::Opening(_) | Asking::Watching(_))
    }

    /// When it is to be asked, or too late to answer.
    fn due(&self, timeout: Duration) -> Option<Instant> {
        match self.asking {
            Asking::Opening(_) | Asking::Checking(_) | Asking::Answered(..) => Some(self.since + timeout),
            Asking::Watching(_) => None,
            Asking::Resting(until) => Some(until),
        }
    }
}

impl Asking {
    fn call(self) -> Option<CallId> {
        match self {
            Self::Opening(call) | Self::Watching(call) | Self::Checking(call) | Self::Answered(call, _) => Some(call),
            Self::Resting(_) => None,
        }
    }
}

/// What a message says; one that cannot be read says what is not known.
fn serving_status(message: &[u8]) -> ServingStatus {
    HealthCheckResponse::decode(message).map_or(ServingStatus::Unknown, |response| response.status())
}

fn finding(name: &str, status: ServingStatus) -> Finding {
    match status {
        ServingStatus::Serving => Finding::Serving,
        ServingStatus::NotServing | ServingStatus::Unknown => Finding::NotServing,
        ServingStatus::ServiceUnknown => Finding::HealthNameUnknown(name.to_owned()),
    }
}

/// What a check that is over has found.
fn finding_of(name: &str, asking: Asking, status: Status) -> Finding {
    match (Code::from_i32(status.code), asking) {
        (Code::Ok, Asking::Answered(_, status)) => finding(name, status),
        (Code::Ok, _) => Finding::Error("it answered without a message".to_owned()),
        (Code::Unimplemented, _) => Finding::NoHealthService,
        (Code::NotFound, _) => Finding::HealthNameUnknown(name.to_owned()),
        (code, _) => Finding::Error(format!("{code:?}: {}", status.message)),
    }
}
