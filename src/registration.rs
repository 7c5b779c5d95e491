//! Keeps an instance registered: for ever, through restarts and losses of memory of the registry, until told to stop.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use crate::{
    backoff::Backoff,
    balance::Channel,
    model::{Incarnation, InvalidField, Registration, ServiceName},
    proto::registry::v1::{
        DeregisterRequest, Drain, RegisterRequest, RegisterResponse, registry_client::RegistryClient,
    },
    shutdown::Shutdown,
    status,
    telemetry::context::inherit_origin,
};

/// How often a registration is renewed when nothing happens, jittered. A registry that restarts is noticed at once, by
/// the end of its connection; this is for one that has forgotten, or evicted us while it could not reach us.
const RENEW_INTERVAL: Duration = Duration::from_secs(60);
/// Between two tries.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(3);
/// How long the registry may take to answer, and to probe us before it does.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
const VERIFY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a renewal that is under way may hold up a goodbye.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What became of the registration.
#[derive(Debug, Clone, Default)]
pub enum Standing {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// The registry could not be reached so far: the last failure.
    Unreachable(String),
    /// The registry refused, and will again: the request is at fault.
    Refused(Status),
    /// It stands.
    Registered(Registered),
}

/// A registration that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its number.
    pub incarnation: Incarnation,
    /// The required services that require this one too, directly or not.
    pub cyclic_services: BTreeSet<ServiceName>,
}

impl TryFrom<&RegisterResponse> for Registered {
    type Error = InvalidField;

