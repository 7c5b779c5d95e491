//! What was measured, against what it is to reach.

use std::fmt::{self, Display};

use serde::Serialize;

/// What a row must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// At least so many times as much as etcd.
    TimesEtcd(f64),
    /// At least so many times as much as the bare server.
    TimesBare(f64),
    /// At most so many times as much as the bare server.
    WithinBare(f64),
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
    /// etcd's figure.
    pub etcd: Option<f64>,
    /// The bare server's.
    pub bare: Option<f64>,
    /// The registry's.
    pub homeroom: f64,
    /// What the registry's is to reach.
    pub bars: Vec<Bar>,
    /// What else is to be known of it.
    pub notes: Vec<String>,
}

impl Line {
    fn ratio_to(&self, other: Option<f64>) -> Option<f64> {
        other.filter(|other| *other > 0.0).map(|other| self.homeroom / other)
    }

    /// Whether a bar is reached; `None` when its peer was not measured.
    fn reaches(&self, bar: Bar) -> Option<bool> {
        match bar {
            Bar::TimesEtcd(times) => self.ratio_to(self.etcd).map(|ratio| ratio >= times),
            Bar::TimesBare(times) => self.ratio_to(self.bare).map(|ratio| ratio >= times),
            Bar::WithinBare(times) => self.ratio_to(self.bare).map(|ratio| ratio <= times),
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

    fn cells(&self) -> [String; 7] {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        let ratios = [(self.etcd, "etcd"), (self.bare, "bare")];
        let ratios = ratios.iter().filter_map(|(other, name)| {
            let ratio = self.ratio_to(*other)?;
            Some(format!("{} x {name}", number(ratio)))
        });
        let bars: Vec<_> = self.bars.iter().map(|bar| bar.text(self.unit)).collect();
        let reached = match self.reached() {
            Some(true) => "yes",
            Some(false) => "NO",
            None if self.bars.is_empty() => "-",
            None => "not known",
        };
        [
            format!("{}, {}", self.what, self.unit),
            figure(self.etcd),
            figure(self.bare),
            number(self.homeroom),
            ratios.collect::<Vec<_>>().join(", "),
            bars.join(", "),
            reached.to_owned(),
        ]
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [what, etcd, bare, homeroom, _, bars, reached] = self.cells();
        write!(
            f,
            "{what}: etcd {etcd}, bare {bare}, homeroom {homeroom}; {bars}: {reached}"
        )
    }
}

impl Bar {
    fn text(self, unit: &str) -> String {
        match self {
            Self::TimesEtcd(times) => format!(">= {} x etcd", number(times)),
            Self::TimesBare(times) => format!(">= {} x bare", number(times)),
            Self::WithinBare(times) => format!("<= {} x bare", number(times)),
            Self::AtMost(max) => format!("<= {} {unit}", number(max)),
            Self::AtLeast(min) => format!(">= {} {unit}", number(min)),
            Self::Missing(what) => what.to_owned(),
        }
    }
}

/// Three digits that count: 71,234, 86.3, 0.712.
fn number(value: f64) -> String {
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

const HEADINGS: [&str; 7] = ["row", "etcd", "bare tonic", "homeroom", "ratio", "bar", "reached"];

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = HEADINGS.map(str::to_owned);
        let rule = HEADINGS.map(|_| "---".to_owned());
        let lines = [headings, rule].into_iter().chain(self.0.iter().map(Line::cells));
        let lines: Vec<_> = lines.collect();
        let width = |column: usize| lines.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
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
    etcd: Option<f64>,
    bare_tonic: Option<f64>,
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
            etcd: line.etcd,
            bare_tonic: line.bare,
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
            etcd,
            bare: Some(100.0),
            homeroom,
            bars: bars.to_vec(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_line_reaches_its_bars_only_together() {
        let bars = [Bar::TimesEtcd(6.0), Bar::TimesBare(0.6), Bar::AtMost(70.0)];
        assert_eq!(line(Some(10.0), 60.0, &bars).reached(), Some(true));
        assert_eq!(line(Some(10.0), 59.0, &bars).reached(), Some(false));
        assert_eq!(line(Some(10.0), 71.0, &bars).reached(), Some(false));
        assert_eq!(line(Some(1.0), 110.0, &[Bar::WithinBare(1.1)]).reached(), Some(true));
        assert_eq!(line(Some(1.0), 111.0, &[Bar::WithinBare(1.1)]).reached(), Some(false));
        assert_eq!(line(None, 5.0, &[Bar::AtLeast(5.0)]).reached(), Some(true));
        let missing = [Bar::AtLeast(5.0), Bar::Missing("synced")];
        assert_eq!(line(None, 5.0, &missing).reached(), Some(false));
    }

    #[test]
    fn a_bar_whose_peer_was_not_measured_is_not_reached() {
        assert_eq!(line(None, 60.0, &[Bar::TimesEtcd(6.0)]).reached(), None);
        assert_eq!(
            line(None, 60.0, &[Bar::TimesEtcd(6.0), Bar::AtMost(1.0)]).reached(),
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
        let table = Table(vec![line(Some(10.0), 60.0, &[Bar::TimesEtcd(6.0)])]).to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[2],
            "| calls, /s | 10   | 100        | 60       | 6 x etcd, 0.6 x bare | >= 6 x etcd | yes     |"
        );
    }
}
