//! `GetTrace` and `ListTraces`.

use homeroom::{page::Page, proto::log::v1 as proto};

use super::{LogApi, cursor};
use crate::{
    entry::TraceId,
    error::Error,
    query::{self, Filter, Limit, Order},
    trace::Trace,
};

/// Gets a trace.
///
/// # Errors
/// [`Error::Invalid`], [`Error::TraceNotFound`] or [`Error::Read`].
pub(super) async fn get(api: &LogApi, request: proto::GetTraceRequest) -> Result<proto::GetTraceResponse, Error> {
    let id = TraceId::parse("trace_id", &request.trace_id)?;
    let filter = Filter::trace(id.clone());
    let found = api.scan(filter, Order::OldestFirst, Limit::TRACE, None).await?;
    if found.entries.is_empty() {
        return Err(Error::TraceNotFound(id));
    }
    let trace = Trace::assemble(found.entries);
    Ok(proto::GetTraceResponse {
        entries: trace.records.into_iter().map(Into::into).collect(),
        truncated: found.more,
        spans: trace.spans.into_iter().map(Into::into).collect(),
        missing_span_ids: trace.missing.into_iter().map(Into::into).collect(),
    })
}

/// Lists traces.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Read`].
pub(super) async fn list(api: &LogApi, request: proto::ListTracesRequest) -> Result<proto::ListTracesResponse, Error> {
    let (page_size, page_token) = (request.page_size, request.page_token.clone());
    let filter = Filter::try_from(request)?;
    let page = Page::parse(format!("ListTraces {filter:?}"), page_size, &page_token)?;
    let listed = query::list(&api.store, filter, page.size, cursor(&page)?).await?;
    Ok(proto::ListTracesResponse {
        traces: listed.traces.into_iter().map(Into::into).collect(),
        next_page_token: page.next_token(listed.next.map(|next| next.to_string())),
    })
}
