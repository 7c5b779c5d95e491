//! The commands.

mod again;
pub mod events;
pub mod graph;
pub mod logs;
pub mod services;
pub mod status;
pub mod students;
pub mod trace;
pub mod up;
pub mod wait;
pub mod watch;
pub mod why;

use homeroom::proto::registry::v1::{Instance, ListInstancesRequest, ListServicesRequest, ServiceSummary};
use tonic::Status;

use crate::{client::Client, failure::Failure};

/// All services.
async fn all_services(client: &Client) -> Result<Vec<ServiceSummary>, Failure> {
    let services = all_pages(|page_token| async {
        let request = client.request(ListServicesRequest {
            page_token,
            page_size: 0,
        });
        let page = client.registry().list_services(request).await?.into_inner();
        Ok((page.services, page.next_page_token))
    });
    Ok(services.await?)
}

/// The instances of a service, or of all when it is empty, whatever their health.
async fn all_instances(client: &Client, service: &str) -> Result<Vec<Instance>, Failure> {
    let instances = all_pages(|page_token| async {
        let request = client.request(ListInstancesRequest {
            service: service.to_owned(),
            include_all_health: true,
            page_token,
            page_size: 0,
        });
        let page = client.registry().list_instances(request).await?.into_inner();
        Ok((page.instances, page.next_page_token))
    });
    Ok(instances.await?)
}

/// All items of a paged list. `page` takes a token, and gives the items of its page and the next token.
async fn all_pages<T, F>(mut page: impl FnMut(String) -> F) -> Result<Vec<T>, Status>
where
    F: Future<Output = Result<(Vec<T>, String), Status>>,
{
    let (mut items, mut token) = page(String::new()).await?;
    while !token.is_empty() {
        let (more, next) = page(token).await?;
        items.extend(more);
        token = next;
    }
    Ok(items)
}
