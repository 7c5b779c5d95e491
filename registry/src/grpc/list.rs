//! The paged lists: each page is read at one revision, and starts after the last item of the page before.

use std::ops::Bound;

use homeroom::{
    model::{self, InstanceId, InstanceKey, InvalidField, Revision, ServiceName},
    page::Page,
    proto::registry::v1::{
        ListChangesRequest, ListInstancesRequest, ListServicesRequest, ListServicesResponse, ServiceSummary,
        ready::{ListChangesResponse, ListInstancesResponse},
    },
};
use prost::Message;

use super::changes::ChangeFilter;
use crate::{error::Error, store::State};

/// A token that is ours was made from a cursor that is.
fn cursor<T>(page: &Page, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, InvalidField> {
    let Some(text) = page.cursor.as_deref() else {
        return Ok(None);
    };
    let refused = || InvalidField::new("page_token", "must be the `next_page_token` of a page, unchanged");
    parse(text).map(Some).ok_or_else(refused)
}

fn key(text: &str) -> Option<InstanceKey> {
    let (service, id) = text.split_once('/')?;
    InstanceKey::parse(service, id).ok()
}

/// An optional filter by service.
fn filter(service: &str) -> Result<Option<ServiceName>, InvalidField> {
    match service {
        "" => Ok(None),
        name => ServiceName::parse("service", name).map(Some),
    }
}

pub(super) fn services(request: &ListServicesRequest, state: &State) -> Result<ListServicesResponse, Error> {
    let page = Page::parse("ListServices", request.page_size, &request.page_token)?;
    let after = cursor(&page, |text| text.parse::<ServiceName>().ok())?;
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rest = state
        .catalog
        .services()
        .range::<ServiceName, _>((start, Bound::Unbounded));
    let summaries = rest.map(|(name, instances)| ServiceSummary {
        service: name.to_string(),
        instances: count(instances.len()),
        serving_instances: count(instances.values().filter(|instance| instance.is_serving()).count()),
        required_services: state.catalog.required_by(name).map(ToString::to_string).collect(),
    });
    let (services, more) = page.take(summaries, Message::encoded_len);
    Ok(ListServicesResponse {
        next_page_token: page.next_token(services.last().filter(|_| more).map(|last| last.service.clone())),
        services,
        revision: state.catalog.revision().0,
        epoch: state.catalog.epoch().0,
    })
}

/// Counts in messages are of 32 bits, and the catalog is bounded far below that.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn instances(request: &ListInstancesRequest, state: &State) -> Result<ListInstancesResponse, Error> {
    let service = filter(&request.service)?;
    let list = format!("ListInstances {} {}", request.service, request.include_all_health);
    let page = Page::parse(list, request.page_size, &request.page_token)?;
    let after = cursor(&page, key)?;
    // Starts in the middle of the service that the page before ended in.
    let services = match (&service, &after) {
        (Some(service), _) => (Bound::Included(service), Bound::Included(service)),
        (None, Some(after)) => (Bound::Included(&after.service), Bound::Unbounded),
        (None, None) => (Bound::Unbounded, Bound::Unbounded),
    };
    let rest = state.catalog.services().range::<ServiceName, _>(services);
    let rest = rest.flat_map(|(name, instances)| {
        let after = after.as_ref().filter(|after| after.service == *name);
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(&after.id));
        instances
            .range::<InstanceId, _>((start, Bound::Unbounded))
            .map(|(_, instance)| instance)
    });
    let shown = rest.filter(|instance| request.include_all_health || instance.is_serving());
    let encoded = shown.map(|instance| (instance.key(), instance.encode_to_vec()));
    let (instances, more) = page.take(encoded, |(_, encoded)| encoded.len());
    let last = instances.last().filter(|_| more);
    Ok(ListInstancesResponse {
        next_page_token: page.next_token(last.map(|(key, _)| key.to_string())),
        instances: instances.into_iter().map(|(_, encoded)| encoded).collect(),
        revision: state.catalog.revision().0,
        epoch: state.catalog.epoch().0,
    })
}

pub(super) fn changes(request: &ListChangesRequest, state: &State) -> Result<ListChangesResponse, Error> {
    let filter = ChangeFilter::parse(&request.service, &request.id)?;
    let epoch = state.catalog.epoch().0;
    let list = format!("ListChanges {epoch} {} {}", request.service, request.id);
    let page = Page::parse(list, request.page_size, &request.page_token)?;
    let before = cursor(&page, |text| text.parse().ok().map(Revision))?;
    let older = |change: &model::Change| before.is_none_or(|before| change.revision < before);
    let changes = state.history.newest_first();
    let wanted = changes.filter(|change| older(change) && filter.matches(change));
    let encoded = wanted.map(|change| (change.revision, change.encode_to_vec()));
    let (changes, more) = page.take(encoded, |(_, encoded)| encoded.len());
    let last = changes.last().filter(|_| more);
    Ok(ListChangesResponse {
        next_page_token: page.next_token(last.map(|(revision, _)| revision.to_string())),
        changes: changes.into_iter().map(|(_, encoded)| encoded).collect(),
        epoch,
    })
}

#[cfg(test)]
mod tests;
