//! Paging (AIP-158): sizes within bounds, and tokens that only the list they came from accepts. Pure.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{hash::fnv1a, model::InvalidField};

/// How many items a page has when the caller does not say.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// How many items a page has at most; a larger size is taken as this one (AIP-158).
pub const PAGE_SIZE_MAX: usize = 1000;
/// A page ends after this many bytes though it has fewer items, to stay far below the 4 MiB that stock clients accept.
pub const PAGE_SIZE_BYTES_MAX: usize = 1024 * 1024;

/// Where a page starts, and how long it may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    list: String,
    /// How many items it has at most.
    pub size: usize,
    /// The cursor that the page before ended with; `None` for the first page.
    pub cursor: Option<String>,
}

impl Page {
    /// Reads the two fields of a list request. `list` names the method and the filter: a token of another one is
    /// refused.
    ///
    /// # Errors
    /// `page_size` below zero, or a `page_token` that is not of this list.
    pub fn parse(list: impl Into<String>, page_size: i32, page_token: &str) -> Result<Self, InvalidField> {
        let list = list.into();
        let size = match usize::try_from(page_size) {
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) => size.min(PAGE_SIZE_MAX),
            Err(_) => return Err(InvalidField::new("page_size", "must not be negative")),
        };
        let cursor = match page_token {
            "" => None,
            token => Some(decode(&list, token).ok_or_else(|| {
                let allowed = "must be the `next_page_token` of a page with the same filter, unchanged";
                InvalidField::new("page_token", allowed)
            })?),
        };
        Ok(Self { list, size, cursor })
    }

    /// The token that asks for what follows `cursor`; empty when nothing does.
    pub fn next_token(&self, cursor: Option<String>) -> String {
        let Some(cursor) = cursor else {
            return String::new();
        };
        URL_SAFE_NO_PAD.encode([&tag(&self.list, &cursor)[..], cursor.as_bytes()].concat())
    }

    /// Takes a page off the front of `items`: at most `size` of them and about [`PAGE_SIZE_BYTES_MAX`] bytes, but at
    /// least one. The second value tells whether more follow.
    pub fn take<T>(&self, items: impl Iterator<Item = T>, size_bytes: impl Fn(&T) -> usize) -> (Vec<T>, bool) {
        let mut page = Vec::new();
        let mut bytes = 0;
        for item in items {
            bytes += size_bytes(&item);
            if page.len() == self.size || (bytes > PAGE_SIZE_BYTES_MAX && !page.is_empty()) {
                return (page, true);
            }
            page.push(item);
        }
        (page, false)
    }
}

fn decode(list: &str, token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (tag_given, cursor) = bytes.split_at_checked(8)?;
    let cursor = String::from_utf8(cursor.to_vec()).ok()?;
    (tag_given == tag(list, &cursor)).then_some(cursor)
}

/// FNV-1a over the list and the cursor: finds mistakes. It is no protection, since a token opens nothing that the
/// caller could not list anyway.
fn tag(list: &str, cursor: &str) -> [u8; 8] {
    fnv1a(list.bytes().chain([0]).chain(cursor.bytes())).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_the_cursor_of_its_own_list_only() {
        let page = Page::parse("a", 0, "").expect("a first page");
        assert_eq!((page.size, &page.cursor), (PAGE_SIZE_DEFAULT, &None));
        let token = page.next_token(Some("x/y".to_owned()));
        assert_eq!(
            Page::parse("a", 5, &token).expect("its own token").cursor.as_deref(),
            Some("x/y")
        );
        assert_eq!(
            Page::parse("b", 5, &token).expect_err("another list").field,
            "page_token"
        );
        for bad in ["x", "!!", "AAAAAAAAAAAAAAAA"] {
            assert_eq!(Page::parse("a", 5, bad).expect_err("not a token").field, "page_token");
        }
        assert_eq!(page.next_token(None), "");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(Page::parse("a", -1, "").expect_err("negative").field, "page_size");
        assert_eq!(Page::parse("a", i32::MAX, "").expect("capped").size, PAGE_SIZE_MAX);
    }

    #[test]
    fn a_page_ends_at_its_size_or_its_bytes_but_has_an_item() {
        let page = Page::parse("a", 2, "").expect("a page");
        assert_eq!(page.take(0..2, |_| 1), (vec![0, 1], false));
        assert_eq!(page.take(0..3, |_| 1), (vec![0, 1], true));
        assert_eq!(page.take(0..3, |_| PAGE_SIZE_BYTES_MAX + 1), (vec![0], true));
        assert_eq!(page.take(0..0, |_| 1), (vec![], false));
    }
}
