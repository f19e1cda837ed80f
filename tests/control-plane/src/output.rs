//! What a program wrote, read back from the files that it writes to.
//!
//! Files and not pipes: a program that outlives us must not die of a closed pipe, and nothing is lost when many
//! lines come while nobody reads.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file that grows by lines, read from a given place on.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    path: PathBuf,
    position: u64,
}

impl Output {
    /// The part of the file behind `position` (in bytes), which is a beginning of a line.
    pub(crate) fn from(path: &Path, position: u64) -> Self {
        Self {
            path: path.to_owned(),
            position,
        }
    }

    /// The complete lines that came since the last call. A file that does not exist yet has none.
    pub(crate) fn next_lines(&mut self) -> Vec<String> {
        let mut bytes = self.rest();
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(complete);
        self.position += complete as u64;
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    /// All that is there, the last line even if it is not complete.
    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.rest())
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Where the last complete line ends, in bytes.
    pub(crate) fn end(&self) -> u64 {
        let mut reader = self.clone();
        reader.next_lines();
        reader.position
    }

    fn rest(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What cannot be read is as good as not written: the caller waits or shows what there is.
        if let Ok(mut file) = File::open(&self.path)
            && file.seek(SeekFrom::Start(self.position)).is_ok()
        {
            let _ = file.read_to_end(&mut bytes);
        }
        bytes
    }
}

/// The last `count` of the lines, indented, to stand below a message.
pub(crate) fn tail(lines: &[String], count: usize) -> String {
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_line_is_given_once_and_only_when_it_is_complete() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut output = Output::from(file.path(), 0);
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(output.next_lines(), ["one"]);
        assert_eq!(output.lines(), ["tw"]);
        assert_eq!(output.end(), 4);
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(output.next_lines(), ["two", "three"]);
        assert!(output.next_lines().is_empty());
    }
}
