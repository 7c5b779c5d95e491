//! Lists traces by their spans, those written last first: each at the last of its spans that match.

use std::{collections::HashSet, fmt, str::FromStr, sync::Arc};

use homeroom::page::PAGE_SIZE_BYTES_MAX;

use super::{Filter, Limit, Order, Scan};
use crate::{
    entry::{Entry, TraceId},
    error::Error,
    store::Store,
    trace::Summary,
};

/// How many traces a page looks up that were listed on a page before: each costs as much as one that is listed.
const KNOWN_MAX: usize = 1000;

/// Where a page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The last entry that there was when the first page was made: what comes later would move traces.
    visible: u64,
    /// The pages before have looked through this number and all above it, up to `visible`.
    seen_from: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.visible, self.seen_from)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (visible, seen_from) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self {
            visible: visible.parse()?,
            seen_from: seen_from.parse()?,
        })
    }
}

/// A page of traces.
#[derive(Debug)]
pub struct Listed {
    /// The traces.
    pub traces: Vec<Summary>,
    /// Where the next page starts; `None` when nothing is left.
    pub next: Option<Cursor>,
}

/// Lists up to `size` traces that have a span that matches, from a cursor on; `None` is the first page.
///
/// A trace is on one page only, though its spans are far apart and more of them come: for each trace that a later page
/// meets it looks whether there is a span that matches on the pages before.
///
/// Cancel safe: the reading ends soon after.
///
/// # Errors
/// [`Error::Read`].
pub async fn list(store: &Arc<Store>, filter: Filter, size: usize, cursor: Option<Cursor>) -> Result<Listed, Error> {
    let visible = *store.visible().borrow();
    let start = cursor.unwrap_or(Cursor {
        visible,
        seen_from: visible + 1,
    });
    let mut page = Page {
        store,
        filter: Arc::new(filter),
        size,
        start,
        seen: HashSet::new(),
        traces: Vec::new(),
        size_bytes: 0,
        known: 0,
    };
    let next = page.fill().await?;
    Ok(Listed {
        traces: page.traces,
        next,
    })
}

struct Page<'a> {
    store: &'a Arc<Store>,
    filter: Arc<Filter>,
    size: usize,
    start: Cursor,
    /// The traces that this page has met.
    seen: HashSet<TraceId>,
    traces: Vec<Summary>,
    size_bytes: usize,
    /// How many of them were on a page before.
    known: usize,
}

impl Page<'_> {
    /// Goes on until there are enough. Returns where the next page starts.
    async fn fill(&mut self) -> Result<Option<Cursor>, Error> {
        let Cursor { visible, mut seen_from } = self.start;
        loop {
            let (filter, limit) = (self.filter.clone(), Limit::PAGE);
            let scan = Scan::new(filter, Order::NewestFirst, limit, Some(seen_from), visible);
            let found = scan.finish(self.store).await?;
            for span in &found.entries {
                if !self.meet(span).await? {
                    return Ok(Some(Cursor { visible, seen_from }));
                }
                seen_from = span.sequence;
            }
            seen_from = found.after;
            if !found.more {
                return Ok(None);
            }
            if found.entries.is_empty() {
                // As much was read as may be for a page.
                return Ok(Some(Cursor { visible, seen_from }));
            }
        }
    }

    /// Adds the trace of a span when it is the first of it. Returns whether there was room, if it had to be.
    async fn meet(&mut self, span: &Entry) -> Result<bool, Error> {
        let Some(id) = span.trace_id.as_ref().filter(|id| !self.seen.contains(*id)) else {
            return Ok(true);
        };
        if self.known == KNOWN_MAX {
            return Ok(false);
        }
        if self.is_known(id).await? {
            self.known += 1;
        } else if self.traces.len() == self.size || self.size_bytes > PAGE_SIZE_BYTES_MAX {
            return Ok(false);
        } else if let Some(summary) = summary(self.store, id).await? {
            self.size_bytes += summary.size_bytes();
            self.traces.push(summary);
        }
        self.seen.insert(id.clone());
        Ok(true)
    }

    /// Whether a page before this one has the trace.
    async fn is_known(&self, id: &TraceId) -> Result<bool, Error> {
        let Cursor { visible, seen_from } = self.start;
        if seen_from > visible {
            return Ok(false);
        }
        let filter = (*self.filter).clone().within_trace(id.clone());
        let any = Limit {
            entries: 0,
            ..Limit::TRACE
        };
        let scan = Scan::<Entry>::new(Arc::new(filter), Order::OldestFirst, any, Some(seen_from - 1), visible);
        Ok(scan.finish(self.store).await?.more)
    }
}

/// What there is to say of a trace.
async fn summary(store: &Arc<Store>, id: &TraceId) -> Result<Option<Summary>, Error> {
    let visible = *store.visible().borrow();
    let filter = Arc::new(Filter::trace(id.clone()));
    let scan = Scan::new(filter, Order::OldestFirst, Limit::TRACE, None, visible);
    Ok(Summary::new(id.clone(), &scan.finish(store).await?.entries))
}

#[cfg(test)]
mod tests;
