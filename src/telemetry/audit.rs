//! The audit log: JSON lines, written before the call that they announce leaves.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde_json::{Map, Value};

use super::escape_controls;

/// The `message` of every line: what a log query filters by.
pub const MESSAGE: &str = "session_termination_audit";

/// Writes audit lines, whatever the format of the other logs is. Cheap to clone; clones write to the same place.
///
/// A line is one `write` and a flush, under a lock: nothing is buffered, nothing interleaves. A reader that stops
/// reading holds the writer up, and with it the call that the line announces: no call leaves without its line.
#[derive(Clone)]
pub struct AuditLog {
    sink: Arc<Mutex<Sink>>,
}

struct Sink {
    output: Box<dyn Write + Send>,
    /// The last write failed and may have left a piece of a line.
    torn: bool,
}

impl AuditLog {
    /// An audit log on that output.
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self {
            sink: Arc::new(Mutex::new(Sink { output, torn: false })),
        }
    }

    /// The audit log on standard output.
    pub fn stdout() -> Self {
        Self::new(Box::new(io::stdout()))
    }

    /// Writes one record as one line: `timestamp` (unless the record has its own), `message`, then its fields.
    ///
    /// An error means that the line is not there, or not whole: who announces a call must not make it then. The next
    /// line starts on a line of its own.
    pub fn write(&self, at: Timestamp, record: &Map<String, Value>) -> io::Result<()> {
        let line = line(at, record)?;
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Sink { output, torn } = &mut *sink;
        let start = if *torn { "\n" } else { "" };
        // A panic in the writer leaves a torn line too.
        *torn = true;
        output.write_all(format!("{start}{line}\n").as_bytes())?;
        output.flush()?;
        *torn = false;
        Ok(())
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AuditLog").finish_non_exhaustive()
    }
}

fn line(at: Timestamp, record: &Map<String, Value>) -> serde_json::Result<String> {
    const MILLISECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    let timestamp = match record.get("timestamp") {
        Some(own) => serde_json::to_string(own)?,
        None => serde_json::to_string(&MILLISECONDS.timestamp_to_string(&at))?,
    };
    let mut line = format!("{{\"timestamp\":{timestamp},\"message\":\"{MESSAGE}\"");
    for (key, value) in record {
        if key != "timestamp" && key != "message" {
            line.push(',');
            line.push_str(&serde_json::to_string(key)?);
            line.push(':');
            line.push_str(&serde_json::to_string(value)?);
        }
    }
    line.push('}');
    Ok(escape_controls(&line))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An output that can be full, and takes half of a line then.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, full) = &mut *self.0.lock().unwrap();
            if !*full {
                written.extend_from_slice(bytes);
                return Ok(bytes.len());
            }
            written.extend_from_slice(&bytes[..10]);
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Disk {
        fn fill(&self, full: bool) {
            self.0.lock().unwrap().1 = full;
        }

        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    fn record(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn at() -> Timestamp {
        "2026-11-24T07:30:00.123456Z".parse().unwrap()
    }

    #[test]
    fn a_record_is_one_line_that_a_query_finds() {
        let disk = Disk::default();
        let log = AuditLog::new(Box::new(disk.clone()));
        log.write(
            at(),
            &record(json!({"kind": "outcome", "guest_id": "g-1", "message": "mine", "error": null})),
        )
        .unwrap();
        let lines = disk.lines();
        assert_eq!(
            lines,
            [
                r#"{"timestamp":"2026-11-24T07:30:00.123Z","message":"session_termination_audit","error":null,"guest_id":"g-1","kind":"outcome"}"#
            ]
        );
        log.write(at(), &record(json!({"timestamp": "2026-01-01T00:00:00Z"})))
            .unwrap();
        assert!(
            disk.lines()[1].starts_with(r#"{"timestamp":"2026-01-01T00:00:00Z","message""#),
            "{:?}",
            disk.lines()
        );
    }

    #[test]
    fn a_value_cannot_start_a_line_or_drive_a_terminal() {
        let disk = Disk::default();
        let hostile = "x\r\n{\"message\":\"session_termination_audit\"}\u{1b}[2J\u{9b}31m\u{2028}\u{202e}";
        let fields = record(json!({"external_ref": hostile, "a\nb": 1}));
        AuditLog::new(Box::new(disk.clone())).write(at(), &fields).unwrap();
        let lines = disk.lines();
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0]
                .chars()
                .all(|character| !character.is_control() && character != '\u{202e}'),
            "{}",
            lines[0]
        );
        let read: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(read["external_ref"], hostile);
    }

    #[test]
    fn a_line_that_is_not_there_is_an_error_and_the_next_one_is_whole() {
        let disk = Disk::default();
        let log = AuditLog::new(Box::new(disk.clone()));
        disk.fill(true);
        assert!(log.write(at(), &record(json!({"kind": "attempt_started"}))).is_err());
        disk.fill(false);
        log.write(at(), &record(json!({"kind": "attempt_result"}))).unwrap();
        let lines = disk.lines();
        let whole: Vec<Value> = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        assert_eq!((lines.len(), whole.len()), (2, 1), "{lines:?}");
        assert_eq!(whole[0]["kind"], "attempt_result");
    }

    #[test]
    fn writers_do_not_interleave() {
        let disk = Disk::default();
        let log = AuditLog::new(Box::new(disk.clone()));
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let log = log.clone();
                scope.spawn(move || {
                    for number in 0..50 {
                        log.write(at(), &record(json!({"writer": writer, "number": number})))
                            .unwrap();
                    }
                });
            }
        });
        let lines = disk.lines();
        assert_eq!(lines.len(), 400);
        assert!(lines.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    }
}
