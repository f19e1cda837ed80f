//! Who watches whom: the parts of a running operator as named tasks, none of which may end by itself.
//!
//! A task that nobody waits for dies in silence: its panic is caught by the runtime, and the rest goes on without it. So
//! every long-lived task is one of a [`Supervisor`]'s, and the first that ends takes the process down with a reason that
//! names it. A restart finds everything in the statuses.

use std::{fmt, panic::AssertUnwindSafe};

use futures::FutureExt;
use tokio::task::{JoinError, JoinSet};

/// The named tasks of a process. Dropping it aborts them all.
#[derive(Debug, Default)]
pub struct Supervisor {
    running: JoinSet<Ended>,
    draining: JoinSet<Ended>,
}

/// A part of the operator ended though nobody asked it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{task} ended: {how}. The operator cannot go on without it and exits, so that it is started anew")]
pub struct Ended {
    task: &'static str,
    how: How,
}

/// How a task ended. Never what a panic says: it may quote whatever the program had at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It came to its end.
    Returned,
    /// It met a bug.
    Panicked,
    /// The runtime cut it off.
    Cancelled,
}

impl fmt::Display for How {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Returned => "it returned",
            Self::Panicked => "it panicked, at the place that the log line before this one names",
            Self::Cancelled => "it was cancelled",
        })
    }
}

impl Ended {
    /// The end of that task.
    pub fn new(task: &'static str, how: How) -> Self {
        Self { task, how }
    }

    /// The task's name.
    pub fn task(&self) -> &'static str {
        self.task
    }
}

impl Supervisor {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that goes on until the process ends, also while the others drain.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(named(name, task));
    }

    /// Starts a task that hears of the stop by itself, brings its work to an end then, and returns: what
    /// [`Supervisor::drain`] waits for. Before the stop it may not return either.
    pub fn spawn_draining(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.draining.spawn(named(name, task));
    }

    /// Completes when a task has ended; without any task, never. Cancel safe.
    pub async fn first_end(&mut self) -> Ended {
        tokio::select! {
            biased;
            Some(ended) = self.running.join_next() => flatten(ended),
            Some(ended) = self.draining.join_next() => flatten(ended),
            else => std::future::pending().await,
        }
    }

    /// The operator was asked to stop: waits until every task that drains has returned.
    ///
    /// # Errors
    /// The first task that met a bug meanwhile. The others still come to their end.
    pub async fn drain(&mut self) -> Result<(), Ended> {
        let mut failed = None;
        while let Some(ended) = self.draining.join_next().await {
            let ended = flatten(ended);
            if ended.how != How::Returned {
                failed.get_or_insert(ended);
            }
        }
        failed = failed.or_else(|| self.running.try_join_next().map(flatten));
        failed.map_or(Ok(()), Err)
    }
}

async fn named(task: &'static str, future: impl Future<Output = ()>) -> Ended {
    let how = match AssertUnwindSafe(future).catch_unwind().await {
        Ok(()) => How::Returned,
        Err(_) => How::Panicked,
    };
    Ended { task, how }
}

fn flatten(ended: Result<Ended, JoinError>) -> Ended {
    // Nothing here aborts a single task, and a panic is caught inside of it: only the end of the runtime is left.
    ended.unwrap_or(Ended::new("a task", How::Cancelled))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;

    async fn forever() {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_that_returns_is_named() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn("the watch", forever());
        supervisor.spawn_draining("the dispatcher", async {});
        let ended = supervisor.first_end().await;
        assert_eq!(ended, Ended::new("the dispatcher", How::Returned));
        assert!(
            ended.to_string().starts_with("the dispatcher ended: it returned."),
            "{ended}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_that_panics_is_named_and_not_quoted() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn_draining("the dispatcher", forever());
        supervisor.spawn("the watch", async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            panic!("canary");
        });
        let ended = supervisor.first_end().await;
        assert_eq!((ended.task(), ended.how), ("the watch", How::Panicked));
        assert!(!format!("{ended} {ended:?}").contains("canary"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_tasks_none_ends() {
        let mut supervisor = Supervisor::new();
        let waited = tokio::time::timeout(Duration::from_secs(3600), supervisor.first_end()).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_those_that_drain_and_for_nobody_else() {
        let stopping = CancellationToken::new();
        let mut supervisor = Supervisor::new();
        supervisor.spawn("the watch", forever());
        let token = stopping.clone();
        supervisor.spawn_draining("the dispatcher", async move {
            token.cancelled().await;
            tokio::time::sleep(Duration::from_secs(7)).await;
        });
        stopping.cancel();
        let began = tokio::time::Instant::now();
        assert_eq!(supervisor.drain().await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bug_while_draining_is_told_and_holds_up_nobody() {
        let mut supervisor = Supervisor::new();
        let done = CancellationToken::new();
        let others = done.clone();
        supervisor.spawn_draining("the keeper", async { panic!("canary") });
        supervisor.spawn_draining("the dispatcher", async move {
            tokio::time::sleep(Duration::from_secs(7)).await;
            others.cancel();
        });
        assert_eq!(supervisor.drain().await, Err(Ended::new("the keeper", How::Panicked)));
        assert!(done.is_cancelled());
        supervisor.spawn("the watch", async { panic!("canary") });
        tokio::task::yield_now().await;
        assert_eq!(supervisor.drain().await, Err(Ended::new("the watch", How::Panicked)));
    }
}
