//! One connection to one place, for as long as it lasts: a `Health/Watch` for each name that its instances are asked by,
//! `Health/Check` in its place where a server has no Watch, and as a sign of life of a connection that is idle.
//!
//! Not HTTP/2 pings: stock gRPC servers close connections that ping more often than every five minutes.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use homeroom::{
    proto::health::v1::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
    },
    transport::{ConnectError, Connection, End},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Code, Status, Streaming};

use super::{
    Ground,
    finding::Finding,
    place::{Place, Rhythm},
    report::Reporter,
    signs::Part,
    targets::NoHost,
};

/// How long a dial may take before the next one begins beside it.
const TURN_MAX: Duration = Duration::from_millis(250);
/// How long the end of a connection may take to show once a call on it has failed.
const END_PATIENCE: Duration = Duration::from_millis(100);

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
    Disconnected,
    /// Nothing came in time to what was asked then.
    TimedOut(&'static str, Instant),
    /// A name is not asked for any more.
    Changed,
}

/// Probes over one connection until it ends. Reports each finding as it comes.
pub(super) async fn run(ground: &Ground, place: &Place, reporter: &mut Reporter) -> Ended {
    let (rhythm, started) = (place.rhythm(), Instant::now());
    // Boxed, as all that is rare here: a connection that is idle is to take little memory.
    let connection = match Box::pin(connect(ground, place, rhythm.timeout)).await {
        Ok(connection) => connection,
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
        client: HealthClient::new(connection.clone()),
        rhythm,
        place,
        reporter,
        names: Vec::new(),
        work: FuturesUnordered::new(),
        part: ground.signs.take_part(rhythm.interval),
        answered: false,
    };
    let Err(stop) = session.go(&connection).await;
    let answered = session.answered;
    drop(session);
    Box::pin(conclude(stop, &connection, answered, reporter)).await
}

async fn conclude(stop: Stop, connection: &Connection, answered: bool, reporter: &mut Reporter) -> Ended {
    let now = Instant::now();
    match stop {
        Stop::Changed => return Ended::Changed,
        Stop::TimedOut(what, asked) => {
            let cause = format!("no answer to {what} in {:?}", now.duration_since(asked));
            reporter.silent(&Finding::Silent(cause), asked);
            return Ended::Silent;
        }
        Stop::Disconnected => {}
    }
    let finding = match timeout(END_PATIENCE, connection.ended()).await {
        // It was closed in good order, as servers do that limit the age of connections: the next dial tells.
        Ok(End::Closed) if answered => return Ended::WasAlive,
        Ok(End::Closed) | Err(_) => Finding::Refused("it hung up without an answer".to_owned()),
        Ok(End::NotHttp2(cause)) => Finding::NotHttp2(cause),
        Ok(End::Tls(cause)) => Finding::SpeaksTls(cause),
        Ok(End::Broken(cause)) => Finding::Refused(cause),
        Ok(End::Silent(cause)) => {
            reporter.silent(&Finding::Silent(cause), now);
            return Ended::Silent;
        }
    };
    reporter.failed(&finding, now);
    if answered { Ended::WasAlive } else { Ended::Refused }
}

/// Why there is no connection.
enum NoConnection {
    Found(Finding),
    Unable(ConnectError),
}

/// Opens a connection to the hosts that an address leads to now, if they may be dialled.
async fn connect(ground: &Ground, place: &Place, patience: Duration) -> Result<Connection, NoConnection> {
    let (address, registrant) = &place.key;
    let hosts = match timeout(patience, ground.targets.resolve(address, *registrant)).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(NoHost::NotAllowed(host))) => return Err(NoConnection::Found(Finding::NotAllowed(host))),
        Ok(Err(NoHost::NotFound(cause))) => return Err(NoConnection::Found(Finding::Silent(cause))),
        Err(_) => {
            let cause = format!("its name was not found in {patience:?}");
            return Err(NoConnection::Found(Finding::Silent(cause)));
        }
    };
    dial(ground, place, &hosts, patience)
        .await
        .map_err(|error| match error {
            ConnectError::Refused(cause) => NoConnection::Found(Finding::Refused(cause)),
            ConnectError::Silent(cause) => NoConnection::Found(Finding::Silent(cause)),
            ConnectError::Local(_) => NoConnection::Unable(error),
        })
}

