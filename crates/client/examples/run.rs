//! Pulls an image and runs a command in it, with a daemon: `run SOCKET IMAGE COMMAND [ARG…]`.

use std::process::ExitCode;

use stowd_client::{Client, Io, Pull, Result};

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(image)) = (args.next(), args.next()) else {
        return fail("usage: run SOCKET IMAGE COMMAND [ARG…]");
    };
    match run(&socket, image, args.collect()).await {
        Ok(status) => ExitCode::from(status),
        Err(error) => fail(error),
    }
}

async fn run(socket: &str, image: String, command: Vec<String>) -> Result<u8> {
    let client = Client::connect(socket, "example").await?;
    // What is made under the lease is safe from garbage collection until it is released; a program
    // that dies on the way loses it to the collection a day later.
    let (leased, lease) = client.lease().await?;
    let status = run_under(&leased, image, command).await;
    client.release(&lease).await?;
    status
}

async fn run_under(client: &Client, image: String, command: Vec<String>) -> Result<u8> {
    let image = client.pull(Pull::of(image)).await?;
    let id = format!("example-{}", std::process::id());
    let container = client.new_container(id).image(&image).args(command).create().await?;
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
    let _ = writeln!(std::io::stderr(), "run: {why}");
    ExitCode::FAILURE
}
