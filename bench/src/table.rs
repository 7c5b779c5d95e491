//! What was measured, against what it is to reach.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use serde::Serialize;

/// The name of etcd in a table.
pub(crate) const ETCD: &str = "etcd";
/// The name of the bare server in a table.
pub(crate) const BARE: &str = "bare tonic";

/// What a row must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// At least so many times as much as this peer.
    Times(&'static str, f64),
    /// At most so many times as much as this peer.
    Within(&'static str, f64),
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Something that the figure is worth nothing without, and that was found missing.
    Missing(&'static str),
}

/// One line of the table: a medium figure of each peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What is measured.
    pub what: String,
    /// The unit of the figures.
    pub unit: &'static str,
    /// The figures of those it is compared with, by their names; `None` for one that was not measured.
    pub peers: Vec<(&'static str, Option<f64>)>,
    /// Ours.
    pub homeroom: f64,
    /// What ours is to reach.
    pub bars: Vec<Bar>,
    /// What else is to be known of it.
    pub notes: Vec<String>,
}

impl Line {
    fn figure_of(&self, peer: &str) -> Option<f64> {
        self.peers
            .iter()
            .find_map(|(name, figure)| figure.filter(|_| *name == peer))
    }

    fn ratio_to(&self, peer: &str) -> Option<f64> {
        let other = self.figure_of(peer).filter(|other| *other > 0.0);
        other.map(|other| self.homeroom / other)
    }

    /// Whether a bar is reached; `None` when its peer was not measured.
    fn reaches(&self, bar: Bar) -> Option<bool> {
        match bar {
            Bar::Times(peer, times) => self.ratio_to(peer).map(|ratio| ratio >= times),
            Bar::Within(peer, times) => self.ratio_to(peer).map(|ratio| ratio <= times),
            Bar::AtMost(max) => Some(self.homeroom <= max),
            Bar::AtLeast(min) => Some(self.homeroom >= min),
            Bar::Missing(_) => Some(false),
        }
    }

    /// Whether all bars are reached; `None` when that is not known.
    pub fn reached(&self) -> Option<bool> {
        let bars: Vec<_> = self.bars.iter().map(|bar| self.reaches(*bar)).collect();
        if bars.contains(&Some(false)) {
            return Some(false);
        }
        (!bars.is_empty() && !bars.contains(&None)).then_some(true)
    }

    /// One cell for each heading; `peers` are the columns in the middle.
    fn cells(&self, peers: &[&'static str]) -> Vec<String> {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        let ratios = peers.iter().filter_map(|peer| {
            let ratio = self.ratio_to(peer)?;
            Some(format!("{} x {peer}", number(ratio)))
        });
        let bars: Vec<_> = self.bars.iter().map(|bar| bar.text(self.unit)).collect();
        let reached = match self.reached() {
            Some(true) => "yes",
            Some(false) => "NO",
            None if self.bars.is_empty() => "-",
            None => "not known",
        };
        let first = [format!("{}, {}", self.what, self.unit)];
        let last = [
            number(self.homeroom),
            ratios.collect::<Vec<_>>().join(", "),
            bars.join(", "),
            reached.to_owned(),
        ];
        let figures = peers.iter().map(|peer| figure(self.figure_of(peer)));
        first.into_iter().chain(figures).chain(last).collect()
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.what)?;
        for (peer, figure) in &self.peers {
            let figure = figure.map_or_else(|| "-".to_owned(), number);
            write!(f, " {peer} {figure},")?;
        }
        let cells = self.cells(&[]);
        let [_, homeroom, _, bars, reached] = cells.as_slice() else {
            return Err(fmt::Error);
        };
        write!(f, " homeroom {homeroom}; {bars}: {reached}")
    }
}

impl Bar {
    fn text(self, unit: &str) -> String {
        match self {
            Self::Times(peer, times) => format!(">= {} x {peer}", number(times)),
            Self::Within(peer, times) => format!("<= {} x {peer}", number(times)),
            Self::AtMost(max) => format!("<= {} {unit}", number(max)),
            Self::AtLeast(min) => format!(">= {} {unit}", number(min)),
            Self::Missing(what) => what.to_owned(),
        }
    }
}

/// Three digits that count: 71,234, 86.3, 0.712.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() {
        grouped
    } else {
        format!("{grouped}.{fraction}")
    }
}

