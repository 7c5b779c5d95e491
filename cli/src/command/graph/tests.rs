//! The same services make the same graph, whatever their names.

use super::{draw::*, *};

fn service(name: &str, serving: u32, instances: u32, requires: &[&str]) -> ServiceSummary {
    ServiceSummary {
        service: name.to_owned(),
        instances,
        serving_instances: serving,
        required_services: requires.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn school() -> Vec<ServiceSummary> {
    vec![
        service("grades", 1, 2, &["log", "mail"]),
        service("log", 0, 1, &[]),
        service("a", 1, 1, &["b"]),
        service("b", 1, 1, &["c"]),
        service("c", 1, 1, &["a", "c", "log"]),
    ]
}

#[test]
fn the_drawing_marks_what_is_missing_or_down_and_cycles() {
    assert_eq!(
        dot(&Graph::new(&school())),
        r#"digraph homeroom {
  rankdir=LR;
  node [shape=box];
  "a" [label="a\n1/1"];
  "b" [label="b\n1/1"];
  "c" [label="c\n1/1"];
  "grades" [label="grades\n1/2"];
  "log" [label="log\n0/1", color=red, fontcolor=red];
  "mail" [label="mail\nmissing", style=dashed, color=red, fontcolor=red];
  "a" -> "b" [label="cycle", color=orange];
  "b" -> "c" [label="cycle", color=orange];
  "c" -> "a" [label="cycle", color=orange];
  "c" -> "c" [label="cycle", color=orange];
  "c" -> "log";
  "grades" -> "log";
  "grades" -> "mail";
}
"#
    );
    assert_eq!(
        mermaid(&Graph::new(&school()[..2])),
        r#"flowchart LR
  n0["grades<br/>1/2"]
  n1["log<br/>0/1"]:::down
  n2["mail<br/>missing"]:::missing
  n0 --> n1
  n0 --> n2
  classDef missing stroke:red,stroke-dasharray:4
  classDef down stroke:red
"#
    );
    assert!(mermaid(&Graph::new(&school())).contains("  n0 -->|cycle| n1\n"));
}

#[test]
fn the_order_of_the_services_does_not_matter() {
    let mut backwards = school();
    backwards.reverse();
    assert_eq!(dot(&Graph::new(&backwards)), dot(&Graph::new(&school())));
    assert_eq!(mermaid(&Graph::new(&backwards)), mermaid(&Graph::new(&school())));
}

#[test]
fn what_only_leads_to_a_cycle_is_not_in_it() {
    let graph = Graph::new(&[service("x", 1, 1, &["y"]), service("y", 1, 1, &["y"])]);
    assert!(!graph.nodes["x"].requires["y"]);
    assert!(graph.nodes["y"].requires["y"]);
}

#[test]
fn no_name_breaks_out_of_its_quotes() {
    let graph = Graph::new(&[service("a\"];b&\\", 1, 1, &["<c>\n\x1b[2J#"])]);
    let dot = dot(&graph);
    assert!(dot.contains(r#"  "a\"];b&\\" [label="a\"];b&amp;\\\n1/1"];"#), "{dot}");
    assert!(dot.contains(r#""a\"];b&\\" -> "<c>\\n\\u{1b}[2J#";"#), "{dot}");
    let mermaid = mermaid(&graph);
    assert!(mermaid.contains(r##"["a#34;]#59;b#38;#92;<br/>1/1"]"##), "{mermaid}");
    assert!(
        mermaid.contains(r##"["#60;c#62;#92;n#92;u{1b}[2J#35;<br/>missing"]"##),
        "{mermaid}"
    );
}

#[test]
fn a_service_is_a_json_value() {
    let graph = Graph::new(&school());
    assert_eq!(
        value("mail", &graph.nodes["mail"]).to_string(),
        r#"{"instances":0,"missing":true,"requires":[],"service":"mail","servingInstances":0}"#
    );
    assert_eq!(value("a", &graph.nodes["a"])["requires"][0]["cycle"], true);
}
