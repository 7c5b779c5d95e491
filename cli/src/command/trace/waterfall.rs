//! A trace as a picture in text: a line for each span, with a bar from its start to its end, and one for each log entry,
//! below the span that it belongs to.

use std::{borrow::BorrowMut, collections::HashMap, iter::Peekable, time::Duration, vec::IntoIter};

use homeroom::proto::log::v1::{Entry, GetTraceResponse, SpanStatus, TraceSpan};
use prost_types::Timestamp;

use crate::{
    command::logs::severity,
    output::{Cell, Colour, Line},
    time,
};

/// How wide the bar of the longest span is.
const WIDTH: usize = 32;

/// Nanoseconds since 1970: those of the years 1 to 9999 fit.
type Nanos = i128;

/// Draws a trace.
pub(super) fn draw(trace: &GetTraceResponse) -> Vec<Line> {
    let spans = trace.spans.iter().filter_map(|span| span.entry.as_ref());
    let all = spans.chain(&trace.entries);
    let start = all.clone().map(|entry| nanos(entry.time)).min().unwrap_or_default();
    let end = all.map(end).max().unwrap_or_default();
    let mut picture = Picture {
        start,
        end,
        lines: vec![Cell::from(summary(trace, end - start)).into()],
    };
    picture.fill(trace);
    let mut lines = picture.lines;
    if !trace.missing_span_ids.is_empty() {
        let missing = format!("not there: the spans {}", trace.missing_span_ids.join(", "));
        lines.push(Cell::coloured(missing, Colour::Doubtful).into());
    }
    if trace.truncated {
        lines.push(Cell::coloured("there is more of this trace than is shown", Colour::Doubtful).into());
    }
    lines
}

fn summary(trace: &GetTraceResponse, length: Nanos) -> String {
    let count = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let spans = count(trace.spans.len(), "span", "spans");
    let entries = count(trace.entries.len(), "log entry", "log entries");
    format!("{spans} and {entries} in {}", time::exact(duration(length)))
}

fn nanos(time: Option<Timestamp>) -> Nanos {
    let time = time.unwrap_or_default();
    Nanos::from(time.seconds) * 1_000_000_000 + Nanos::from(time.nanos)
}

fn end(entry: &Entry) -> Nanos {
    let end = entry.span.as_ref().and_then(|span| span.end_time);
    nanos(end.or(entry.time))
}

fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// The log entries of a span that are not drawn yet, in order of time.
struct Waiting<'t> {
    depth: u32,
    entries: Peekable<IntoIter<&'t Entry>>,
}

impl<'t> Waiting<'t> {
    fn new(depth: u32, mut entries: Vec<&'t Entry>) -> Self {
        entries.sort_by_key(|entry| (nanos(entry.time), entry.sequence));
        Self {
            depth,
            entries: entries.into_iter().peekable(),
        }
    }
}

/// What is drawn, and the time that its width stands for.
struct Picture {
    start: Nanos,
    end: Nanos,
    lines: Vec<Line>,
}

impl Picture {
    /// Draws each span with what is below it, and log entries among the spans that their own span has caused, in order of
    /// time.
    fn fill(&mut self, trace: &GetTraceResponse) {
        let mut by_span: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for entry in &trace.entries {
            by_span.entry(&entry.span_id).or_default().push(entry);
        }
        let spans = trace.spans.iter().filter_map(|span| Some((span, span.entry.as_ref()?)));
        let own: Vec<_> = spans
            .map(|(span, entry)| (span, entry, by_span.remove(entry.span_id.as_str()).unwrap_or_default()))
            .collect();
        // Log entries that belong to no span stand beside the roots.
        let mut above = vec![Waiting::new(0, by_span.into_values().flatten().collect())];
        for (span, entry, entries) in own {
            while above.last().is_some_and(|waiting| waiting.depth > span.depth) {
                self.entries(above.pop(), Nanos::MAX);
            }
            self.entries(above.last_mut(), nanos(entry.time));
            let line = self.span(span, entry);
            self.lines.push(line);
            above.push(Waiting::new(span.depth + 1, entries));
        }
        while let Some(waiting) = above.pop() {
            self.entries(Some(waiting), Nanos::MAX);
        }
    }

