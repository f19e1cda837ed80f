//! A program that is started, watched, signalled, and never left behind.

use crate::output::{Output, tail};
use crate::watchdog::Watchdog;
use anyhow::{Context, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

pub use rustix::process::Signal;

/// How often a file is looked at while a line is awaited.
const POLL: Duration = Duration::from_millis(20);
/// How many lines of a program's output stand in an error.
const TAIL: usize = 25;

/// The program writes its id to the watchdog's pipe, which it has as its input, and only then becomes what it is to
/// be. So there is no moment in which it runs and the watchdog does not know it, and it stays our direct child.
const REGISTER_AND_BECOME: &str = r#"echo "$$" >&0 && exec "$@" </dev/null"#;

/// A running (or ended) program.
///
/// It belongs to no async runtime: it can be started in one and be waited for in another. Its output goes to
/// `NAME.out` and `NAME.err` in a folder of the caller. When it is dropped, or when this process ends in any way, it
/// is killed, and with it all that is in its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: String,
    pid: Pid,
    state: Arc<State>,
    waiter: Option<JoinHandle<()>>,
    stdout: Output,
    stderr: Output,
    detached: bool,
}

#[derive(Debug)]
struct State {
    /// `None` once the program was reaped, which is when its id may be given to another. So signals take this lock.
    running: Mutex<Option<(Child, Watchdog)>>,
    ended: watch::Sender<Option<ExitStatus>>,
}

impl State {
    fn running(&self) -> MutexGuard<'_, Option<(Child, Watchdog)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts a program with no input, in a process group of its own.
    ///
    /// Of `command` the program, its arguments, its folder, and its additions to and removals from the environment
    /// are taken; `env_clear`, redirections and hooks are not. `logs` is an existing folder. A program that cannot be
    /// executed is seen as one that ends at once with 127 or 126, with the shell's word on it in `NAME.err`.
    pub fn spawn(name: &str, command: &Command, logs: &Path) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (stdout, out) = open(logs.join(format!("{name}.out")))?;
        let (stderr, err) = open(logs.join(format!("{name}.err")))?;
        let watchdog = Watchdog::that_kills().context("cannot start sh, which guards the programs that are started")?;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", REGISTER_AND_BECOME, name])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let child = shell
            .stdin(watchdog.registration()?)
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        // The command holds a copy of the pipe's end, which must close with this process and not live on in it.
        drop(shell);
        let pid = Pid::from_child(&child);
        let state = Arc::new(State {
            running: Mutex::new(Some((child, watchdog))),
            ended: watch::Sender::new(None),
        });
        let waiter = {
            let state = Arc::clone(&state);
            std::thread::Builder::new()
                .name(format!("wait for {name}"))
                .spawn(move || reap(pid, &state))?
        };
        let name = name.to_owned();
        Ok(Self {
            name,
            program,
            pid,
            state,
            waiter: Some(waiter),
            stdout,
            stderr,
            detached: false,
        })
    }

    /// The name that it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; that of the program itself, not of a shell around it.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.state.ended.borrow()
    }

    /// Sends a signal to the program. An error if it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match *self.state.running() {
            Some(_) => Ok(kill_process(self.pid, signal)?),
            None => bail!("{} has already ended", self.name),
        }
    }

    /// Waits for the program to end by itself. An error if it takes longer than `timeout`; it then still runs.
    pub async fn wait_exit(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let mut ended = self.state.ended.subscribe();
        let status = tokio::time::timeout(timeout, ended.wait_for(Option::is_some))
            .await
            .map_err(|_| anyhow::anyhow!("{} still runs after {timeout:?}{}", self.name, self.tail()))?;
        status?.context("the wait ended before the program")
    }

    /// Kills the program, as `kill -9` does, and waits until it is gone. One that has ended already keeps its status.
    pub async fn kill_9(&self) -> anyhow::Result<ExitStatus> {
        // A program that ended in this moment is as dead as it should be.
        let _ = self.signal(Signal::KILL);
        self.wait_exit(Duration::from_secs(30)).await
    }

    /// Asks the program to end (SIGTERM), and kills it if it did not within `grace`.
    pub async fn stop(&self, grace: Duration) -> anyhow::Result<ExitStatus> {
        let _ = self.signal(Signal::TERM);
        match self.wait_exit(grace).await {
            Ok(status) => Ok(status),
            Err(_) => self.kill_9().await,
        }
    }

    /// The lines that it wrote to its standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// The lines that it wrote to its standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// The first line, of either stream, that satisfies `wanted`: one that was already written, or one that comes
    /// within `timeout`. An error, with the last lines that came, if the time is over or the program ends before.
    pub async fn wait_for_line(&self, wanted: impl Fn(&str) -> bool, timeout: Duration) -> anyhow::Result<String> {
        let mut streams = [self.stdout.clone(), self.stderr.clone()];
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            // Looked at before the files are read: what a program wrote before its end is not missed.
            let ended = self.exit_status();
            if let Some(line) = streams
                .iter_mut()
                .flat_map(Output::next_lines)
                .find(|line| wanted(line))
            {
                return Ok(line);
            }
            if let Some(status) = ended {
                bail!("{} ended ({status}) without the awaited line{}", self.name, self.tail());
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("no such line from {} within {timeout:?}{}", self.name, self.tail());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The last lines of both streams, for a message.
    pub fn tail(&self) -> String {
        format!("{}{}", tail(&self.stdout(), TAIL), tail(&self.stderr(), TAIL))
    }

    /// Lets the program run on when this process ends. Its id is written to `NAME.pid` in `state`, an existing folder,
    /// for [`stop_detached`](crate::stop_detached).
    pub fn detach(mut self, state: &Path) -> anyhow::Result<()> {
        let mut running = self.state.running();
        let Some((child, watchdog)) = running.take() else {
            bail!("{} has already ended{}", self.name, self.tail())
        };
        crate::detached::record(state, &self.name, self.id(), &self.program)?;
        watchdog.dismiss();
        drop(running);
        // Nobody reaps it any more; if it ends before this process, it is a zombie until then.
        drop(child);
        self.detached = true;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        if std::thread::panicking() {
            eprintln!("the last lines of {}:{}", self.name, self.tail());
        }
        {
            let running = self.state.running();
            if running.is_some() {
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
        }
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
    }
}

/// Waits until the program has ended, and only then, under the lock, lets its id go.
fn reap(pid: Pid, state: &State) {
    let without_reaping = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), without_reaping) {}
    let mut running = state.running();
    if let Some((mut child, watchdog)) = running.take() {
        watchdog.dismiss();
        if let Ok(status) = child.wait() {
            state.ended.send_replace(Some(status));
        }
    }
}

/// Opens a file to append to, and a reader for what is appended from now on.
fn open(path: PathBuf) -> anyhow::Result<(Output, std::fs::File)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let position = file.metadata()?.len();
    Ok((Output::from(&path, position), file))
}