    fn try_from(response: &RegisterResponse) -> Result<Self, InvalidField> {
        let cyclic = response.cyclic_services.iter();
        Ok(Self {
            incarnation: Incarnation(response.instance.as_ref().map_or(0, |instance| instance.incarnation)),
            cyclic_services: cyclic
                .map(|name| ServiceName::parse("cyclic_services", name))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Keeps an instance registered while it lives. Dropping it leaves the registration to the registry's probes;
/// [`Registrar::deregister`] ends it.
#[derive(Debug)]
pub struct Registrar {
    client: RegistryClient<Channel>,
    registration: Arc<Registration>,
    standing: watch::Receiver<Standing>,
    stop: Shutdown,
    keeper: AbortOnDropHandle<()>,
}

impl Registrar {
    /// Starts to register.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(registry: Channel, registration: Registration) -> Self {
        let registration = Arc::new(registration);
        let (publish, standing) = watch::channel(Standing::default());
        let stop = Shutdown::new();
        let keeper = Keeper {
            client: RegistryClient::new(registry.clone()),
            registry,
            registration: registration.clone(),
            publish,
            held: None,
            failing: false,
            stop: stop.clone(),
        };
        Self {
            client: keeper.client.clone(),
            registration,
            standing,
            stop,
            keeper: AbortOnDropHandle::new(tokio::spawn(inherit_origin(keeper.run()))),
        }
    }

    /// What became of the registration, as it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Ends the registration, after watchers have had `drain` to learn of it.
    ///
    /// # Errors
    /// When the registry did not answer so: it will notice by its probes.
    pub async fn deregister(mut self, drain: Duration) -> Result<(), Status> {
        self.stop.cancel();
        // A renewal that is under way must not arrive after the goodbye: it would undo it.
        if timeout(STOP_PATIENCE, &mut self.keeper).await.is_err() {
            self.keeper.abort();
        }
        let Standing::Registered(registered) = self.standing.borrow().clone() else {
            return Ok(());
        };
        let request = DeregisterRequest {
            service: self.registration.key.service.to_string(),
            id: self.registration.key.id.to_string(),
            incarnation: registered.incarnation.0,
            drain: Some(Drain {
                timeout: drain.try_into().ok(),
            }),
        };
        let answer = timeout(drain + REGISTER_TIMEOUT, self.client.deregister(request)).await;
        match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the registry did not answer"))) {
            // Somebody else has ended it: nothing is left to do.
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(status),
            Ok(answer) => {
                let answer = answer.into_inner();
                let late = answer.late_watch_ids.len();
                if late > 0 {
                    tracing::warn!(
                        late,
                        watchers = answer.watchers,
                        "not all watchers have learnt of the goodbye in time"
                    );
                }
                Ok(())
            }
        }
    }
}

struct Keeper {
    client: RegistryClient<Channel>,
    registry: Channel,
    registration: Arc<Registration>,
    publish: watch::Sender<Standing>,
    held: Option<Incarnation>,
    failing: bool,
    stop: Shutdown,
}

/// What to do after a try to register.
enum Next {
    Renew,
    Retry,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        loop {
            let answer = self.register().await;
            let wait = match self.judge(answer) {
                Next::Renew => {
                    backoff.reset();
                    None
                }
                Next::Retry => Some(backoff.next_delay()),
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.until_next(wait) => {}
            }
        }
    }

    /// Waits that long, or until the registration is to be renewed: when it is time, or when the registry's connection
    /// ends and then a moment, so that not all instances come at once.
    async fn until_next(&self, wait: Option<Duration>) {
        if let Some(wait) = wait {
            return sleep(wait).await;
        }
        let interval = RENEW_INTERVAL.mul_f64(fastrand::f64().mul_add(0.4, 0.8));
        if timeout(interval, self.registry.disconnected()).await.is_ok() {
            sleep(RETRY_FIRST.mul_f64(fastrand::f64())).await;
        }
    }

    async fn register(&mut self) -> Result<RegisterResponse, Status> {
        let request = RegisterRequest {
            instance: Some((&*self.registration).into()),
            verify: self.held.is_none(),
            verify_timeout: VERIFY_TIMEOUT.try_into().ok(),
            incarnation: self.held.map_or(0, |held| held.0),
        };
        timeout(REGISTER_TIMEOUT, self.client.register(request))
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the registry did not answer in time")))
            .map(tonic::Response::into_inner)
    }

    fn judge(&mut self, answer: Result<RegisterResponse, Status>) -> Next {
        let failure = match answer {
            Ok(response) => match Registered::try_from(&response) {
                Ok(registered) => {
                    self.stands(registered, &response);
                    return Next::Renew;
                }
                Err(error) => Status::internal(error.to_string()),
            },
            Err(status) => status,
        };
        if status::reason(&failure).as_deref() == Some("SUPERSEDED") {
            // Another process took our place, or the answer to a renewal was lost: who lives at the address will be
            // registered, and the other one refused.
            self.held = None;
        }
        self.fails(failure);
        Next::Retry
    }

    fn stands(&mut self, registered: Registered, response: &RegisterResponse) {
        self.failing = false;
        let health = response.instance.as_ref().and_then(|instance| instance.health.as_ref());
        if self.held.replace(registered.incarnation) != Some(registered.incarnation) {
            tracing::info!(
                instance.id = %self.registration.key.id,
                probe = health.map(|health| health.detail.as_str()),
                "registered"
            );
        }
        let standing = Standing::Registered(registered);
        self.publish.send_replace(standing);
    }

    /// Keeps a registration that stands as it is: the registry holds it, or it will be made again.
    fn fails(&mut self, failure: Status) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(reason = %failure.message(), "cannot register");
        }
        let refused = is_refusal(failure.code());
        self.publish.send_if_modified(|standing| {
            if matches!(standing, Standing::Registered(_)) {
                return false;
            }
            *standing = if refused {
                Standing::Refused(failure)
            } else {
                Standing::Unreachable(failure.message().to_owned())
            };
            true
        });
    }
}

/// Whether the request is at fault, so that the same one will be refused again.
fn is_refusal(code: Code) -> bool {
    use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated, Unimplemented};
    matches!(
        code,
        AlreadyExists | FailedPrecondition | InvalidArgument | PermissionDenied | Unauthenticated | Unimplemented
    )
}

#[cfg(test)]
mod tests;
