//! `graph`: which service requires which.

mod draw;

use std::collections::{BTreeMap, BTreeSet};

use homeroom::proto::registry::v1::ServiceSummary;

use super::all_services;
use crate::{
    args::Format,
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Line, Output},
};

/// Shows the graph: as lines, a JSON value a service, Graphviz or Mermaid.
///
/// # Errors
/// When the registry cannot be asked.
pub async fn run(client: &Client, output: &Output, format: Format) -> Result<(), Failure> {
    let graph = Graph::new(&all_services(client).await?);
    match format {
        Format::Table => output.lines(&lines(&graph))?,
        Format::Json => {
            for (name, node) in &graph.nodes {
                output.value(&value(name, node))?;
            }
        }
        Format::Dot => output.write(&draw::dot(&graph))?,
        Format::Mermaid => output.write(&draw::mermaid(&graph))?,
    }
    Ok(())
}

/// Services by name. Pure, and the same for the same services.
#[derive(Debug)]
struct Graph {
    nodes: BTreeMap<String, Node>,
}

/// A service.
#[derive(Debug, Default)]
struct Node {
    /// How many of its instances are serving, and how many there are; none when it is only required.
    serving: u32,
    instances: u32,
    /// The services that it requires, and whether each requires it too, directly or not.
    requires: BTreeMap<String, bool>,
}

impl Node {
    fn is_missing(&self) -> bool {
        self.instances == 0
    }
}

impl Graph {
    fn new(services: &[ServiceSummary]) -> Self {
        let mut nodes = BTreeMap::new();
        for service in services {
            for required in &service.required_services {
                nodes.entry(required.clone()).or_insert_with(Node::default);
            }
            let required = service.required_services.iter();
            let node = Node {
                serving: service.serving_instances,
                instances: service.instances,
                requires: required.map(|name| (name.clone(), false)).collect(),
            };
            nodes.insert(service.service.clone(), node);
        }
        let mut graph = Self { nodes };
        graph.mark_cycles();
        graph
    }

    /// An edge is in a cycle when its end leads back to its start.
    fn mark_cycles(&mut self) {
        let reached: BTreeMap<_, _> = self
            .nodes
            .keys()
            .map(|name| (name.clone(), self.reached(name)))
            .collect();
        for (name, node) in &mut self.nodes {
            for (required, in_cycle) in &mut node.requires {
                *in_cycle = reached[required].contains(name);
            }
        }
    }

    /// The services that this one leads to, itself among them.
    fn reached(&self, name: &str) -> BTreeSet<String> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![name]);
        while let Some(name) = next.pop() {
            if seen.insert(name.to_owned()) {
                next.extend(self.nodes[name].requires.keys().map(String::as_str));
            }
        }
        seen
    }
}

fn lines(graph: &Graph) -> Vec<Line> {
    let head = |(name, node): (&String, &Node)| {
        let state = match node {
            Node { instances: 0, .. } => Cell::coloured("missing", Colour::Bad),
            Node {
                serving: 0, instances, ..
            } => Cell::coloured(format!("0/{instances}"), Colour::Bad),
            Node { serving, instances, .. } => Cell::coloured(format!("{serving}/{instances}"), Colour::Good),
        };
        state.within(name, "")
    };
    let edge = |(required, in_cycle): (&String, &bool)| {
        let missing = graph.nodes[required].is_missing();
        let note = match (missing, in_cycle) {
            (true, _) => Cell::coloured("missing", Colour::Bad),
            (_, true) => Cell::coloured("in a cycle", Colour::Doubtful),
            _ => Cell::from(""),
        };
        note.within(&format!("  requires {required}"), "")
    };
    let block = |node| std::iter::once(head(node)).chain(node.1.requires.iter().map(edge));
    graph.nodes.iter().flat_map(block).collect()
}

fn value(name: &str, node: &Node) -> serde_json::Value {
    let required = node.requires.iter();
    serde_json::json!({
        "service": name,
        "instances": node.instances,
        "servingInstances": node.serving,
        "missing": node.is_missing(),
        "requires": required
            .map(|(service, cycle)| serde_json::json!({ "service": service, "cycle": cycle }))
            .collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
