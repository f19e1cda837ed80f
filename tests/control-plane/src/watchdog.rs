//! What ends our programs when we are no longer there to do it.
//!
//! A watchdog is a small `sh` that holds the reading end of a pipe. The writing end closes with this process,
//! however it ends: normally, by a panic, by SIGKILL. (`PR_SET_PDEATHSIG` would not do: it fires when the *thread*
//! that spawned ends, and test threads end all the time.)

use std::io::{PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Reads the id of the program, which the program itself writes before it begins; then waits for a second line.
/// A line means that all is well; the end of input means that we are gone.
const KILL: &str = r#"read -r pid || exit 0
read -r _ || kill -s KILL -- "-$pid""#;

/// Makes the folder itself, so that there is no moment in which it exists and no watchdog does. Programs that are being
/// killed may still write, so the removal is repeated for a while. (We may be gone before we read the word `made`.)
const KEEP_AND_REMOVE: &str = r#"trap '' PIPE
mkdir -m 700 -- "$1" || exit 1
echo made
read -r _ && exit 0
tries=0
while [ "$tries" -lt 100 ]; do
  rm -rf -- "$1" 2>/dev/null && exit 0
  tries=$((tries + 1))
  sleep 0.1
done"#;

/// A process that acts when this one ends, unless it is dismissed before.
#[derive(Debug)]
pub(crate) struct Watchdog {
    guard: Child,
    pipe: PipeWriter,
}

impl Watchdog {
    /// Kills the process group whose id is the first line written to [`Watchdog::registration`].
    pub(crate) fn that_kills() -> std::io::Result<Self> {
        Self::start(KILL, None)
    }

    /// Makes a folder, and removes it and all that is in it. `None` if the folder cannot be made, as when it exists.
    pub(crate) fn of_new_folder(folder: &Path) -> std::io::Result<Option<Self>> {
        let mut watchdog = Self::start(KEEP_AND_REMOVE, Some(folder))?;
        // The only line comes in one piece, or the end comes.
        let made = match watchdog.guard.stdout.take() {
            Some(mut stdout) => stdout.read(&mut [0; 8])? > 0,
            None => false,
        };
        if !made {
            watchdog.guard.wait()?;
            return Ok(None);
        }
        Ok(Some(watchdog))
    }

    fn start(script: &str, argument: Option<&Path>) -> std::io::Result<Self> {
        let (reader, pipe) = std::io::pipe()?;
        let guard = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg("watchdog")
            .args(argument)
            .stdin(reader)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A folder of its own choice would be held, and Ctrl-C must reach us but not the watchdog.
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok(Self { guard, pipe })
    }

    /// The writing end, for a program to write its id to.
    pub(crate) fn registration(&self) -> std::io::Result<Stdio> {
        self.pipe.try_clone().map(Stdio::from)
    }

    /// Ends the watchdog without letting it act.
    pub(crate) fn dismiss(mut self) {
        // It cannot fail in a way that matters: a watchdog that does not read any more has already ended.
        let _ = self.pipe.write_all(b"done\n");
        drop(self.pipe);
        let _ = self.guard.wait();
    }
}
