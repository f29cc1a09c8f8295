//! Pulls an image and runs a command in it, without a daemon: the engine is part of this program.
//! `embedded FOLDER IMAGE COMMAND [ARG…]` keeps all that it makes in FOLDER.
//!
//! The one program beside it is the shim, `stowd-shim`, in `PATH`: it keeps containers alive when
//! this program ends.

use std::path::Path;
use std::process::ExitCode;

use stowd_client::{Client, Io, Pull, Result};

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(image)) = (args.next(), args.next()) else {
        return fail("usage: embedded FOLDER IMAGE COMMAND [ARG…]");
    };
    match run(Path::new(&folder), image, args.collect()).await {
        Ok(status) => ExitCode::from(status),
        Err(error) => fail(error),
    }
}

async fn run(folder: &Path, image: String, command: Vec<String>) -> Result<u8> {
    let (root, state) = (folder.join("root"), folder.join("state"));
    let config = stowd::Config::new(&root, &state, &state.join("engine.sock"));
    let engine = config.build().await?.embed().await?;
    let status = run_in(&Client::over(engine.connection(), "example")?, image, command).await;
    engine.stop().await?;
    status
}

async fn run_in(client: &Client, image: String, command: Vec<String>) -> Result<u8> {
    let image = client.pull(Pull::of(image)).await?;
    let container = client.new_container("example").image(&image).args(command).create().await?;
    let task = container.create_task(Io::inherit(), Default::default()).await?;
    task.start().await?;
    let exit = task.wait().await?;
    task.output_ended().await;
    task.delete().await?;
    container.delete_with_snapshot().await?;
    Ok(u8::try_from(exit.status).unwrap_or(u8::MAX))
}

fn fail(why: impl std::fmt::Display) -> ExitCode {
    use std::io::Write as _;
    // Nobody is left to tell when this fails.
    let _ = writeln!(std::io::stderr(), "embedded: {why}");
    ExitCode::FAILURE
}
