//! A few watchers that do read what they are told: whether what the others only count is right.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use homeroom::{
    discovery::View,
    model,
    proto::registry::v1::{ListInstancesRequest, WatchServicesRequest, registry_client::RegistryClient},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{peer::Server, workload::service};

/// How long the last changes may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Watchers with the library's own view, which checks the hash of each message.
pub(crate) struct Sample {
    of: usize,
    views: Vec<watch::Receiver<Arc<View>>>,
    watchers: JoinSet<Result<()>>,
}

impl Sample {
    /// Opens so many.
    pub(crate) async fn open(server: &Server, of: usize, count: usize) -> Result<Self> {
        let mut sample = Self {
            of,
            views: Vec::new(),
            watchers: JoinSet::new(),
        };
        for _ in 0..count {
            let request = WatchServicesRequest {
                services: vec![service(of)],
                ..Default::default()
            };
            let stream = RegistryClient::new(server.channel()).watch_services(request).await?;
            let mut stream = stream.into_inner();
            let (publish, views) = watch::channel(Arc::new(View::default()));
            sample.views.push(views);
            sample.watchers.spawn(async move {
                let mut view = View::default();
                while let Some(message) = stream.message().await? {
                    view.apply(message)?;
                    if view.is_consistent() {
                        publish.send_replace(Arc::new(view.clone()));
                    }
                }
                Ok(())
            });
        }
        Ok(sample)
    }

    /// Checks that every view ends as the registry lists it, once nothing changes any more.
    pub(crate) async fn check(mut self, server: &Server) -> Result<()> {
        let request = ListInstancesRequest {
            service: service(self.of),
            page_size: 1000,
            ..Default::default()
        };
        let listed = RegistryClient::new(server.channel()).list_instances(request).await?;
        let listed = listed.into_inner();
        ensure!(listed.next_page_token.is_empty(), "the service does not fit a page");
        let expected = listed.instances.into_iter().map(model::Instance::try_from);
        let expected = expected.collect::<Result<Vec<_>, _>>()?;
        for view in &mut self.views {
            let up_to_date = |view: &Arc<View>| view.position().0.0 >= listed.revision;
            let arrived = timeout(PATIENCE, view.wait_for(up_to_date)).await;
            let view = arrived.context("a view stays behind")??.clone();
            let instances: Vec<_> = view.instances().map(|instance| &**instance).collect();
            ensure!(
                instances == expected.iter().collect::<Vec<_>>(),
                "a view differs from what the registry lists"
            );
        }
        // A view whose hash did not match has ended its task.
        ensure!(self.watchers.try_join_next().is_none(), "a watcher has failed");
        Ok(())
    }
}
