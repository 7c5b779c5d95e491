//! One connection to one instance, for as long as it lasts: `Health/Watch` for news, `Health/Check` for signs of life.
//!
//! Not HTTP/2 pings: stock gRPC servers close connections that ping more often than every five minutes.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::BoxFuture;
use homeroom::{
    model::{HealthCheck, Registration},
    proto::health::v1::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
    },
    transport::{ConnectError, Connection, End},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tonic::{Code, Status, Streaming};

use super::{
    finding::Finding,
    targets::{NoHost, Targets},
};

/// How long a dial may take before the next one begins beside it.
const TURN_MAX: Duration = Duration::from_millis(250);
/// How long the end of a connection may take to show once a call on it has failed.
const END_PATIENCE: Duration = Duration::from_millis(100);

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The instance had answered on this connection before it ended.
    WasAlive,
    /// The instance refused.
    Refused,
    /// The instance did not answer in time.
    Silent,
    /// This process could not ask: nothing was found out.
    Unable(ConnectError),
}

/// Why a session cannot go on.
enum Stop {
    /// The connection has ended.
    Disconnected,
    /// Nothing came in time.
    TimedOut(&'static str),
}

/// Probes over one connection until it ends. Reports each finding as it comes.
pub(super) async fn run(
    (dials, targets, registrant): (&Semaphore, &Targets, Option<IpAddr>),
    registration: &Registration,
    mut report: impl FnMut(Finding),
) -> Ended {
    let check = &registration.health_check;
    let hosts = match timeout(check.timeout, targets.resolve(&registration.address, registrant)).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(NoHost::NotAllowed(host))) => {
            report(Finding::NotAllowed(host));
            return Ended::Refused;
        }
        Ok(Err(NoHost::NotFound(cause))) => {
            report(Finding::Silent(cause));
            return Ended::Silent;
        }
        Err(_) => {
            report(Finding::Silent(format!(
                "its name was not found in {:?}",
                check.timeout
            )));
            return Ended::Silent;
        }
    };
    let connection = match dial(dials, registration, &hosts).await {
        Ok(connection) => connection,
        Err(ConnectError::Refused(cause)) => {
            report(Finding::Refused(cause));
            return Ended::Refused;
        }
        Err(ConnectError::Silent(cause)) => {
            report(Finding::Silent(cause));
            return Ended::Silent;
        }
        Err(error @ ConnectError::Local(_)) => return Ended::Unable(error),
    };
    let mut session = Session {
        client: HealthClient::new(connection.clone()),
        check,
        report: &mut report,
        answered: false,
    };
    let Err(stop) = session.watch_or_check(&connection).await;
    let answered = session.answered;
    match stop {
        Stop::TimedOut(what) => {
            report(Finding::Silent(format!("no answer to {what} in {:?}", check.timeout)));
            Ended::Silent
        }
        Stop::Disconnected => {
            let finding = match timeout(END_PATIENCE, connection.ended()).await {
                // It was closed in good order, as servers do that limit the age of connections: the next dial tells.
                Ok(End::Closed) if answered => return Ended::WasAlive,
                Ok(End::Closed) | Err(_) => Finding::Refused("it hung up without an answer".to_owned()),
                Ok(End::NotHttp2(cause)) => Finding::NotHttp2(cause),
                Ok(End::Tls(cause)) => Finding::SpeaksTls(cause),
                Ok(End::Broken(cause)) => Finding::Refused(cause),
                Ok(End::Silent(cause)) => {
                    report(Finding::Silent(cause));
                    return Ended::Silent;
                }
            };
            report(finding);
            if answered { Ended::WasAlive } else { Ended::Refused }
        }
    }
}

/// Opens a connection. Waits for its turn to begin; a host that has not answered soon gives its turn to the next, so that
/// many silent hosts hold up nobody.
async fn dial(
    dials: &Semaphore,
    registration: &Registration,
    hosts: &[SocketAddr],
) -> Result<Connection, ConnectError> {
    let turn = dials.acquire().await.expect("the semaphore is never closed");
    let mut opening = std::pin::pin!(Connection::open_small(
        &registration.address,
        hosts,
        registration.health_check.timeout
    ));
    tokio::select! {
        biased;
        connection = &mut opening => return connection,
        () = sleep(TURN_MAX) => drop(turn),
    }
    opening.await
}

struct Session<'a, R> {
    client: HealthClient<Connection>,
    check: &'a HealthCheck,
    report: &'a mut R,
    answered: bool,
}

