//! `Query`.

use homeroom::{
    model::InvalidField,
    page::Page,
    proto::log::v1::{self as proto, in_place::QueryResponse},
};

use super::{LogApi, cursor};
use crate::{
    entry::Encoded,
    error::Error,
    query::{Filter, Limit, Order},
};

/// Finds a page of entries.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Read`].
pub(super) async fn query(api: &LogApi, request: proto::QueryRequest) -> Result<QueryResponse, Error> {
    let filter = filter(request.filter)?;
    let order = Order::parse("order", request.order)?;
    let list = format!("Query {filter:?} {order:?}");
    let page = Page::parse(list, request.page_size, &request.page_token)?;
    let limit = Limit {
        entries: page.size,
        ..Limit::PAGE
    };
    let found = api.scan(filter, order, limit, cursor(&page)?).await?;
    Ok(QueryResponse {
        entries: found.entries.into_iter().map(|entry: Encoded| entry.message).collect(),
        next_page_token: page.next_token(found.more.then(|| found.after.to_string())),
    })
}

/// Reads the filter of a request.
///
/// # Errors
/// The first field of it that is not valid.
pub(super) fn filter(message: Option<proto::Filter>) -> Result<Filter, InvalidField> {
    let filter = Filter::try_from(message.unwrap_or_default());
    filter.map_err(|error| error.within("filter"))
}
