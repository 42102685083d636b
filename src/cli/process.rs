//! The process around nodes: its runtime, its signals, its log. Not responsible for nodes.

use super::failure::Failure;
use super::settings::LogFormat;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::process;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// As shells have it for what a signal ended.
const EXIT_AT_ONCE: i32 = 130;

/// Runs a future on a runtime of its own; what is still running after it is dropped.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// What SIGHUP means: of a process that follows files, that one has changed; of any other, that its terminal is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// Somebody else takes it.
    Reloads,
    /// It ends the process as SIGTERM does.
    Ends,
}

/// The first SIGINT or SIGTERM cancels `ending`, the second ends the process at once.
pub(super) fn end_on_signals(ending: CancellationToken, hangup: Hangup) -> io::Result<()> {
    let mut signals = Signals::new(hangup)?;
    tokio::spawn(async move {
        signals.next().await;
        ending.cancel();
        signals.next().await;
        process::exit(EXIT_AT_ONCE);
    });
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new(hangup: Hangup) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // Taken in any case: one that comes before those who reload are there would else end the process at once. They read
        // what they follow when they begin.
        let taken = signal(SignalKind::hangup())?;
        let hangup = (hangup == Hangup::Ends).then_some(taken);
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hangup => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new(_: Hangup) -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Logs to stderr what `RUST_LOG` asks for, else what is at least of `level`.
pub(super) fn log(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    // a second one in the process is no harm: the first stays
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
