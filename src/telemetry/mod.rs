//! What the operator tells about itself: logs, audit lines, metrics, health.

pub mod audit;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod panics;
mod staleness;
mod streak;

pub use staleness::{LastHeard, WatchPulse};
pub use streak::Streak;

/// `text` with every control character, and every character that reorders or breaks lines, as a JSON escape.
///
/// A value that somebody else chose must not be able to start a line of its own or to drive a terminal. JSON escapes
/// only U+0000 to U+001F; in JSON text, all of these can stand only inside strings, so the result means the same.
fn escape_controls(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let code = u32::from(character);
        let reorders = matches!(code, 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069);
        if character.is_control() || reorders {
            // Writing to a String cannot fail. All of these are below U+10000: one escape each.
            let _ = write!(escaped, "\\u{code:04x}");
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_or_a_line_is_escaped() {
        assert_eq!(
            escape_controls("a\nb\u{1b}[31m\u{9b}c\u{202e}d\u{2028}e\u{7f}ä🙂"),
            "a\\u000ab\\u001b[31m\\u009bc\\u202ed\\u2028e\\u007fä🙂"
        );
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = serde_json::json!({"externalRef": "x\u{9b}31m\u{202e}\n\u{7f}ä"});
        let escaped = escape_controls(&value.to_string());
        assert!(escaped.chars().all(|character| !character.is_control()));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }
}
