//! `grpc.health.v1.Health`: tells whether this server takes requests.
//!
//! Our own, since tonic-health answers `Watch` of an unknown name with NOT_FOUND where the protocol says
//! SERVICE_UNKNOWN and keeps the stream open, and has no `List`.

use std::{collections::BTreeMap, pin::Pin};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    proto::health::v1::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    shutdown::Shutdown,
    status::Refusal,
};

/// Sets what the health service answers.
#[derive(Debug, Clone)]
pub struct HealthReporter {
    statuses: watch::Sender<BTreeMap<String, ServingStatus>>,
}

/// A health service that knows `names` and the empty name, which is the whole server; all of them NOT_SERVING. Its
/// streams end at `shutdown`.
pub fn health(names: &[&str], shutdown: Shutdown) -> (HealthReporter, HealthServer<impl Health>) {
    let names = names.iter().copied().chain([""]);
    let statuses = names.map(|name| (name.to_owned(), ServingStatus::NotServing)).collect();
    let statuses = watch::Sender::new(statuses);
    let answers = Answers {
        statuses: statuses.subscribe(),
        shutdown,
    };
    (HealthReporter { statuses }, HealthServer::new(answers))
}

impl HealthReporter {
    /// Answers SERVING or NOT_SERVING from now on, for every name.
    pub fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.statuses.send_modify(|statuses| {
            for value in statuses.values_mut() {
                *value = status;
            }
        });
    }
}

#[derive(Debug)]
struct Answers {
    statuses: watch::Receiver<BTreeMap<String, ServingStatus>>,
    shutdown: Shutdown,
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Answers {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        match self.statuses.borrow().get(&name) {
            Some(status) => Ok(Response::new(response(*status))),
            None => Err(Refusal::not_found("SERVICE_NOT_FOUND", "service", name).into()),
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = self.statuses.borrow();
        let statuses = statuses.iter().map(|(name, status)| (name.clone(), response(*status)));
        Ok(Response::new(HealthListResponse {
            statuses: statuses.collect(),
        }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watch = StatusWatch {
            name: request.into_inner().service,
            statuses: self.statuses.clone(),
            shutdown: self.shutdown.clone(),
            last: None,
        };
        let messages = stream::unfold(watch, |mut watch| async {
            let status = watch.next().await?;
            Some((Ok(response(status)), watch))
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

/// One stream of `Watch`.
struct StatusWatch {
    name: String,
    statuses: watch::Receiver<BTreeMap<String, ServingStatus>>,
    shutdown: Shutdown,
    last: Option<ServingStatus>,
}

impl StatusWatch {
    /// The next status that differs from the last one; `None` at the end, after the last change was told.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let status = self.statuses.borrow_and_update().get(&self.name).copied();
            let status = status.unwrap_or(ServingStatus::ServiceUnknown);
            if self.last.replace(status) != Some(status) {
                return Some(status);
            }
            tokio::select! {
                biased;
                changed = self.statuses.changed() => changed.ok()?,
                () = self.shutdown.cancelled() => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tonic::Code;

    use super::*;

    fn ask(name: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest {
            service: name.to_owned(),
        })
    }

    fn answers() -> (HealthReporter, Answers) {
        let statuses = [("a".to_owned(), ServingStatus::NotServing)].into();
        let statuses = watch::Sender::new(statuses);
        let answers = Answers {
            statuses: statuses.subscribe(),
            shutdown: Shutdown::new(),
        };
        (HealthReporter { statuses }, answers)
    }

    #[tokio::test]
    async fn a_check_of_an_unknown_name_is_not_found() {
        let (_reporter, answers) = answers();
        let status = answers.check(ask("b")).await.expect_err("an unknown name");
        assert_eq!(status.code(), Code::NotFound);
    }

    #[tokio::test]
    async fn a_watch_of_an_unknown_name_says_so_and_stays_open() {
        let (reporter, answers) = answers();
        let mut stream = answers.watch(ask("b")).await.expect("a stream").into_inner();
        let first = stream.next().await.expect("a message").expect("a status");
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
        reporter.set_serving(true);
        let mut pending = is_pending(stream.next());
        assert!(pending.as_mut().await, "nothing changed for an unknown name");
    }

    #[tokio::test]
    async fn a_watch_tells_each_change_once_and_the_last_one_before_it_ends() {
        let (reporter, answers) = answers();
        let mut stream = answers.watch(ask("a")).await.expect("a stream").into_inner();
        for serving in [false, true, false] {
            reporter.set_serving(serving);
            let message = stream.next().await.expect("a message").expect("a status");
            assert_eq!(message.status() == ServingStatus::Serving, serving);
        }
        reporter.set_serving(true);
        stream.next().await.expect("a message").expect("a status");
        reporter.set_serving(false);
        answers.shutdown.cancel();
        let last = stream.next().await.expect("a last message").expect("a status");
        assert_eq!(last.status(), ServingStatus::NotServing);
        assert!(stream.next().await.is_none());
    }

    /// Whether a future is still pending after one poll.
    fn is_pending<F: Future>(future: F) -> Pin<Box<impl Future<Output = bool>>> {
        Box::pin(async move {
            let mut future = std::pin::pin!(future);
            std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
        })
    }
}