impl<R: FnMut(Finding)> Session<'_, R> {
    async fn watch_or_check(&mut self, connection: &Connection) -> Result<std::convert::Infallible, Stop> {
        let mut news = self.open_watch().await?;
        let mut opened = Instant::now();
        if news.is_none() {
            self.check_once().await?;
        }
        let mut ticks = interval_at(opened + self.check.interval, self.check.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check = None;
        loop {
            tokio::select! {
                message = next(&mut news) => if !self.hear(message)? {
                    // A stream that had worked for a while was ended in good order: another one tells what was missed.
                    let worked = std::mem::replace(&mut opened, Instant::now()).elapsed() >= self.check.interval;
                    news = if worked { self.open_watch().await? } else { None };
                    if news.is_none() {
                        self.check_once().await?;
                    }
                },
                answer = pending_or(&mut check) => {
                    check = None;
                    let answer = answer?;
                    // The stream tells what the status is; then any answer is but a sign of life.
                    if news.is_none() {
                        self.found(self.finding_of(&answer));
                    }
                },
                _ = ticks.tick(), if check.is_none() => check = Some(self.call_check()),
                _ = connection.ended() => return Err(Stop::Disconnected),
            }
        }
    }

    fn request(&self) -> HealthCheckRequest {
        HealthCheckRequest {
            service: self.check.service.clone(),
        }
    }

    /// Opens the stream of news and reports its first message; `None` where the server has no such stream.
    async fn open_watch(&mut self) -> Result<Option<Streaming<HealthCheckResponse>>, Stop> {
        let request = self.request();
        let opened = timeout(self.check.timeout, self.client.watch(request)).await;
        let mut stream = match opened.map_err(|_| Stop::TimedOut("Health/Watch"))? {
            Ok(response) => response.into_inner(),
            Err(status) if is_from_server(&status) => return Ok(None),
            Err(_) => return Err(Stop::Disconnected),
        };
        let first = timeout(self.check.timeout, stream.message()).await;
        let first = first.map_err(|_| Stop::TimedOut("Health/Watch"))?;
        Ok(self.hear(first.transpose())?.then_some(stream))
    }

    /// Reports a message of the stream. `false` when the stream is over though the connection is not: the server may
    /// have no Watch after all.
    fn hear(&mut self, message: Option<Result<HealthCheckResponse, Status>>) -> Result<bool, Stop> {
        match message {
            Some(Ok(response)) => {
                self.found(self.finding(&response));
                Ok(true)
            }
            Some(Err(status)) if !is_from_server(&status) => Err(Stop::Disconnected),
            Some(Err(_)) | None => Ok(false),
        }
    }

    /// Asks for the status, and reports it.
    async fn check_once(&mut self) -> Result<(), Stop> {
        let answer = self.call_check().await?;
        self.found(self.finding_of(&answer));
        Ok(())
    }

    fn finding_of(&self, answer: &Result<HealthCheckResponse, Status>) -> Finding {
        match answer {
            Ok(response) => self.finding(response),
            Err(status) => match status.code() {
                Code::Unimplemented => Finding::NoHealthService,
                Code::NotFound => Finding::HealthNameUnknown(self.check.service.clone()),
                code => Finding::Error(format!("{code:?}: {}", status.message())),
            },
        }
    }

    fn call_check(&self) -> Check {
        let (mut client, request, patience) = (self.client.clone(), self.request(), self.check.timeout);
        Box::pin(async move {
            match timeout(patience, client.check(request)).await {
                Err(_) => Err(Stop::TimedOut("Health/Check")),
                Ok(Ok(response)) => Ok(Ok(response.into_inner())),
                Ok(Err(status)) if is_from_server(&status) => Ok(Err(status)),
                Ok(Err(_)) => Err(Stop::Disconnected),
            }
        })
    }

    fn finding(&self, response: &HealthCheckResponse) -> Finding {
        match response.status() {
            ServingStatus::Serving => Finding::Serving,
            ServingStatus::NotServing | ServingStatus::Unknown => Finding::NotServing,
            ServingStatus::ServiceUnknown => Finding::HealthNameUnknown(self.check.service.clone()),
        }
    }

    fn found(&mut self, finding: Finding) {
        self.answered = true;
        (self.report)(finding);
    }
}

/// A `Health/Check` under way: what the server answered.
type Check = BoxFuture<'static, Result<Result<HealthCheckResponse, Status>, Stop>>;

/// The answer to the check that is under way; never, when there is none.
async fn pending_or(check: &mut Option<Check>) -> Result<Result<HealthCheckResponse, Status>, Stop> {
    match check {
        Some(check) => check.await,
        None => std::future::pending().await,
    }
}

/// The next message of the stream; never, when there is no stream.
async fn next(news: &mut Option<Streaming<HealthCheckResponse>>) -> Option<Result<HealthCheckResponse, Status>> {
    match news {
        Some(stream) => stream.message().await.transpose(),
        None => std::future::pending().await,
    }
}

/// Whether a status came over the wire: one that was made here of a fault of the connection has that as its source.
fn is_from_server(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
}
