//! The operator's own logs, on standard error. Audit lines go to standard output: see [`super::audit`].
//!
//! `kubectl logs` shows both. A log line can be lost, and is counted then; an audit line cannot.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::escape_controls;

/// The filter unless told otherwise.
///
/// kube warns of what it cannot decode by printing the whole body; what it meets otherwise is logged here with more
/// context.
pub const DEFAULT_FILTER: &str = "info,kube_client=error,kube_runtime=error";

/// Lines that may wait for a slow reader.
const QUEUE: usize = 4096;

/// How long the end of the process waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(format!("unknown log format {other:?}; use json or text")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Json => "json",
            Self::Text => "text",
        })
    }
}

/// Logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("the log filter {filter:?} is not valid: {source}. Examples: info, debug,hyper=warn")]
    Filter {
        /// What was given.
        filter: String,
        /// Why it is not one.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The writer's thread did not start.
    #[error("the thread that writes the logs cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// Something else logs already.
    #[error(transparent)]
    Installed(#[from] TryInitError),
}

/// Writes the lines that still wait, for at most three seconds, when it is dropped: keep it until the end of `main`.
#[derive(Debug)]
pub struct LogGuard {
    pipe: Pipe,
}

/// Sends the logs of the whole process to standard error.
pub fn init(format: LogFormat, filter: &str, dropped: Counter) -> Result<LogGuard, LogError> {
    let pipe = Pipe::new(Box::new(io::stderr()), dropped)?;
    subscriber(format, filter, pipe.clone())?.try_init()?;
    Ok(LogGuard { pipe })
}

fn subscriber(format: LogFormat, filter: &str, pipe: Pipe) -> Result<Box<dyn Subscriber + Send + Sync>, LogError> {
    let filter = EnvFilter::try_new(filter).map_err(|source| LogError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let base = layer().with_writer(pipe).with_ansi(false);
    let lines = match format {
        LogFormat::Json => base.json().flatten_event(true).boxed(),
        LogFormat::Text => base.boxed(),
    };
    Ok(Box::new(Registry::default().with(lines.with_filter(filter))))
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.pipe.lines.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// The way of a line from whoever logs to the thread that writes: a reader that stops reading stops nobody else.
#[derive(Clone)]
struct Pipe {
    lines: SyncSender<Message>,
    dropped: Counter,
}

impl Pipe {
    fn new(output: Box<dyn Write + Send>, dropped: Counter) -> io::Result<Self> {
        let (lines, receiver) = mpsc::sync_channel(QUEUE);
        thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || drain(&receiver, output))?;
        Ok(Self { lines, dropped })
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pipe").finish_non_exhaustive()
    }
}

fn drain(lines: &Receiver<Message>, mut output: Box<dyn Write + Send>) {
    for message in lines {
        match message {
            // Where logs cannot be written there is nobody to be told.
            Message::Line(line) => {
                let _ = output.write_all(line.as_bytes());
            }
            Message::Flush(done) => {
                let _ = output.flush();
                let _ = done.try_send(());
            }
        }
    }
}

/// One event's line; `tracing-subscriber` writes an event with one call.
#[derive(Debug)]
struct Line<'pipe>(&'pipe Pipe);

impl<'pipe> MakeWriter<'pipe> for Pipe {
    type Writer = Line<'pipe>;

    fn make_writer(&'pipe self) -> Line<'pipe> {
        Line(self)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut line = escape_controls(text.strip_suffix('\n').unwrap_or(&text));
        line.push('\n');
        if self.0.lines.try_send(Message::Line(line)).is_err() {
            self.0.dropped.inc();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use rstest::rstest;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, log: impl FnOnce()) -> String {
        let output = Output::default();
        let pipe = Pipe::new(Box::new(output.clone()), Counter::default()).unwrap();
        let subscriber = subscriber(format, filter, pipe.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        drop(LogGuard { pipe });
        String::from_utf8(output.0.lock().unwrap().clone()).unwrap()
    }

    #[rstest]
    #[case(LogFormat::Json)]
    #[case(LogFormat::Text)]
    fn an_event_is_one_line_whatever_its_values_are(#[case] format: LogFormat) {
        let hostile = "x\r\nERROR forged\u{1b}[2J\u{9b}31m\u{202e}";
        let text = logged(format, "info", || {
            tracing::info!(external_ref = hostile, "hello {hostile}")
        });
        assert!(text.ends_with('\n'), "{text:?}");
        let line = text.trim_end_matches('\n');
        assert!(
            line.chars()
                .all(|character| !character.is_control() && character != '\u{202e}'),
            "{line:?}"
        );
        assert!(line.contains("forged"), "{line}");
    }

    #[test]
    fn json_lines_are_json() {
        let text = logged(LogFormat::Json, "info", || {
            tracing::warn!(object = "care/a", "a message")
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["object"]),
            (&"WARN".into(), &"a message".into(), &"care/a".into())
        );
    }

    #[test]
    fn the_filter_filters_and_a_broken_one_says_so() {
        let text = logged(LogFormat::Text, "warn", || {
            tracing::info!("quiet");
            tracing::warn!("loud");
        });
        assert!(text.contains("loud") && !text.contains("quiet"), "{text}");
        let pipe = Pipe::new(Box::new(io::sink()), Counter::default()).unwrap();
        let error = subscriber(LogFormat::Text, "a=b=c", pipe).err().unwrap();
        assert!(error.to_string().contains("a=b=c"), "{error}");
        assert!(EnvFilter::try_new(DEFAULT_FILTER).is_ok());
    }

    /// Blocks until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<bool>, Condvar)>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (open, changed) = &*self.0;
            let _open = changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_nothing_else() {
        let (gate, dropped) = (Gate::default(), Counter::default());
        let pipe = Pipe::new(Box::new(gate.clone()), dropped.clone()).unwrap();
        let lines = QUEUE + 100;
        for _ in 0..lines {
            pipe.make_writer().write_all(b"line\n").unwrap();
        }
        // One line may be with the thread that writes.
        assert!((99..=100).contains(&dropped.get()), "{}", dropped.get());
        *gate.0.0.lock().unwrap() = true;
        gate.0.1.notify_all();
    }

    #[test]
    fn formats_are_read_as_they_are_shown() {
        for format in [LogFormat::Json, LogFormat::Text] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("yaml".parse::<LogFormat>().unwrap_err().contains("json or text"));
    }
}
