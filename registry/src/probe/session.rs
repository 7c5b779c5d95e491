//! One connection to one instance, for as long as it lasts: `Health/Watch` for news, `Health/Check` for signs of life.
//!
//! Not HTTP/2 pings: stock gRPC servers close connections that ping more often than every five minutes.

use std::time::Duration;

use homeroom::{
    model::{HealthCheck, Registration},
    proto::health::v1::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
    },
    transport::{ConnectError, Connection, End},
};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tonic::{Code, Status, Streaming};

use super::finding::Finding;

/// How long the end of a connection may take to show once a call on it has failed.
const END_PATIENCE: Duration = Duration::from_millis(100);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The instance had answered on this connection before it ended.
    WasAlive,
    /// The instance refused.
    Refused,
    /// The instance did not answer in time.
    Silent,
}

/// Why a session cannot go on.
enum Stop {
    /// The connection has ended.
    Disconnected,
    /// Nothing came in time.
    TimedOut(&'static str),
}

/// Probes over one connection until it ends. Reports each finding as it comes.
pub(super) async fn run(dials: &Semaphore, registration: &Registration, mut report: impl FnMut(Finding)) -> Ended {
    let check = &registration.health_check;
    let connection = {
        let _dial = dials.acquire().await.expect("the semaphore is never closed");
        Connection::open(&registration.address, check.timeout).await
    };
    let connection = match connection {
        Ok(connection) => connection,
        Err(ConnectError::Refused(cause)) => {
            report(Finding::Refused(cause.to_string()));
            return Ended::Refused;
        }
        Err(ConnectError::Silent(cause)) => {
            report(Finding::Silent(cause));
            return Ended::Silent;
        }
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
        // What ended may have been closed in good order: the next dial tells.
        Stop::Disconnected if answered => Ended::WasAlive,
        Stop::Disconnected => {
            report(match timeout(END_PATIENCE, connection.ended()).await {
                Ok(End::NotHttp2(cause)) => Finding::NotHttp2(cause),
                Ok(End::Broken(cause)) => Finding::Refused(cause),
                Ok(End::Closed) | Err(_) => Finding::Refused("it hung up without an answer".to_owned()),
            });
            Ended::Refused
        }
    }
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
        if let Some(stream) = &mut news {
            let first = timeout(self.check.timeout, stream.message()).await;
            let first = first.map_err(|_| Stop::TimedOut("Health/Watch"))?;
            if !self.hear(first.transpose())? {
                news = None;
            }
        }
        if news.is_none() {
            self.check_once().await?;
        }
        let mut ticks = interval_at(tokio::time::Instant::now() + self.check.interval, self.check.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = next(&mut news) => {
                    if !self.hear(message)? {
                        news = None;
                    }
                }
                _ = ticks.tick() => match news {
                    Some(_) => self.sign_of_life().await?,
                    None => self.check_once().await?,
                },
                _ = connection.ended() => return Err(Stop::Disconnected),
            }
        }
    }

    fn request(&self) -> HealthCheckRequest {
        HealthCheckRequest {
            service: self.check.service.clone(),
        }
    }

    /// Opens the stream of news; `None` where the server has none.
    async fn open_watch(&mut self) -> Result<Option<Streaming<HealthCheckResponse>>, Stop> {
        let request = self.request();
        match timeout(self.check.timeout, self.client.watch(request)).await {
            Err(_) => Err(Stop::TimedOut("Health/Watch")),
            Ok(Ok(response)) => Ok(Some(response.into_inner())),
            Ok(Err(status)) if is_from_server(&status) => Ok(None),
            Ok(Err(_)) => Err(Stop::Disconnected),
        }
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
        let finding = match &answer {
            Ok(response) => self.finding(response),
            Err(status) => match status.code() {
                Code::Unimplemented => Finding::NoHealthService,
                Code::NotFound => Finding::HealthNameUnknown(self.check.service.clone()),
                code => Finding::Error(format!("{code:?}: {}", status.message())),
            },
        };
        self.found(finding);
        Ok(())
    }

    /// Asks for the status only to hear something: the stream tells what it is, any answer tells that it lives.
    async fn sign_of_life(&mut self) -> Result<(), Stop> {
        self.call_check().await.map(|_| ())
    }

    async fn call_check(&mut self) -> Result<Result<HealthCheckResponse, Status>, Stop> {
        let request = self.request();
        match timeout(self.check.timeout, self.client.check(request)).await {
            Err(_) => Err(Stop::TimedOut("Health/Check")),
            Ok(Ok(response)) => Ok(Ok(response.into_inner())),
            Ok(Err(status)) if is_from_server(&status) => Ok(Err(status)),
            Ok(Err(_)) => Err(Stop::Disconnected),
        }
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
