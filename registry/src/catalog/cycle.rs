//! Whether services require each other in a circle. Pure.

use std::collections::BTreeSet;

use homeroom::model::ServiceName;

/// Whether `from` requires `to`, directly or through others.
pub(super) fn reaches(
    from: &ServiceName,
    to: &ServiceName,
    required_by: impl Fn(&ServiceName) -> BTreeSet<ServiceName>,
) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from.clone()];
    while let Some(service) = next.pop() {
        if service == *to {
            return true;
        }
        if seen.insert(service.clone()) {
            next.extend(required_by(&service));
        }
    }
    false
}