/// The lines, as a Markdown table that is readable as it is.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Table(pub Vec<Line>);

impl Table {
    /// Everybody that a line is compared with, in the order in which they are named first.
    fn peers(&self) -> Vec<&'static str> {
        let mut peers = Vec::new();
        for (peer, _) in self.0.iter().flat_map(|line| &line.peers) {
            if !peers.contains(peer) {
                peers.push(*peer);
            }
        }
        peers
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = self.peers();
        let [before, after] = [&["row"][..], &["homeroom", "ratio", "bar", "reached"]];
        let headings = before
            .iter()
            .chain(&peers)
            .chain(after)
            .map(|&heading| heading.to_owned());
        let headings: Vec<_> = headings.collect();
        let rule = vec!["---".to_owned(); headings.len()];
        let lines = [headings, rule].into_iter();
        let lines: Vec<_> = lines.chain(self.0.iter().map(|line| line.cells(&peers))).collect();
        let width = |column: usize| lines.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
        for cells in &lines {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "| {} |", padded.collect::<Vec<_>>().join(" | "))?;
        }
        for line in &self.0 {
            for note in &line.notes {
                writeln!(f, "* {}: {note}", line.what)?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct JsonLine<'l> {
    row: &'l str,
    unit: &'l str,
    peers: BTreeMap<&'static str, Option<f64>>,
    homeroom: f64,
    bars: Vec<String>,
    reached: Option<bool>,
    notes: &'l [String],
}

impl Table {
    /// The lines for other programs.
    ///
    /// # Errors
    /// Never, as long as figures are numbers.
    pub fn json(&self) -> serde_json::Result<String> {
        let lines = self.0.iter().map(|line| JsonLine {
            row: &line.what,
            unit: line.unit,
            peers: line.peers.iter().copied().collect(),
            homeroom: line.homeroom,
            bars: line.bars.iter().map(|bar| bar.text(line.unit)).collect(),
            reached: line.reached(),
            notes: &line.notes,
        });
        serde_json::to_string_pretty(&lines.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(etcd: Option<f64>, homeroom: f64, bars: &[Bar]) -> Line {
        Line {
            what: "calls".to_owned(),
            unit: "/s",
            peers: vec![(ETCD, etcd), (BARE, Some(100.0))],
            homeroom,
            bars: bars.to_vec(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_line_reaches_its_bars_only_together() {
        let bars = [Bar::Times(ETCD, 6.0), Bar::Times(BARE, 0.6), Bar::AtMost(70.0)];
        assert_eq!(line(Some(10.0), 60.0, &bars).reached(), Some(true));
        assert_eq!(line(Some(10.0), 59.0, &bars).reached(), Some(false));
        assert_eq!(line(Some(10.0), 71.0, &bars).reached(), Some(false));
        assert_eq!(line(Some(1.0), 110.0, &[Bar::Within(BARE, 1.1)]).reached(), Some(true));
        assert_eq!(line(Some(1.0), 111.0, &[Bar::Within(BARE, 1.1)]).reached(), Some(false));
        assert_eq!(line(None, 5.0, &[Bar::AtLeast(5.0)]).reached(), Some(true));
        let missing = [Bar::AtLeast(5.0), Bar::Missing("synced")];
        assert_eq!(line(None, 5.0, &missing).reached(), Some(false));
    }

    #[test]
    fn a_bar_whose_peer_was_not_measured_is_not_reached() {
        assert_eq!(line(None, 60.0, &[Bar::Times(ETCD, 6.0)]).reached(), None);
        assert_eq!(
            line(None, 60.0, &[Bar::Times(ETCD, 6.0), Bar::AtMost(1.0)]).reached(),
            Some(false)
        );
        assert_eq!(line(None, 60.0, &[]).reached(), None);
    }

    #[test]
    fn figures_have_three_digits_that_count() {
        let texts = [71_234.4, 1_000_000.0, 86.31, 0.7125, 6.0, 0.0].map(number);
        assert_eq!(texts, ["71,234", "1,000,000", "86.3", "0.713", "6", "0"]);
    }

    #[test]
    fn the_table_is_markdown() {
        let table = Table(vec![line(Some(10.0), 60.0, &[Bar::Times(ETCD, 6.0)])]).to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[2],
            "| calls, /s | 10   | 100        | 60       | 6 x etcd, 0.6 x bare tonic | >= 6 x etcd | yes     |"
        );
    }
}
