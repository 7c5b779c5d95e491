use std::time::SystemTime;

use homeroom::{
    model::Registration,
    proto::registry::v1::{Change, Instance},
};

use super::*;
use crate::{catalog::Command, store::Store};

fn store() -> Store {
    let store = Store::new(SystemTime::now());
    for (service, id) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1"), ("c", "2")] {
        let registration = Registration::try_from(Instance {
            service: service.to_owned(),
            id: id.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            ..Default::default()
        });
        let command = Command::Register {
            registration: std::sync::Arc::new(registration.expect("a valid registration")),
            renews: None,
            actor: "test".into(),
            registrant: None,
        };
        store.apply(command).expect("accepted");
    }
    store
}

fn revisions(page: &ListChangesResponse) -> Vec<u64> {
    let changes = page.changes.iter().map(|change| Change::decode(&**change));
    changes.map(|change| change.expect("a change").revision).collect()
}

/// All pages of two items each.
fn pages<T>(mut page: impl FnMut(String) -> (Vec<T>, String)) -> Vec<T> {
    let (mut items, mut token) = page(String::new());
    while !token.is_empty() {
        let (more, next) = page(token);
        assert!(!more.is_empty(), "a token promises more");
        items.extend(more);
        token = next;
    }
    items
}

#[test]
fn pages_together_are_the_whole_list() {
    let store = store();
    for service in ["", "a", "none"] {
        let request = |page_size, page_token| ListInstancesRequest {
            service: service.to_owned(),
            include_all_health: true,
            page_size,
            page_token,
        };
        let list = |request| store.read(|state| instances(&request, state)).expect("a page");
        let paged = pages(|token| {
            let page = list(request(2, token));
            (page.instances, page.next_page_token)
        });
        assert_eq!(paged, list(request(0, String::new())).instances);
    }
    let services = pages(|page_token| {
        let request = ListServicesRequest {
            page_size: 2,
            page_token,
        };
        let page = store.read(|state| services(&request, state)).expect("a page");
        (page.services, page.next_page_token)
    });
    let names: Vec<_> = services
        .iter()
        .map(|summary| (summary.service.as_str(), summary.instances))
        .collect();
    assert_eq!(names, [("a", 3), ("b", 1), ("c", 2)]);
    let changed = pages(|page_token| {
        let request = ListChangesRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = store.read(|state| changes(&request, state)).expect("a page");
        (revisions(&page), page.next_page_token)
    });
    assert_eq!(changed, [6, 5, 4, 3, 2, 1]);
}

#[test]
fn instances_that_are_not_serving_are_listed_only_when_asked_for() {
    let request = ListInstancesRequest::default();
    assert!(
        store()
            .read(|state| instances(&request, state))
            .expect("a page")
            .instances
            .is_empty()
    );
}

#[test]
fn a_token_of_another_list_is_refused() {
    let store = store();
    let request = ListInstancesRequest {
        include_all_health: true,
        page_size: 1,
        ..Default::default()
    };
    let token = store
        .read(|state| instances(&request, state))
        .expect("a page")
        .next_page_token;
    let other_filter = ListInstancesRequest {
        service: "a".to_owned(),
        page_token: token.clone(),
        ..request
    };
    let refused = store
        .read(|state| instances(&other_filter, state))
        .expect_err("another filter");
    assert!(matches!(refused, Error::InvalidField(field) if field.field == "page_token"));
    let other_list = ListServicesRequest {
        page_size: 1,
        page_token: token,
    };
    let refused = store
        .read(|state| services(&other_list, state))
        .expect_err("another list");
    assert!(matches!(refused, Error::InvalidField(field) if field.field == "page_token"));
}

#[test]
fn changes_are_filtered_by_instance_only_within_a_service() {
    let store = store();
    let request = ListChangesRequest {
        service: "a".to_owned(),
        id: "2".to_owned(),
        ..Default::default()
    };
    let found = store.read(|state| changes(&request, state)).expect("a page");
    assert_eq!(revisions(&found), [2]);
    let request = ListChangesRequest {
        id: "2".to_owned(),
        ..Default::default()
    };
    let refused = store.read(|state| changes(&request, state)).expect_err("no service");
    assert!(matches!(refused, Error::InvalidField(field) if field.field == "id"));
}
