//! What messages have that a regular expression matches, as far as that is easily seen. Pure.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::{entry::escaped, store::Trigrams};

/// How many forms are told apart: each is looked up by itself.
const FORMS_MAX: usize = 16;

/// Texts that a message has all of, in this order, as they stand in lines once [folded](Trigrams::folded).
pub(super) type Form = Vec<Vec<u8>>;

/// The forms of the messages that a pattern matches.
pub(super) fn forms_of(pattern: &Hir) -> Vec<Form> {
    forms(pattern, vec![vec![Vec::new()]])
}

/// The forms that a message has whose part up to here is of one of `forms`, and whose next part the pattern matches. The
/// last text of a form goes on with what comes next.
fn forms(pattern: &Hir, forms_before: Vec<Form>) -> Vec<Form> {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => forms_before,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => with(forms_before, &escaped(text)),
            Err(_) => cut(forms_before),
        },
        HirKind::Class(class) => match only(class) {
            Some(letter) => with(forms_before, &[letter]),
            None => cut(forms_before),
        },
        HirKind::Capture(capture) => forms(&capture.sub, forms_before),
        HirKind::Concat(parts) => parts.iter().fold(forms_before, |before, part| forms(part, before)),
        HirKind::Alternation(parts) => {
            let after = parts.iter().map(|part| forms(part, forms_before.clone()));
            let after: Vec<_> = after.flatten().take(FORMS_MAX + 1).collect();
            match after.len() > FORMS_MAX {
                true => cut(forms_before),
                false => after,
            }
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => cut(forms(&repetition.sub, forms_before)),
        HirKind::Repetition(_) => cut(forms_before),
    }
}

/// Goes on with this text.
fn with(mut forms: Vec<Form>, text: &[u8]) -> Vec<Form> {
    for last in forms.iter_mut().filter_map(|form| form.last_mut()) {
        last.extend(text.iter().map(|byte| Trigrams::folded(*byte)));
    }
    forms
}

/// Goes on with something that is not known.
fn cut(mut forms: Vec<Form>) -> Vec<Form> {
    for form in &mut forms {
        if form.last().is_some_and(|last| !last.is_empty()) {
            form.push(Vec::new());
        }
    }
    forms
}

/// The letter or digit that all of a class are folded to.
fn only(class: &Class) -> Option<u8> {
    let Class::Unicode(class) = class else { return None };
    let letters = class.iter().flat_map(|range| range.start()..=range.end());
    let mut folded = letters.map(|letter| {
        u8::try_from(letter)
            .ok()
            .filter(u8::is_ascii_alphanumeric)
            .map(Trigrams::folded)
    });
    let first = folded.next()??;
    folded.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_a_pattern_matches_is_of_a_form() {
        let rows: [(&str, &[&[&str]]); 13] = [
            ("Timeout", &[&["timeout"]]),
            ("^a.*timeout=[0-9]+(ms)+$", &[&["a", "timeout=0", "ms"]]),
            ("x{0,3}(?:abc){2}d", &[&["abc", "d"]]),
            (r"(?i)\btimeout\b 7", &[&["timeout 0"]]),
            // Other letters are the same as `k` and `s`.
            ("(?i)asks", &[&["a"]]),
            ("(timeout|refused) by", &[&["timeout by"], &["refused by"]]),
            (
                "read (of|to) (a|bc)",
                &[&["read of a"], &["read to a"], &["read of bc"], &["read to bc"]],
            ),
            ("ab(cd)?ef", &[&["ab", "ef"]]),
            ("a\"\n(?:b|)c", &[&["a\\\"\\nbc"], &["a\\\"\\nc"]]),
            (r"\d\d:\d\d", &[&[":"]]),
            ("[[:alpha:]]", &[&[]]),
            ("a(b|cc|d.*){9}e", &[&["ab", "e"], &["acc", "e"], &["ad", "e"]]),
            (
                "(aa|bb|cc|dd|ee)(aa|bb|cc|dd|ee)f",
                &[&["aa", "f"], &["bb", "f"], &["cc", "f"], &["dd", "f"], &["ee", "f"]],
            ),
        ];
        for (pattern, expected) in rows {
            let parsed = regex_syntax::parse(pattern).expect("valid");
            let texts = |form: &Form| -> Vec<String> {
                let texts = form.iter().filter(|text| !text.is_empty());
                texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
            };
            let found: Vec<_> = forms_of(&parsed).iter().map(texts).collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