/// Opens a connection. Waits for its turn to begin; a host that has not answered soon gives its turn to the next, so that
/// many silent hosts hold up nobody.
async fn dial(
    ground: &Ground,
    place: &Place,
    hosts: &[SocketAddr],
    patience: Duration,
) -> Result<Connection, ConnectError> {
    let turn = ground.dials.acquire().await.expect("the semaphore is never closed");
    let mut opening = std::pin::pin!(Connection::open_small(&place.key.0, hosts, patience));
    tokio::select! {
        biased;
        connection = &mut opening => return connection,
        () = sleep(TURN_MAX) => drop(turn),
    }
    opening.await
}

struct Session<'a> {
    client: HealthClient<Connection>,
    rhythm: Rhythm,
    place: &'a Place,
    reporter: &'a mut Reporter,
    names: Vec<Name>,
    /// One piece for each name, and perhaps a sign of life.
    work: FuturesUnordered<BoxFuture<'static, Event>>,
    part: Part,
    answered: bool,
}

/// What instances are asked by.
struct Name {
    name: Arc<str>,
    /// Whether a stream tells; else it is asked again and again.
    watched: bool,
    /// Since when.
    since: Instant,
    /// What was found last, for instances that come later.
    last: Option<Finding>,
}

/// What a piece of work comes to.
enum Event {
    /// A stream was opened; it has its first message, or the server has none.
    Opened(Arc<str>, Result<Option<Opened>, Stop>, Instant),
    /// A message of a stream; without one it is over.
    News(
        Arc<str>,
        Box<Streaming<HealthCheckResponse>>,
        Option<Result<HealthCheckResponse, Status>>,
    ),
    /// The answer to a check.
    Checked(Arc<str>, Result<Answer, Stop>, Instant),
    /// The answer to a check that was but a sign of life.
    Alive(Result<Answer, Stop>),
    /// It is time to check again.
    Due(Arc<str>),
}

type Opened = (Box<Streaming<HealthCheckResponse>>, HealthCheckResponse);
type Answer = Result<HealthCheckResponse, Status>;

