//! Processes of the operator: each start is one, over the same composition as `main`.

use std::{
    io::{self, Write},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use futures::FutureExt;
use guest_termination_operator::{
    app::{self, Seams, Telemetry},
    clock::SharedClock,
    controller::settings::{Election, Leadership, Settings},
    leadership::spans::Spans,
    telemetry::{audit::AuditLog, health::Health, metrics::Metrics},
};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::{NAMESPACE, State, World};
use crate::{
    clock::{MachineClock, ProcessClock},
    history::{Process, What},
    plan::{Plan, Replicas},
};

/// How long it takes until a process that ended by itself is started again.
const KUBELET: Duration = Duration::from_secs(1);

/// Where one replica runs.
pub(super) struct Machine {
    /// Milliseconds by which its wall clock is ahead.
    pub(super) ahead: Arc<AtomicI64>,
    running: Option<Running>,
}

struct Running {
    process: Process,
    clock: Arc<MachineClock>,
    stopping: CancellationToken,
    task: AbortHandle,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            ahead: Arc::default(),
            running: None,
        }
    }
}

impl State {
    /// Whether what a process does still counts.
    pub(super) fn is_alive(&self, process: Process) -> bool {
        self.alive.contains_key(&process)
    }

    fn machine_of(&mut self, process: Process) -> Option<&mut Machine> {
        let replica = *self.alive.get(&process)?;
        self.machines.get_mut(replica as usize)
    }

    /// Takes the process of a replica away.
    fn bury(&mut self, process: Process) -> Option<(u32, Running)> {
        let running = self.machine_of(process)?.running.take()?;
        Some((self.alive.remove(&process)?, running))
    }
}

impl World {
    /// Starts the operator on a machine, unless it runs there.
    pub(crate) fn start(&self, replica: u32) {
        let (process, clock, seed, settings, leadership) = {
            let mut state = self.lock();
            let Some(machine) = state.machines.get(replica as usize) else {
                return;
            };
            if machine.running.is_some() {
                return;
            }
            let clock = Arc::new(MachineClock::new(state.origin, machine.ahead.clone(), 1000));
            state.last_process += 1;
            let process = state.last_process;
            state.alive.insert(process, replica);
            state.record(What::Started { process, replica });
            let settings = Settings {
                workers: state.plan.workers,
                ..Settings::default()
            };
            let seed = state.draw(2, process.into());
            (process, clock, seed, settings, leadership(&state.plan))
        };
        let shared: SharedClock = Arc::new(ProcessClock(clock.clone()));
        let (metrics, _registry) = Metrics::new(&shared);
        let telemetry = Telemetry {
            audit: AuditLog::new(Box::new(AuditSink {
                world: self.clone(),
                process,
            })),
            metrics,
            health: Health::new(),
        };
        let seams = Seams {
            kube: self.kube(process, &clock, shared.clone()),
            http: self.http(process, &clock),
            clock: shared,
            seed,
        };
        let stopping = CancellationToken::new();
        let (world, token) = (self.clone(), stopping.clone());
        let task = tokio::spawn(async move {
            let instance = format!("operator-{replica}");
            let run = app::run(settings, seams, telemetry, leadership, &instance, token);
            let error = match AssertUnwindSafe(run).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(ended)) => Some(ended.to_string()),
                Err(_) => Some("it panicked".to_owned()),
            };
            world.ended(process, error);
        });
        if let Some(machine) = self.lock().machines.get_mut(replica as usize) {
            machine.running = Some(Running {
                process,
                clock,
                stopping,
                task: task.abort_handle(),
            });
        }
    }

    /// kill -9.
    pub(super) fn kill(&self, process: Process) {
        let mut state = self.lock();
        let Some((replica, running)) = state.bury(process) else {
            return;
        };
        running.task.abort();
        state.record(What::Killed { process });
        let after = Duration::from_millis(state.plan.restart_after.max(1));
        drop(state);
        self.start_after(replica, after);
    }

    fn ended(&self, process: Process, error: Option<String>) {
        let mut state = self.lock();
        let Some((replica, _)) = state.bury(process) else {
            return;
        };
        let after = match &error {
            Some(_) => KUBELET,
            None => Duration::from_millis(state.plan.restart_after.max(1)),
        };
        state.record(What::Ended { process, error });
        drop(state);
        self.start_after(replica, after);
    }

    fn start_after(&self, replica: u32, after: Duration) {
        let world = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            world.start(replica);
        });
    }

    /// kill -9 of whatever runs there.
    pub(super) fn kill_replica(&self, replica: u32) {
        if let Some(process) = self.running(replica, |running| running.process) {
            self.kill(process);
        }
    }

    /// SIGTERM.
    pub(super) fn stop_replica(&self, replica: u32) {
        if let Some((process, stopping)) = self.running(replica, |running| (running.process, running.stopping.clone()))
        {
            self.lock().record(What::Stopping { process });
            stopping.cancel();
        }
    }

    /// SIGSTOP, and SIGCONT after a while.
    pub(super) fn freeze_replica(&self, replica: u32, span: Duration) {
        if let Some(clock) = self.running(replica, |running| running.clock.clone()) {
            clock.stop_for(span);
        }
    }

    fn running<T>(&self, replica: u32, of: impl FnOnce(&Running) -> T) -> Option<T> {
        self.lock()
            .machines
            .get(replica as usize)
            .and_then(|machine| machine.running.as_ref())
            .map(of)
    }
}

fn leadership(plan: &Plan) -> Leadership {
    let [lease, deadline, retry] = plan.lease();
    match plan.replicas {
        Replicas::One | Replicas::TwoLeaders => Leadership::alone(),
        Replicas::Elected => Leadership::elected(Election {
            namespace: NAMESPACE.to_owned(),
            name: "guest-termination-operator".to_owned(),
            spans: Spans::new(lease, deadline, retry).unwrap_or_default(),
        }),
    }
}

/// Where a process's audit lines go.
struct AuditSink {
    world: World,
    process: Process,
}

impl Write for AuditSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.world.lock();
        if state.is_alive(self.process) {
            state.history.cover(bytes);
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line = serde_json::from_slice(line).map_err(io::Error::other)?;
                state.record(What::Audit {
                    process: self.process,
                    line: Arc::new(line),
                });
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
