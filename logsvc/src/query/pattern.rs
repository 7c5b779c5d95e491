//! A regular expression that messages are looked through with. Pure.
//!
//! Its parts: `forms` is what tells which messages it cannot match.

mod forms;

use homeroom::model::InvalidField;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

use self::forms::{Form, forms_of};
use crate::store::Trigrams;

/// What people type. Its automaton is bounded on its own.
const PATTERN_BYTES_MAX: usize = 1024;
/// An automaton of any sensible pattern fits, `\w{1,32}` too; many of them at once still leave memory.
const PROGRAM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A regular expression.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
    /// A text that every message has that it matches.
    pub(super) required: Option<String>,
    /// Every message that it matches is of one of these.
    forms: Vec<Form>,
}

impl Pattern {
    /// Reads a regular expression; `None` when it is empty.
    ///
    /// # Errors
    /// One that is too long, is none, or takes too much memory.
    pub(super) fn parse(field: &str, pattern: &str) -> Result<Option<Self>, InvalidField> {
        let refused = |allowed: String| Err(InvalidField::new(field, allowed));
        if pattern.len() > PATTERN_BYTES_MAX {
            return refused(format!("must be at most {PATTERN_BYTES_MAX} bytes"));
        }
        if pattern.is_empty() {
            return Ok(None);
        }
        let syntax = match regex_syntax::parse(pattern) {
            Ok(syntax) => syntax,
            Err(error) => return refused(format!("must be a regular expression: {}", reason(&error))),
        };
        let mut builder = RegexBuilder::new(pattern);
        let limited = builder.size_limit(PROGRAM_BYTES_MAX);
        match limited.build() {
            Ok(regex) => Ok(Some(Self {
                regex,
                required: required(&syntax).map(str::to_owned),
                forms: forms_of(&syntax),
            })),
            Err(_) => refused(format!(
                "must be a regular expression that takes at most {PROGRAM_BYTES_MAX} bytes of memory"
            )),
        }
    }

    /// What messages have that it matches and that have some texts, as they stand in lines: any of these.
    pub(super) fn trigrams(&self, texts: &[Vec<u8>]) -> Vec<Trigrams> {
        let forms = self.forms.iter();
        forms.map(|form| Trigrams::of(form.iter().chain(texts))).collect()
    }

    /// Whether it matches somewhere in the message.
    pub(super) fn matches(&self, message: &str) -> bool {
        self.regex.is_match(message)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Pattern {}

/// What is wrong, in one line: errors show themselves as a drawing.
fn reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => format!("{} at byte {}", error.kind(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => format!("{} at byte {}", error.kind(), error.span().start.offset),
        _ => "it is not valid".to_owned(),
    }
}

/// The longest text that is in everything that the pattern matches, as far as that is easily seen.
fn required(pattern: &Hir) -> Option<&str> {
    match pattern.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(required).max_by_key(|text| text.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pattern: &str) -> Result<Pattern, String> {
        let parsed = Pattern::parse("regex", pattern).map_err(|error| error.allowed)?;
        parsed.ok_or_else(|| "empty".to_owned())
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        let rows = [
            ("(".to_owned(), "must be a regular expression: unclosed group at byte 0"),
            (
                r"a\p{Nothing}".to_owned(),
                "must be a regular expression: Unicode property not found at byte 1",
            ),
            (
                r"\w{1000}".to_owned(),
                "must be a regular expression that takes at most 4194304 bytes of memory",
            ),
            ("x".repeat(1025), "must be at most 1024 bytes"),
            (String::new(), "empty"),
        ];
        for (pattern, allowed) in rows {
            assert_eq!(parse(&pattern).expect_err("not valid"), allowed);
        }
        assert!(parse(&"(".repeat(1024)).is_err(), "no depth ends the process");
        assert!(parse(&"x".repeat(1024)).is_ok());
        assert!(parse(r"\w{1,32}").is_ok());
    }

    #[test]
    fn what_a_pattern_requires_is_in_everything_that_it_matches() {
        let rows = [
            ("timeout", Some("timeout")),
            ("^a.*timeout=[0-9]+(ms)+$", Some("timeout=")),
            ("x{0,3}(?:abc){2}", Some("abc")),
            ("(a(needle)b)?c", Some("c")),
            ("(?i)timeout", None),
            ("timeout|refused", None),
            (r"\d+", None),
        ];
        for (pattern, expected) in rows {
            let pattern = parse(pattern).expect("valid");
            assert_eq!(pattern.required.as_deref(), expected, "{pattern:?}");
        }
    }
}