    /// Draws the entries that wait and were before `time`.
    fn entries<'t>(&mut self, waiting: Option<impl BorrowMut<Waiting<'t>>>, time: Nanos) {
        let Some(mut waiting) = waiting else {
            return;
        };
        let waiting = waiting.borrow_mut();
        while let Some(entry) = waiting.entries.next_if(|entry| nanos(entry.time) < time) {
            let line = self.entry(entry, waiting.depth);
            self.lines.push(line);
        }
    }

    fn span(&self, span: &TraceSpan, entry: &Entry) -> Line {
        let (start, end) = (nanos(entry.time), end(entry));
        let details = entry.span.clone().unwrap_or_default();
        let (colour, status) = match details.status() {
            SpanStatus::Error => (Colour::Bad, format!("  ERROR {}", details.status_message)),
            SpanStatus::Ok | SpanStatus::Unspecified => (Colour::Good, String::new()),
        };
        let orphan = match span.is_orphan {
            true => "  (its parent is not there)",
            false => "",
        };
        let name = format!("{}  {}{}{orphan}", entry.service, entry.message, status.trim_end());
        let from = self.column(start).min(WIDTH - 1);
        let to = self.column(end).max(from + 1);
        let bar = format!("{}{}", " ".repeat(from), "█".repeat(to - from));
        let bar = format!("{bar}{}", " ".repeat(WIDTH - to));
        let head = format!("{}{:>9}", self.offset(start), time::exact(duration(end - start)));
        Cell::coloured(bar, colour).within(&head, &indented(span.depth, &name))
    }

    fn entry(&self, entry: &Entry, depth: u32) -> Line {
        let time = nanos(entry.time);
        let from = self.column(time).min(WIDTH - 1);
        let mark = format!("{}·{}", " ".repeat(from), " ".repeat(WIDTH - 1 - from));
        let head = format!("{}{:>9}  {mark}{}", self.offset(time), "", indented(depth, ""));
        let content = format!("{}  {}", entry.service, entry.message);
        severity(entry).within(&head, &content)
    }

    /// When it was, from the start of the trace.
    fn offset(&self, time: Nanos) -> String {
        format!("{:>9} ", time::exact(duration(time - self.start)))
    }

    /// Where a time is: 0 to [`WIDTH`], but below it so that a bar has room.
    fn column(&self, time: Nanos) -> usize {
        let length = (self.end - self.start).max(1);
        let width = Nanos::try_from(WIDTH).unwrap_or_default();
        let column = (time - self.start).clamp(0, length) * width / length;
        usize::try_from(column).unwrap_or_default().min(WIDTH)
    }
}

fn indented(depth: u32, text: &str) -> String {
    format!("{}{text}", "  ".repeat(usize::try_from(depth).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use homeroom::proto::log::v1::{Severity, Span};

    use super::*;

    const MILLI: i32 = 1_000_000;

    fn at(millis: i32) -> Option<Timestamp> {
        Some(Timestamp {
            seconds: 1,
            nanos: millis * MILLI,
        })
    }

    fn log(millis: i32, span_id: &str, message: &str) -> Entry {
        Entry {
            time: at(millis),
            severity: Severity::Info.into(),
            service: "grades".to_owned(),
            message: message.to_owned(),
            span_id: span_id.to_owned(),
            ..Default::default()
        }
    }

    fn span(from: i32, to: i32, id: &str, depth: u32) -> TraceSpan {
        let span = Span {
            end_time: at(to),
            ..Default::default()
        };
        let entry = Entry {
            span: Some(span),
            ..log(from, id, id)
        };
        TraceSpan {
            entry: Some(entry),
            depth,
            is_orphan: false,
        }
    }

    fn text(trace: &GetTraceResponse) -> String {
        draw(trace).iter().map(|line| line.text(false)).collect()
    }

    #[test]
    fn spans_are_bars_with_the_log_entries_of_each_among_those_below_it() {
        let trace = GetTraceResponse {
            spans: vec![
                span(0, 320, "root", 0),
                span(80, 160, "first", 1),
                span(200, 210, "second", 1),
            ],
            entries: vec![
                log(10, "root", "early"),
                log(100, "first", "within"),
                log(180, "root", "between"),
                log(320, "", "late"),
            ],
            ..Default::default()
        };
        let bar =
            |from: usize, to: usize| format!("{}{}{}", " ".repeat(from), "█".repeat(to - from), " ".repeat(32 - to));
        let dot = |at: usize| format!("{}·{}", " ".repeat(at), " ".repeat(31 - at));
        let expected = [
            "3 spans and 4 log entries in 320ms".to_owned(),
            format!("       0s     320ms  {}  grades  root", bar(0, 32)),
            format!("     10ms            {}    INFO   grades  early", dot(1)),
            format!("     80ms      80ms  {}    grades  first", bar(8, 16)),
            format!("    100ms            {}      INFO   grades  within", dot(10)),
            format!("    180ms            {}    INFO   grades  between", dot(18)),
            format!("    200ms      10ms  {}    grades  second", bar(20, 21)),
            format!("    320ms            {}  INFO   grades  late", dot(31)),
        ];
        assert_eq!(text(&trace), expected.join("\n") + "\n");
    }

    #[test]
    fn what_is_not_as_it_should_be_is_said() {
        let mut orphan = span(5, 5, "orphan", 0);
        orphan.is_orphan = true;
        let details = orphan
            .entry
            .as_mut()
            .and_then(|entry| entry.span.as_mut())
            .expect("a span");
        details.set_status(SpanStatus::Error);
        details.status_message = "no\u{1b}[2J".to_owned();
        let trace = GetTraceResponse {
            spans: vec![orphan],
            truncated: true,
            missing_span_ids: vec!["parent".to_owned()],
            ..Default::default()
        };
        let text = text(&trace);
        for told in [
            "orphan  ERROR no\\u{1b}[2J  (its parent is not there)\n",
            "not there: the spans parent\n",
            "there is more of this trace than is shown\n",
        ] {
            assert!(text.contains(told), "{told} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn spans_of_one_moment_and_a_clock_that_went_back_are_drawn() {
        let trace = GetTraceResponse {
            spans: vec![span(9, 9, "root", 0), span(5, 3, "child", 1)],
            ..Default::default()
        };
        assert_eq!(text(&trace).lines().count(), 3);
        assert_eq!(text(&GetTraceResponse::default()), "0 spans and 0 log entries in 0s\n");
    }
}
