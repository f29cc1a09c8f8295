//! Configuration files that something has gone through.

use std::time::{Duration, Instant};

use stowd::config::Document;
use stowd_testing::chance::Chance;

use crate::{end, seed};

/// How long reading one file may take.
const LONG: Duration = Duration::from_secs(5);

/// What people write.
const WRITTEN: &[&str] = &[
    "version = 2\nroot = '/r'\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'x'\n\
     [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n\
     [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n",
    "version = 3\nimports = ['conf.d/*.toml']\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n\
     [grpc]\naddress = '/s'\ngid = 7\n[timeouts]\n'io.containerd.timeout.task.state' = '3s'\n\
     [proxy_plugins.x]\ntype = 'diff'\naddress = '/a'\n[stream_processors.y]\naccepts = ['a']\n\
     returns = 'b'\npath = 'p'\nargs = ['c']\n",
    "disabled_plugins = ['cri']\n[plugins.linux]\nshim = 'x'\n[plugins.cri.registry.mirrors.'docker.io']\n\
     endpoint = ['https://a']\n",
    "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/x'\n\
     [plugins.'io.containerd.gc.v1.scheduler']\npause_threshold = 0.5\nschedule_delay = '1s'\n",
];

const PIECES: &[&str] = &[
    "=",
    "[",
    "]",
    "[[",
    "]]",
    "'",
    "\"",
    "\"\"\"",
    "{",
    "}",
    ",",
    "\n",
    "#",
    ".",
    "-1",
    "1e999",
    "0x",
    "inf",
    "nan",
    "true",
    "1979-05-27T07:32:00Z",
    "[plugins]\n",
    "version = 9999999999999999999\n",
    "version = -1\n",
    "version = '3'\n",
    "imports = [1]\n",
    "[a.b.c]\n",
    "x = {y = {z = []}}\n",
    "\\u0000",
    "\u{0}",
    "\u{feff}",
    "'9999999999999999999h'",
    "'-1s'",
    "'1e5s'",
    "root = ''\n",
    "root = 'r'\n",
    "\r",
];

#[test]
fn any_file_is_read_or_refused() {
    let (seed, end) = (seed(), end());
    println!("STOWD_SEED={seed}");
    let mut seeds: Vec<String> = WRITTEN.iter().map(|&text| text.to_owned()).collect();
    for version in [3, 4] {
        seeds.push(Document::default().print(version).unwrap());
    }
    let mut chance = Chance::new(seed);
    let (mut tried, mut read, mut resolved) = (0, 0, 0);
    while Instant::now() < end {
        let mut text = chance.pick(&seeds).clone().into_bytes();
        for _ in 0..=chance.below(6) {
            change(&mut chance, &mut text, &seeds);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(|| go_through(&text));
        let Ok((was_read, was_resolved)) = outcome else { panic!("at this file:\n{text}") };
        assert!(started.elapsed() < LONG, "{:?} for this file:\n{text}", started.elapsed());
        tried += 1;
        read += u32::from(was_read);
        resolved += u32::from(was_resolved);
    }
    println!("{tried} files, {read} read, {resolved} resolved");
    assert!(read > 0 && resolved > 0);
}

/// Reads, resolves and prints a file; says how far that went.
fn go_through(text: &str) -> (bool, bool) {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            assert!(!error.message().is_empty());
            return (false, false);
        }
    };
    for version in [3, 4] {
        if let Ok(printed) = document.print(version) {
            let again = Document::parse(&printed);
            let again =
                again.unwrap_or_else(|error| panic!("{error} in what was printed:\n{printed}"));
            assert_eq!(again.print(version).unwrap(), printed, "printed, read and printed");
        }
    }
    (true, document.resolve().is_ok())
}

fn change(chance: &mut Chance, text: &mut Vec<u8>, seeds: &[String]) {
    let at = chance.index(text.len() + 1);
    let to = (at + chance.index(40)).min(text.len());
    match chance.below(8) {
        0 => drop(text.drain(at..to)),
        1 => text.extend_from_within(at..),
        2 => {
            let piece = chance.pick(PIECES).bytes();
            text.splice(at..at, piece);
        }
        3 if at < text.len() => text[at] = chance.next() as u8,
        4 => {
            let other = chance.pick(seeds);
            let from = chance.index(other.len() + 1);
            let part = other.bytes().skip(from).take(chance.index(200)).collect::<Vec<_>>();
            text.splice(at..at, part);
        }
        5 => {
            let piece = chance.pick(PIECES).repeat(chance.index(2000));
            text.splice(at..at, piece.bytes());
        }
        6 => {
            // Whole lines change places.
            let mut lines: Vec<_> = text.split_inclusive(|&byte| byte == b'\n').collect();
            let (a, b) = (chance.index(lines.len().max(1)), chance.index(lines.len().max(1)));
            if a < lines.len() && b < lines.len() {
                lines.swap(a, b);
            }
            *text = lines.concat();
        }
        _ => drop(text.splice(at..to, chance.pick(PIECES).bytes())),
    }
}
