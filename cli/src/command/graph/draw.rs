//! The graph in the languages of Graphviz and Mermaid, with every name quoted. Pure.

use std::{collections::BTreeMap, fmt::Write};

use homeroom::text::printable;

use super::{Graph, Node};

/// Writes it for Graphviz, <https://graphviz.org/doc/info/lang.html>.
pub(super) fn dot(graph: &Graph) -> String {
    let mut out = "digraph homeroom {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (name, node) in &graph.nodes {
        let style = match (node.is_missing(), node.serving) {
            (true, _) => ", style=dashed, color=red, fontcolor=red",
            (false, 0) => ", color=red, fontcolor=red",
            _ => "",
        };
        // Only a label has entities.
        let (id, label) = (dot_quoted(name), dot_escaped(name).replace('&', "&amp;"));
        add(
            &mut out,
            format_args!("  {id} [label=\"{label}\\n{}\"{style}];\n", state(node)),
        );
    }
    for (name, required, in_cycle) in edges(graph) {
        let style = if in_cycle {
            " [label=\"cycle\", color=orange]"
        } else {
            ""
        };
        let (name, required) = (dot_quoted(name), dot_quoted(required));
        add(&mut out, format_args!("  {name} -> {required}{style};\n"));
    }
    out + "}\n"
}

/// Writes it for Mermaid, <https://mermaid.js.org/syntax/flowchart.html>.
pub(super) fn mermaid(graph: &Graph) -> String {
    let numbers: BTreeMap<_, _> = graph.nodes.keys().zip(0..).collect();
    let mut out = "flowchart LR\n".to_owned();
    for (name, node) in &graph.nodes {
        let class = match (node.is_missing(), node.serving) {
            (true, _) => ":::missing",
            (false, 0) => ":::down",
            _ => "",
        };
        let (number, label) = (numbers[name], mermaid_escaped(name));
        add(
            &mut out,
            format_args!("  n{number}[\"{label}<br/>{}\"]{class}\n", state(node)),
        );
    }
    for (name, required, in_cycle) in edges(graph) {
        let arrow = if in_cycle { "-->|cycle|" } else { "-->" };
        let (name, required) = (numbers[name], numbers[required]);
        add(&mut out, format_args!("  n{name} {arrow} n{required}\n"));
    }
    out + "  classDef missing stroke:red,stroke-dasharray:4\n  classDef down stroke:red\n"
}

fn edges(graph: &Graph) -> impl Iterator<Item = (&String, &String, bool)> {
    let of = |(name, node)| {
        let required: &BTreeMap<String, bool> = node;
        required
            .iter()
            .map(move |(required, in_cycle)| (name, required, *in_cycle))
    };
    graph
        .nodes
        .iter()
        .map(|(name, node)| (name, &node.requires))
        .flat_map(of)
}

fn state(node: &Node) -> String {
    match node.is_missing() {
        true => "missing".to_owned(),
        false => format!("{}/{}", node.serving, node.instances),
    }
}

fn add(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.write_fmt(line).expect("a string takes everything");
}

/// A backslash starts an escape in a label, and none may stand before the closing quote.
fn dot_escaped(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('"', "\\\"")
}

fn dot_quoted(text: &str) -> String {
    format!("\"{}\"", dot_escaped(text))
}

/// Everything that could end the label, start markup or an entity, as an entity.
fn mermaid_escaped(text: &str) -> String {
    let mut out = String::new();
    for character in printable(text).chars() {
        match character {
            '"' | '#' | '&' | '<' | '>' | '`' | ';' | '\\' => add(&mut out, format_args!("#{};", u32::from(character))),
            plain => out.push(plain),
        }
    }
    out
}
