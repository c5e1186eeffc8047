//! The planes: where everything is built, started, and stopped.

mod listen;
mod node;
mod ready;
mod tasks;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

pub use self::ready::ReadySignal;
use crate::settings::Settings;

/// Runs a node until it is told to end: SIGTERM at once, SIGQUIT after the last request.
///
/// SIGHUP makes it read its settings anew.
///
/// # Errors
/// Whatever keeps the node from starting.
pub fn run(settings: Settings, ready: ReadySignal) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut reload = signal(SignalKind::hangup())?;
        settings.prefix.create()?;
        ready.ready();
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = quit.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = reload.recv() => {}
            }
        }
    })
}