impl Session<'_> {
    async fn go(&mut self, connection: &Connection) -> Result<Infallible, Stop> {
        self.take_members_in()?;
        let mut sign = std::pin::pin!(sleep_until(self.part.due()));
        let mut asked = false;
        loop {
            tokio::select! {
                Some(event) = self.work.next() => {
                    if matches!(event, Event::Alive(_)) {
                        asked = false;
                        sign.as_mut().reset(self.part.next());
                    }
                    self.handle(event)?;
                }
                () = &mut sign, if !asked => {
                    let due = self.part.due();
                    if due > Instant::now() {
                        sign.as_mut().reset(due);
                    // Whoever is checked anyway shows that the connection is alive.
                    } else if self.names.iter().all(|name| name.watched) {
                        asked = true;
                        self.ask_for_a_sign();
                    } else {
                        sign.as_mut().reset(self.part.next());
                    }
                }
                () = self.place.changed.notified() => self.take_members_in()?,
                _ = connection.ended() => return Err(Stop::Disconnected),
            }
        }
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
                None => self.ask_for(member.name().into()),
            }
        }
        Ok(())
    }

    fn ask_for(&mut self, name: Arc<str>) {
        self.names.push(Name {
            name: name.clone(),
            watched: true,
            since: Instant::now(),
            last: None,
        });
        self.watch(name);
    }

    fn handle(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Opened(name, opened, since) => match opened? {
                Some((stream, first)) => {
                    self.found(&name, finding(&name, &first), since);
                    self.listen(name, stream);
                }
                None => self.check_from_now_on(name),
            },
            Event::News(name, stream, Some(Ok(response))) => {
                self.found(&name, finding(&name, &response), Instant::now());
                self.listen(name, stream);
            }
            Event::News(_, _, Some(Err(status))) if !is_from_server(&status) => return Err(Stop::Disconnected),
            Event::News(name, ..) => self.over(name),
            Event::Checked(name, answer, since) => {
                self.found(&name, finding_of(&name, &answer?), since);
                self.check_later(name);
            }
            Event::Alive(answer) => {
                answer.map(|_| ())?;
                self.reporter.heard();
            }
            Event::Due(name) => self.check(name),
        }
        Ok(())
    }

    /// A stream was ended in good order: when it had worked for a while, another one tells what was missed; else the
    /// server may have no Watch after all.
    fn over(&mut self, name: Arc<str>) {
        let worked = self
            .names
            .iter_mut()
            .find(|known| known.name == name)
            .is_some_and(|known| std::mem::replace(&mut known.since, Instant::now()).elapsed() >= self.rhythm.interval);
        if worked {
            self.watch(name);
        } else {
            self.check_from_now_on(name);
        }
    }

    fn found(&mut self, name: &str, finding: Finding, since: Instant) {
        self.answered = true;
        self.reporter.answered(name, &finding, since);
        if let Some(known) = self.names.iter_mut().find(|known| *known.name == *name) {
            known.last = Some(finding);
        }
    }

    /// Opens the stream of news for a name.
    fn watch(&self, name: Arc<str>) {
        let (mut client, patience, since) = (self.client.clone(), self.rhythm.timeout, Instant::now());
        let open = async move {
            let timed_out = |_| Stop::TimedOut("Health/Watch", since);
            let opened = timeout(patience, client.watch(request(&name))).await.map_err(timed_out);
            let opened = match opened {
                Err(stop) => Err(stop),
                Ok(Ok(response)) => {
                    let mut stream = Box::new(response.into_inner());
                    let first = timeout(patience, stream.message()).await.map_err(timed_out);
                    first.and_then(|first| match first {
                        Ok(first) => Ok(first.map(|first| (stream, first))),
                        Err(status) if is_from_server(&status) => Ok(None),
                        Err(_) => Err(Stop::Disconnected),
                    })
                }
                Ok(Err(status)) if is_from_server(&status) => Ok(None),
                Ok(Err(_)) => Err(Stop::Disconnected),
            };
            Event::Opened(name, opened, since)
        };
        self.work.push(Box::pin(open));
    }

    fn listen(&self, name: Arc<str>, mut stream: Box<Streaming<HealthCheckResponse>>) {
        self.work.push(Box::pin(async move {
            let message = stream.message().await.transpose();
            Event::News(name, stream, message)
        }));
    }

    fn check_from_now_on(&mut self, name: Arc<str>) {
        if let Some(known) = self.names.iter_mut().find(|known| known.name == name) {
            known.watched = false;
        }
        self.check(name);
    }

    fn check(&self, name: Arc<str>) {
        let (check, since) = (self.call_check(&name), Instant::now());
        self.work
            .push(Box::pin(async move { Event::Checked(name, check.await, since) }));
    }

    /// Checks again after the interval, jittered to the short side.
    fn check_later(&self, name: Arc<str>) {
        let wait = self.rhythm.interval.mul_f64(fastrand::f64().mul_add(0.1, 0.9));
        self.work.push(Box::pin(async move {
            sleep(wait).await;
            Event::Due(name)
        }));
    }

    /// Any answer is a sign of life, whatever it says: the streams tell what the status is.
    fn ask_for_a_sign(&self) {
        let name = self.names.first().map_or("", |name| &name.name);
        let check = self.call_check(name);
        self.work.push(Box::pin(async move { Event::Alive(check.await) }));
    }

    fn call_check(&self, name: &str) -> impl Future<Output = Result<Answer, Stop>> + Send + use<> {
        let (mut client, request, patience) = (self.client.clone(), request(name), self.rhythm.timeout);
        let since = Instant::now();
        async move {
            match timeout(patience, client.check(request)).await {
                Err(_) => Err(Stop::TimedOut("Health/Check", since)),
                Ok(Ok(response)) => Ok(Ok(response.into_inner())),
                Ok(Err(status)) if is_from_server(&status) => Ok(Err(status)),
                Ok(Err(_)) => Err(Stop::Disconnected),
            }
        }
    }
}

fn request(name: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: name.to_owned(),
    }
}

fn finding(name: &str, response: &HealthCheckResponse) -> Finding {
    match response.status() {
        ServingStatus::Serving => Finding::Serving,
        ServingStatus::NotServing | ServingStatus::Unknown => Finding::NotServing,
        ServingStatus::ServiceUnknown => Finding::HealthNameUnknown(name.to_owned()),
    }
}

fn finding_of(name: &str, answer: &Answer) -> Finding {
    match answer {
        Ok(response) => finding(name, response),
        Err(status) => match status.code() {
            Code::Unimplemented => Finding::NoHealthService,
            Code::NotFound => Finding::HealthNameUnknown(name.to_owned()),
            code => Finding::Error(format!("{code:?}: {}", status.message())),
        },
    }
}

/// Whether a status came over the wire: one that was made here of a fault of the connection has that as its source.
fn is_from_server(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
}
