//! Text that came from somewhere else, made fit for a condition, an Event or an error.

/// `text` without control characters, at most `max` bytes, cut on a character's boundary.
///
/// A text that was cut ends in `…`, which counts.
pub(super) fn clean(text: &str, max: usize) -> String {
    const CUT: char = '…';
    let cleaned: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let cleaned = cleaned.trim();
    if cleaned.len() <= max {
        return cleaned.to_owned();
    }
    let mut end = max.saturating_sub(CUT.len_utf8());
    while !cleaned.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut = cleaned[..end].to_owned();
    if max >= CUT.len_utf8() {
        cut.push(CUT);
    }
    cut
}

/// Whether an object of this name can exist: a DNS subdomain (RFC 1123), as the API server demands.
///
/// Names from a spec end up in a URL's path, so a name that is none must never get there.
pub(crate) fn is_object_name(name: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.bytes().all(|byte| edge(&byte) || byte == b'-' || byte == b'.')
        && name.as_bytes().first().is_some_and(edge)
        && name.as_bytes().last().is_some_and(edge)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_on_a_boundary_and_says_so() {
        let text = "ä".repeat(600);
        let cut = clean(&text, 1024);
        assert!(cut.len() <= 1024 && cut.len() > 1018, "{}", cut.len());
        assert!(cut.ends_with("ä…"));
        assert_eq!(clean("short", 1024), "short");
        assert_eq!(clean("ää", 2), "");
    }

    #[test]
    fn control_characters_do_not_survive() {
        assert_eq!(clean("a\r\nb\u{1b}[31mc\u{9b}d\n", 100), "a  b [31mc d");
    }

    #[test]
    fn names_that_would_leave_their_place_in_a_path_are_none() {
        for bad in [
            "", ".", "..", "a/b", "a?b", "a#b", "A", "-a", "a-", "a..b", "a%2fb", "ä", "a b",
        ] {
            assert!(!is_object_name(bad), "{bad}");
        }
        assert!(!is_object_name(&"a".repeat(254)));
        for good in ["a", "prod-eu", "prod.eu-1", "0"] {
            assert!(is_object_name(good), "{good}");
        }
    }
}
