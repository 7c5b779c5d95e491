//! Writes what was found: as a table, or as JSON by protobuf's own mapping. Nothing in it can steer a terminal.

use std::io::{self, IsTerminal, Write};

use homeroom::{proto, text::printable};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, prost::Message};

use crate::args::Format;

/// Standard output in one format.
pub struct Output {
    json: bool,
    colour: bool,
    descriptors: DescriptorPool,
}

/// How a cell stands out on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// As everything.
    Plain,
    /// As it should be.
    Good,
    /// Wants a look.
    Doubtful,
    /// Is not as it should be.
    Bad,
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Colour,
}

impl Cell {
    /// A cell that stands out.
    pub fn coloured(text: impl AsRef<str>, colour: Colour) -> Self {
        Self {
            text: printable(text.as_ref()),
            colour,
        }
    }

    /// A line with this cell between two texts.
    #[must_use]
    pub fn within(self, before: &str, after: &str) -> Line {
        let parts = [Cell::from(before), self, Cell::from(after)];
        Line(parts.into_iter().filter(|part| !part.text.is_empty()).collect())
    }

    fn padded(&self, width: usize, colour: bool) -> String {
        let text = format!("{:width$}", self.text);
        match self.colour {
            _ if !colour => text,
            Colour::Plain => text,
            Colour::Good => format!("\x1b[32m{text}\x1b[0m"),
            Colour::Doubtful => format!("\x1b[33m{text}\x1b[0m"),
            Colour::Bad => format!("\x1b[31m{text}\x1b[0m"),
        }
    }
}

/// Cells side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(Vec<Cell>);

impl From<Cell> for Line {
    fn from(cell: Cell) -> Self {
        Self(vec![cell])
    }
}

impl From<Vec<Cell>> for Line {
    fn from(cells: Vec<Cell>) -> Self {
        Self(cells)
    }
}

impl Line {
    /// The same line further to the right.
    pub(crate) fn indented(mut self, by: &str) -> Self {
        if let Some(first) = self.0.first_mut() {
            first.text.insert_str(0, by);
        }
        self
    }

    /// What is written for it.
    pub(crate) fn text(&self, colour: bool) -> String {
        let cells: Vec<_> = self.0.iter().map(|cell| cell.padded(0, colour)).collect();
        cells.join("  ") + "\n"
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::coloured(text, Colour::Plain)
    }
}

impl Output {
    /// Standard output; coloured on a terminal unless NO_COLOR is set.
    ///
    /// # Panics
    /// Never: the descriptors are our own.
    pub fn new(format: Format) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json: format == Format::Json,
            colour: io::stdout().is_terminal() && !no_colour,
            descriptors: DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).expect("our own descriptors are sound"),
        }
    }

    /// Writes a list: a table with a head, or a JSON value a line. `full_name` is the message's name with its package.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn list<M: Message, const N: usize>(
        &self,
        full_name: &str,
        items: &[M],
        head: [&str; N],
        row: impl Fn(&M) -> [Cell; N],
    ) -> io::Result<()> {
        if self.json {
            let lines: String = items.iter().map(|item| self.json(full_name, item) + "\n").collect();
            return self.write(&lines);
        }
        self.write(&table(head, &items.iter().map(row).collect::<Vec<_>>(), self.colour))
    }

    /// Writes one message: as lines of text, or as JSON.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn item<M: Message>(&self, full_name: &str, item: &M, lines: impl FnOnce(&M) -> Vec<Line>) -> io::Result<()> {
        if self.json {
            return self.write(&(self.json(full_name, item) + "\n"));
        }
        self.lines(&lines(item))
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes lines of text.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn lines(&self, lines: &[Line]) -> io::Result<()> {
        self.write(&lines.iter().map(|line| line.text(self.colour)).collect::<String>())
    }

    /// Writes a JSON value as a line.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn value(&self, value: &serde_json::Value) -> io::Result<()> {
        self.write(&(escaped(&value.to_string()) + "\n"))
    }

    /// A message as JSON by protobuf's mapping.
    ///
    /// # Panics
    /// When it is no message of ours.
    pub fn to_value<M: Message>(&self, full_name: &str, item: &M) -> serde_json::Value {
        serde_json::to_value(self.dynamic(full_name, item)).expect("a message has a JSON form")
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    fn json<M: Message>(&self, full_name: &str, item: &M) -> String {
        escaped(&serde_json::to_string(&self.dynamic(full_name, item)).expect("a message has a JSON form"))
    }

    fn dynamic<M: Message>(&self, full_name: &str, item: &M) -> DynamicMessage {
        let descriptor = self
            .descriptors
            .get_message_by_name(full_name)
            .expect("a message of our own");
        let message = DynamicMessage::decode(descriptor, item.encode_to_vec().as_slice());
        let message = message.expect("a message decodes as itself");
        debug_assert_eq!(message.descriptor().full_name(), full_name);
        message
    }
}

/// JSON escapes what is below a space; the rest that a terminal would obey is escaped here.
fn escaped(json: &str) -> String {
    json.chars()
        .fold(String::with_capacity(json.len()), |mut out, character| {
            if homeroom::text::is_disturbing(character) {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units);
                out.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            } else {
                out.push(character);
            }
            out
        })
}

/// Columns as wide as their widest cell, two spaces apart, nothing at the end of a line.
fn table<const N: usize>(head: [&str; N], rows: &[[Cell; N]], colour: bool) -> String {
    let head = head.map(Cell::from);
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| all().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[Cell; N]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(|(n, (cell, width))| cell.padded(if n + 1 == N { 0 } else { width }, colour));
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use homeroom::proto::registry::v1::InstanceKey;

    use super::*;

    fn rows() -> Vec<[Cell; 2]> {
        vec![
            ["a\x1b[2J".into(), Cell::coloured("up", Colour::Good)],
            ["longer".into(), "down".into()],
        ]
    }

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let plain = table(["NAME", "STATE"], &rows(), false);
        assert_eq!(plain, "NAME        STATE\na\\u{1b}[2J  up\nlonger      down\n");
        let coloured = table(["NAME", "STATE"], &rows(), true);
        assert!(coloured.contains("\x1b[32mup\x1b[0m"));
    }

    #[test]
    fn json_is_the_mapping_of_protobuf_with_nothing_to_steer_a_terminal() {
        let output = Output::new(Format::Json);
        let key = InstanceKey {
            service: "s".to_owned(),
            id: "\u{9b}\u{202e}\n".to_owned(),
        };
        let json = output.json("homeroom.registry.v1.InstanceKey", &key);
        assert_eq!(json, r#"{"service":"s","id":"\u009b\u202e\n"}"#);
    }
}
