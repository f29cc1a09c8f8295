//! What signals mean to the daemon.
//!
//! | signal | meaning |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop |
//! | `SIGHUP` | read the configuration again |
//! | `SIGUSR1` | write what the daemon is doing to the log and a file |

use stowd::config::Document;
use stowd::dump::Observer;
use stowd::reload::{Changes, Reloader, Stage};
use stowd::{Logger, Stop};
use stowd_core::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Asked;

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::io("listen for signals", &error))
}

/// Pulls the stop at `SIGTERM` or `SIGINT`.
pub(crate) fn stop_when_told(stop: Stop) -> Result<()> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        stop.pull();
    });
    Ok(())
}

/// Takes hold of `SIGHUP`, which would end the process; [`Hangup::reload`] says what it means.
pub(crate) struct Hangup(Signal);

impl Hangup {
    pub(crate) fn listen() -> Result<Self> {
        listen(SignalKind::hangup()).map(Self)
    }

    /// Reads the configuration again whenever the signal comes.
    pub(crate) fn reload(
        mut self,
        asked: Asked,
        held: Document,
        logger: Logger,
        reloader: Reloader,
    ) {
        tokio::spawn(async move {
            let mut held = held;
            while self.0.recv().await.is_some() {
                reloader.announce(Stage::Begun);
                match reload(&asked, &held, &logger, &reloader) {
                    Ok(new) => held = new,
                    Err(error) => {
                        let hint = error.hint_text().unwrap_or_default();
                        tracing::error!(%error, hint, "configuration not reloaded: nothing has changed");
                    }
                }
                reloader.announce(Stage::Done);
            }
        });
    }
}

/// Returns what is in effect from now on; what waits for a restart is told at each reload.
fn reload(
    asked: &Asked,
    held: &Document,
    logger: &Logger,
    reloader: &Reloader,
) -> Result<Document> {
    let resolved = asked.resolve()?;
    for note in &resolved.notes {
        tracing::warn!("{note}");
    }
    let changes = Changes::between(held, &resolved.document);
    logger.set(resolved.level);
    reloader.apply(&resolved.config, &changes);
    let Changes { live, after_restart } = changes;
    if !after_restart.is_empty() {
        tracing::warn!(keys = after_restart.join(" "), "these keys take effect after a restart");
    }
    tracing::info!(keys = live.join(" "), "configuration reloaded");
    Ok(held.with_live_of(&resolved.document, &live))
}

/// Dumps whenever `SIGUSR1` comes, on a thread of its own: the engine's may be what hangs.
pub(crate) fn dump_when_told(observer: Observer) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the runtime", &error))?;
    let mut user1 = {
        let _inside = runtime.enter();
        listen(SignalKind::user_defined1())?
    };
    std::thread::Builder::new()
        .name("stowd-dump".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            while runtime.block_on(user1.recv()).is_some() {
                observer.dump();
            }
        })
        .map_err(|error| Error::io("start a thread", &error))?;
    Ok(())
}
