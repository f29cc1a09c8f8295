//! Random requests of every method, over several connections at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::{StreamExt as _, stream};
use protox::prost::Message as _;
use protox::prost_reflect::MethodDescriptor;
use stowd_testing::chance::Chance;
use stowd_testing::image::Image;
use stowd_testing::{Daemon, Scratch, Version, need};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::messages::{Maker, damage};
use crate::{end, seed};

/// How many clients at once.
const CLIENTS: u64 = 6;
/// How long an answer is waited for: some calls wait themselves.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long the simplest call may take at any time.
const HUNG: Duration = Duration::from_secs(20);
/// An image's name.
const IMAGE: &str = "test.example/busybox:1";

/// How many answers there were of each method with each code; none is one that did not come in time.
type Codes = BTreeMap<(String, Option<i32>), u64>;

#[test]
fn every_method_answers_whatever_it_is_sent() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let folder = scratch.folder("words");
    std::fs::create_dir(folder.join("in")).unwrap();
    std::fs::write(folder.join("in/file"), "some bytes").unwrap();
    std::os::unix::fs::symlink("/", folder.join("in/link")).unwrap();
    let mut daemon = Daemon::stowd(&scratch);
    let (seed, end) = (seed(), end());
    println!("STOWD_SEED={seed}");

    let maker = Arc::new(Maker::new(&folder));
    let methods: Arc<Vec<_>> = Arc::new(methods(&maker));
    assert!(methods.len() >= 80, "only {} methods", methods.len());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let codes = runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            let connection = stowd_proxy::connect(daemon.socket()).await.unwrap();
            let client = Client {
                channel: connection.channel(),
                maker: maker.clone(),
                methods: methods.clone(),
                chance: Chance::new(seed.wrapping_add(number)),
                codes: Codes::new(),
                count: count.clone(),
            };
            clients.spawn(client.run(end));
        }
        let mut codes = Codes::new();
        for more in clients.join_all().await {
            for (key, count) in more {
                *codes.entry(key).or_default() += count;
            }
        }
        codes
    });
    println!("{} requests", count.load(Ordering::Relaxed));
    for method in methods.iter() {
        let of = codes.iter().filter(|((name, _), _)| name == method.full_name());
        let seen: Vec<_> = of.map(|((_, code), count)| (code.map(Code::from_i32), count)).collect();
        println!("{} {seen:?}", method.full_name());
    }
    let log = daemon.log();
    assert!(daemon.is_running(), "the daemon has ended:\n{log}");
    assert!(!log.contains("panicked"), "{log}");

    // What random calls may have left under the names that are used here.
    let archive = scratch.join("busybox.tar");
    Image::busybox().write_oci_archive(&archive, IMAGE);
    daemon.ctr(Version::V2).args(["images", "import", archive.to_str().unwrap()]).ok();
    let run = ["run", "--rm", IMAGE, "after", "echo", "still here"];
    assert_eq!(daemon.ctr(Version::V2).args(run).ok(), "still here\n");
}

/// Returns the methods that the daemon's socket has.
fn methods(maker: &Maker) -> Vec<MethodDescriptor> {
    let served = |name: &str| {
        name.starts_with("grpc.health.")
            || name.starts_with("containerd.services.") && !name.contains("ttrpc")
    };
    let services = maker.pool.services().filter(|it| served(it.full_name()));
    services.flat_map(|it| it.methods().collect::<Vec<_>>()).collect()
}

struct Client {
    channel: Channel,
    maker: Arc<Maker>,
    methods: Arc<Vec<MethodDescriptor>>,
    chance: Chance,
    codes: Codes,
    count: Arc<AtomicU64>,
}

impl Client {
    async fn run(mut self, end: Instant) -> Codes {
        let mut sent = 0u64;
        while Instant::now() < end {
            let method = self.chance.pick(&self.methods).clone();
            let (shown, request) = self.request(&method);
            let code = self.call(&method, request, &shown).await;
            *self.codes.entry((method.full_name().to_owned(), code.map(i32::from))).or_default() +=
                1;
            sent += 1;
            if sent.is_multiple_of(100) {
                self.is_well(&shown).await;
            }
        }
        self.count.fetch_add(sent, Ordering::Relaxed);
        self.codes
    }

    fn request(&mut self, method: &MethodDescriptor) -> (String, Request<Vec<Bytes>>) {
        let count = if method.is_client_streaming() { 1 + self.chance.below(3) } else { 1 };
        let mut shown = format!("{}:", method.full_name());
        let mut messages = Vec::new();
        for _ in 0..count {
            let message = self.maker.message(&mut self.chance, &method.input(), 0);
            let mut bytes = message.encode_to_vec();
            if self.chance.often(15) {
                damage(&mut self.chance, &mut bytes);
                shown.push_str(&format!(" damaged {bytes:?} of"));
            }
            shown.push_str(&format!(" {message:?}"));
            messages.push(bytes.into());
        }
        let mut request = Request::new(messages);
        for (key, often) in [("containerd-namespace", 95), ("containerd-lease", 20)] {
            let names = ["default", "default", "other", "a/b", "", "x"];
            if self.chance.often(often)
                && let Ok(value) = self.chance.pick(&names).parse()
            {
                request.metadata_mut().insert(key, value);
            }
        }
        (shown, request)
    }

    /// Sends it and reads the answer, if one comes in time.
    async fn call(
        &self,
        method: &MethodDescriptor,
        request: Request<Vec<Bytes>>,
        shown: &str,
    ) -> Option<Code> {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let path = PathAndQuery::try_from(path).unwrap();
        let request = request.map(stream::iter);
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let asked = async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
            for _ in 0..8 {
                match answers.next().await {
                    Some(answer) => drop(answer?),
                    None => break,
                }
            }
            Ok::<_, Status>(())
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Err(_) => None,
            Ok(Ok(())) => Some(Code::Ok),
            Ok(Err(status)) => {
                let broken = std::error::Error::source(&status)
                    .is_some_and(|source| source.is::<tonic::transport::Error>());
                assert!(!broken, "the connection broke ({status}) after {shown}");
                assert!(!status.message().is_empty(), "an error without words: {shown}");
                assert!(!status.message().contains("panic"), "{status} for {shown}");
                Some(status.code())
            }
        }
    }

    /// Checks that the simplest call is answered.
    async fn is_well(&self, shown: &str) {
        let request = Request::new(stream::iter([Bytes::new()]));
        let path = PathAndQuery::from_static("/containerd.services.version.v1.Version/Version");
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let asked = async {
            grpc.ready().await.unwrap();
            grpc.streaming(request, path, Raw).await.unwrap().into_inner().next().await
        };
        let answer = tokio::time::timeout(HUNG, asked).await;
        let answer = answer.unwrap_or_else(|_| panic!("the daemon hangs after {shown}"));
        assert!(matches!(answer, Some(Ok(_))), "no version after {shown}");
    }
}

/// Messages as their bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
