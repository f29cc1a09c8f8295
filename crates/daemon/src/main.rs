//! The `stowd` program, also installed as `containerd`: reads flags and the config file, builds the
//! engine, serves it until a signal says stop. It decides nothing else; what the daemon is made of
//! stands in the library's `engine`.

mod cli;
mod hook;
mod publish;
mod signals;

use std::process::ExitCode;

use cli::{Asked, Command, Resolved};
use signals::Hangup;
use stowd::{Logger, Stop};

/// The daemon could not start, or failed while it ran.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    match cli::parse().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print_error(&error);
            ExitCode::from(FAILED)
        }
    }
}

fn run(command: Command) -> stowd_core::Result<()> {
    match command {
        Command::Print(text) => {
            cli::print(&text);
            Ok(())
        }
        Command::Serve(asked) => serve(asked),
        Command::Publish(publish, address) => publish.run(address),
        Command::Hook(command) => hook::run(&command),
    }
}

fn serve(asked: Asked) -> stowd_core::Result<()> {
    let resolved = asked.resolve()?;
    let logger = Logger::start(resolved.level, &resolved.config.logging.format)?;
    for note in &resolved.notes {
        tracing::warn!("{note}");
    }
    stowd_sys::malloc::keep_small();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("stowd")
        .thread_stack_size(512 << 10)
        .build()
        .map_err(|error| stowd_core::Error::io("start the runtime", &error))?;
    let served = runtime.block_on(daemon(asked, resolved, logger));
    // Threads that still read or write must not hold the stop up.
    runtime.shutdown_background();
    served
}

async fn daemon(asked: Asked, resolved: Resolved, logger: Logger) -> stowd_core::Result<()> {
    let stop = Stop::new();
    signals::stop_when_told(stop.clone())?;
    let hangup = Hangup::listen()?;
    stowd::process::prepare(&resolved.config)?;
    let engine = resolved.config.build().await?;
    hangup.reload(asked, resolved.document, logger, engine.reloader());
    signals::dump_when_told(engine.observer())?;
    engine.serve(stop).await
}
