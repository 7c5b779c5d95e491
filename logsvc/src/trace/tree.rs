//! The order of spans: each after the one that caused it.

use std::collections::HashMap;

use super::{TraceSpan, parent};
use crate::entry::{Entry, SpanId};

/// What is known of a span while it has no place yet.
struct Node {
    /// Which span is its parent: of those with the id that it names the first.
    parent: Option<usize>,
    children: Vec<usize>,
    is_placed: bool,
    /// Whether the way up to its circle has come by.
    is_passed: bool,
}

/// Puts spans, given in order of time, in the order of a tree. Needs time and memory in proportion to them, and no depth
/// of the stack.
pub(super) fn in_order(spans: Vec<Entry>) -> Vec<TraceSpan> {
    let mut nodes = nodes(&spans);
    let mut order = Vec::with_capacity(spans.len());
    for at in 0..nodes.len() {
        if nodes[at].parent.is_none() {
            place(at, &mut nodes, &mut order);
        }
    }
    // What is left hangs on circles: each starts with its earliest span.
    for at in 0..nodes.len() {
        if !nodes[at].is_placed {
            let head = head_of_circle(at, &mut nodes);
            place(head, &mut nodes, &mut order);
        }
    }
    let mut spans: Vec<_> = spans.into_iter().map(Some).collect();
    let placed = order.into_iter().filter_map(|(at, depth)| {
        let entry = spans[at].take()?;
        let is_orphan = nodes[at].parent.is_none() && parent(&entry).is_some();
        Some(TraceSpan {
            entry,
            depth,
            is_orphan,
        })
    });
    placed.collect()
}

fn nodes(spans: &[Entry]) -> Vec<Node> {
    let mut by_id: HashMap<&SpanId, usize> = HashMap::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        if let Some(id) = &span.span_id {
            by_id.entry(id).or_insert(at);
        }
    }
    let mut nodes: Vec<_> = spans
        .iter()
        .map(|span| Node {
            parent: parent(span).and_then(|id| by_id.get(id).copied()),
            children: Vec::new(),
            is_placed: false,
            is_passed: false,
        })
        .collect();
    for at in 0..nodes.len() {
        if let Some(parent) = nodes[at].parent {
            nodes[parent].children.push(at);
        }
    }
    nodes
}

/// Places a span and all that it caused, with their depths.
fn place(root: usize, nodes: &mut [Node], order: &mut Vec<(usize, u32)>) {
    let mut waiting = vec![(root, 0)];
    while let Some((at, depth)) = waiting.pop() {
        if std::mem::replace(&mut nodes[at].is_placed, true) {
            continue;
        }
        order.push((at, depth));
        waiting.extend(nodes[at].children.iter().rev().map(|child| (*child, depth + 1)));
    }
}

/// The earliest span of the circle that a span's ancestors end in.
fn head_of_circle(start: usize, nodes: &mut [Node]) -> usize {
    let up = |nodes: &[Node], at: usize| {
        nodes[at]
            .parent
            .expect("what has no parent was placed, with all below it")
    };
    let mut at = start;
    while !std::mem::replace(&mut nodes[at].is_passed, true) {
        at = up(nodes, at);
    }
    // This is where the way met itself.
    let (first, mut head) = (at, at);
    at = up(nodes, at);
    while at != first {
        head = head.min(at);
        at = up(nodes, at);
    }
    head
}
