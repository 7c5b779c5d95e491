//! Text from strangers, made safe to show.

/// The text with every character escaped that a terminal would obey or hide: control characters (C0, DEL, C1), line
/// and paragraph separators, and the marks that turn the writing direction.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_disturbing(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// Whether a character would be obeyed or hidden rather than shown.
pub fn is_disturbing(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_the_rest_is_kept() {
        assert_eq!(printable("grün → ok"), "grün → ok");
        assert_eq!(
            printable("a\nb\x1b[2J\u{9b}\u{202e}"),
            "a\\nb\\u{1b}[2J\\u{9b}\\u{202e}"
        );
    }
}
