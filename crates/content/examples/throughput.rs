//! Measures how fast ingests are written and hashed: `throughput DIR [CHUNK_KIB] [MIB] [WRITERS]`.

#![allow(clippy::print_stdout, reason = "a measuring tool prints")]

use std::time::Instant;

use bytes::Bytes;
use stowd_core::content::{Commit, WriterOptions};
use stowd_core::{Error, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or_else(|| Error::invalid("usage: throughput DIR"))?;
    let mut number =
        |default| arguments.next().and_then(|text| text.parse::<usize>().ok()).unwrap_or(default);
    let (chunk, total, writers) = (number(1024) << 10, number(1024) << 20, number(1));
    let store = stowd_content::open(&dir).await?;
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for number in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let data = Bytes::from(vec![u8::try_from(number % 251).unwrap_or(0); chunk]);
            let reference = format!("throughput-{number}");
            let options = WriterOptions { reference: reference.clone(), ..Default::default() };
            let mut writer = store.writer(&reference, options).await?;
            for _ in 0..total / writers / chunk {
                writer.write(data.clone()).await?;
            }
            let written = begun.elapsed();
            let digest = writer.commit(Commit::default()).await?;
            let committed = begun.elapsed();
            store.remove(&digest).await?;
            Ok::<_, Error>((written, committed))
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (written, committed) = done.map_err(Error::internal)??;
        println!("written after {written:?}, durable after {committed:?}");
    }
    let written = f64::from(u32::try_from(total >> 20).unwrap_or(0));
    println!("{:.0} MiB/s", written / begun.elapsed().as_secs_f64());
    Ok(())
}
