//! Open watches: each is a task that sends the lines that its client may see by now.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{State, World, conditions::holding, network::Broken};
use crate::{apiserver::Watch, plan::Cut};

/// How often a watch that has nothing to tell sends a bookmark. A real server does so about once a minute.
const BOOKMARKS: Duration = Duration::from_secs(20);

/// What the world knows of an open watch.
pub(super) struct OpenWatch {
    changed: Arc<Notify>,
    /// It hears nothing any more, and does not end either.
    deaf: bool,
    /// It is to break off like that.
    cut: Option<Cut>,
}

type Chunks = mpsc::UnboundedSender<Result<Bytes, Broken>>;

/// What is to be done with a watch next.
enum Next {
    Send(Vec<Bytes>),
    Break(Vec<Bytes>, Cut),
    Wait(Duration),
    Silence,
    End,
}

impl World {
    /// Opens a watch: what it sends comes out of the receiver.
    pub(super) fn open(&self, watch: Watch) -> mpsc::UnboundedReceiver<Result<Bytes, Broken>> {
        let (chunks, receiver) = mpsc::unbounded_channel();
        let changed = Arc::new(Notify::new());
        let number = {
            let mut state = self.lock();
            state.last_watch += 1;
            let number = state.last_watch;
            state.watches.insert(
                number,
                OpenWatch {
                    changed: changed.clone(),
                    deaf: false,
                    cut: None,
                },
            );
            number
        };
        let world = self.clone();
        tokio::spawn(async move {
            world.pump(number, watch, changed, &chunks).await;
            world.lock().watches.remove(&number);
        });
        receiver
    }

    async fn pump(&self, number: u64, mut watch: Watch, changed: Arc<Notify>, chunks: &Chunks) {
        let ends = watch.timeout().map(|timeout| Instant::now() + timeout);
        let mut bookmark_at = Instant::now() + BOOKMARKS;
        let mut round = 0;
        loop {
            round += 1;
            let next = self.lock().next_of(number, round, &mut watch, ends, &mut bookmark_at);
            match next {
                Next::Send(lines) => {
                    for line in lines {
                        if chunks.send(Ok(line)).is_err() {
                            return;
                        }
                    }
                }
                Next::Break(lines, how) => {
                    break_off(lines, how, chunks);
                    return;
                }
                Next::Wait(span) => {
                    tokio::select! {
                        biased;
                        () = chunks.closed() => return,
                        () = changed.notified() => {}
                        () = tokio::time::sleep(span) => {}
                    }
                }
                Next::Silence => return chunks.closed().await,
                Next::End => return,
            }
        }
    }
}

impl State {
    fn next_of(
        &mut self,
        number: u64,
        round: u64,
        watch: &mut Watch,
        ends: Option<Instant>,
        bookmark_at: &mut Instant,
    ) -> Next {
        let (at, now) = (self.at(), Instant::now());
        let Some(open) = self.watches.get(&number) else {
            return Next::End;
        };
        if open.deaf {
            return Next::Silence;
        }
        let lag = self.conditions.lag(at);
        let visible = self.version_at(at.saturating_sub(lag));
        if let Some(how) = open.cut {
            let lines = if how == Cut::Clean {
                Vec::new()
            } else {
                watch.next_lines(&self.cluster, visible)
            };
            return Next::Break(lines, how);
        }
        let lines = watch.next_lines(&self.cluster, visible);
        if !lines.is_empty() {
            let draw = self.draw(7, number.wrapping_mul(1_000_003).wrapping_add(round));
            let messy = holding(&self.conditions.mess, at).is_some();
            return Next::Send(in_chunks(lines, messy, draw));
        }
        if watch.has_ended() || ends.is_some_and(|ends| ends <= now) {
            return Next::End;
        }
        if *bookmark_at <= now {
            *bookmark_at = now + BOOKMARKS;
            if let Some(line) = watch.bookmark(&self.cluster, visible) {
                return Next::Send(vec![line]);
            }
        }
        let mut until = *bookmark_at;
        if let Some(ends) = ends {
            until = until.min(ends);
        }
        let mut span = until.saturating_duration_since(now);
        if !lag.is_zero() {
            span = span.min(self.until_more_is_visible(at, lag).unwrap_or(span));
        }
        Next::Wait(span.max(Duration::from_millis(1)))
    }

    /// When the next version becomes visible to a watch that lags.
    fn until_more_is_visible(&self, at: Duration, lag: Duration) -> Option<Duration> {
        let seen = at.saturating_sub(lag);
        let next = self.stored_at.partition_point(|(stored, _)| *stored <= seen);
        let (stored, _) = self.stored_at.get(next)?;
        Some((*stored + lag).saturating_sub(at))
    }

    pub(super) fn wake_watches(&self) {
        for watch in self.watches.values() {
            watch.changed.notify_one();
        }
    }

    pub(super) fn cut_watches(&mut self, how: Cut) {
        for watch in self.watches.values_mut() {
            watch.cut = Some(how);
        }
        self.wake_watches();
    }

    pub(super) fn deafen_watches(&mut self) {
        for watch in self.watches.values_mut() {
            watch.deaf = true;
        }
        self.wake_watches();
    }
}

/// Lines as a network delivers them: joined or split anywhere; in a mess, twice, and not quite in order.
fn in_chunks(mut lines: Vec<Bytes>, messy: bool, draw: u64) -> Vec<Bytes> {
    if messy && draw & 1 == 0 {
        let number = (draw >> 8) as usize % lines.len();
        let again = lines[number].clone();
        // Later, not at once: what came in between is older news then.
        lines.push(again);
    }
    if messy && draw & 2 == 0 && lines.len() > 1 {
        let number = (draw >> 16) as usize % (lines.len() - 1);
        lines.swap(number, number + 1);
    }
    if draw & 4 == 0 {
        return lines;
    }
    let whole: Vec<u8> = lines.concat();
    let cut = (draw >> 24) as usize % whole.len().max(1);
    let (head, tail) = whole.split_at(cut);
    [head, tail]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(Bytes::copy_from_slice)
        .collect()
}

fn break_off(lines: Vec<Bytes>, how: Cut, chunks: &Chunks) {
    match how {
        Cut::Clean => {}
        Cut::MidLine => {
            if let Some(line) = lines.first() {
                let _ = chunks.send(Ok(line.slice(..line.len() / 2)));
            }
        }
        Cut::Error => {
            let _ = chunks.send(Err(Broken::Reset));
        }
    }
}
