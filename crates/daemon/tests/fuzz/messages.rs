//! Random messages of any type, from the project's own `.proto` files.

use std::path::Path;

use protox::Compiler;
use protox::prost::Message as _;
use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use stowd_testing::chance::Chance;

/// How deep messages go before their fields stay empty.
const DEEPEST: u32 = 5;

/// Makes messages.
pub(crate) struct Maker {
    pub(crate) pool: DescriptorPool,
    types: Vec<MessageDescriptor>,
    words: Vec<String>,
}

impl Maker {
    /// Makes messages that name nothing outside this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/proto");
        let mut files = Vec::new();
        find(&root, &mut files);
        let mut compiler = Compiler::new([root]).unwrap();
        compiler.include_imports(true).open_files(files).unwrap();
        let pool = compiler.descriptor_pool();
        let types = pool.all_messages().filter(|it| !it.is_map_entry()).collect();
        Self { pool, types, words: words(folder) }
    }

    /// Makes a message.
    pub(crate) fn message(
        &self,
        chance: &mut Chance,
        kind: &MessageDescriptor,
        depth: u32,
    ) -> DynamicMessage {
        let mut message = DynamicMessage::new(kind.clone());
        match kind.full_name() {
            "google.protobuf.Any" => {
                let inner = chance.pick(&self.types).clone();
                message.set_field_by_name("type_url", Value::String(self.type_url(chance, &inner)));
                if depth < DEEPEST && chance.often(80) {
                    let bytes = self.message(chance, &inner, depth + 1).encode_to_vec();
                    message.set_field_by_name("value", Value::Bytes(bytes.into()));
                }
                return message;
            }
            "google.protobuf.FieldMask" => {
                let paths = (0..chance.below(4)).map(|_| {
                    let path =
                        *chance.pick(&["labels", "labels.a", "target", "spec", "x", "", "."]);
                    Value::String(path.to_owned())
                });
                message.set_field_by_name("paths", Value::List(paths.collect()));
                return message;
            }
            _ => {}
        }
        for field in kind.fields() {
            if chance.often(if depth < DEEPEST { 70 } else { 10 }) {
                let value = self.field(chance, &field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn type_url(&self, chance: &mut Chance, kind: &MessageDescriptor) -> String {
        match chance.below(6) {
            0 => self.word(chance),
            1 => format!("type.googleapis.com/{}", kind.full_name()),
            2 => "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
            _ => kind.full_name().to_owned(),
        }
    }

    fn field(&self, chance: &mut Chance, field: &FieldDescriptor, depth: u32) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return Value::Map(Default::default()) };
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            let pairs = (0..chance.below(4)).filter_map(|_| {
                let value = self.value(chance, &value, depth + 1);
                match self.value(chance, &key, depth + 1) {
                    Value::String(key) => Some((MapKey::String(key), value)),
                    Value::Bool(key) => Some((MapKey::Bool(key), value)),
                    Value::I32(key) => Some((MapKey::I32(key), value)),
                    Value::I64(key) => Some((MapKey::I64(key), value)),
                    Value::U32(key) => Some((MapKey::U32(key), value)),
                    Value::U64(key) => Some((MapKey::U64(key), value)),
                    _ => None,
                }
            });
            return Value::Map(pairs.collect());
        }
        if field.is_list() {
            let length = if chance.often(5) { 40 } else { chance.below(4) };
            return Value::List(
                (0..length).map(|_| self.value(chance, field, depth + 1)).collect(),
            );
        }
        self.value(chance, field, depth)
    }

    fn value(&self, chance: &mut Chance, field: &FieldDescriptor, depth: u32) -> Value {
        match field.kind() {
            Kind::Double => Value::F64(f64::from_bits(chance.next())),
            Kind::Float => Value::F32(chance.below(1000) as f32),
            Kind::Bool => Value::Bool(chance.often(50)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(whole(chance) as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(whole(chance)),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(whole(chance) as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(whole(chance) as u64),
            Kind::Enum(_) if chance.often(80) => Value::EnumNumber(chance.below(5) as i32),
            Kind::Enum(_) => Value::EnumNumber(whole(chance) as i32),
            Kind::String => Value::String(self.word(chance)),
            Kind::Bytes => {
                let length = *chance.pick(&[0, 1, 7, 100, 5000]);
                let byte = |_| chance.next() as u8;
                Value::Bytes((0..length).map(byte).collect::<Vec<_>>().into())
            }
            Kind::Message(kind) => Value::Message(self.message(chance, &kind, depth + 1)),
        }
    }

    /// Returns a text: mostly one that means something somewhere.
    pub(crate) fn word(&self, chance: &mut Chance) -> String {
        match chance.below(20) {
            0 => {
                // Never one that begins with a slash: a path outside of the test's folder.
                let letters = (0..chance.below(12)).map(|_| {
                    let code = u32::try_from(chance.below(0x3000)).unwrap_or_default();
                    char::from_u32(code).filter(|letter| *letter != '/').unwrap_or('\u{fffd}')
                });
                letters.collect()
            }
            1 => chance
                .pick(&self.words)
                .repeat(1 + chance.index(300))
                .trim_start_matches('/')
                .to_owned(),
            _ => chance.pick(&self.words).clone(),
        }
    }
}

/// Changes an encoded message somewhere.
pub(crate) fn damage(chance: &mut Chance, bytes: &mut Vec<u8>) {
    for _ in 0..=chance.below(4) {
        if bytes.is_empty() {
            bytes.push(chance.next() as u8);
            continue;
        }
        let at = chance.index(bytes.len());
        match chance.below(4) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, chance.next() as u8),
            _ => bytes.extend_from_within(at..),
        }
    }
}

fn whole(chance: &mut Chance) -> i64 {
    match chance.below(4) {
        0 => chance.next() as i64,
        1 => *chance.pick(&[
            i64::MIN,
            i64::MAX,
            -1,
            i64::from(i32::MIN),
            i64::from(u32::MAX),
            1 << 40,
        ]),
        _ => chance.below(10) as i64,
    }
}

/// Texts that get a request beyond its first check. Paths lead into the folder, hosts nowhere.
fn words(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mut words: Vec<String> = [
        "",
        "a",
        "b",
        "c",
        "default",
        "overlayfs",
        "native",
        "nothing",
        "io.containerd.runc.v2",
        "bind",
        "overlay",
        "tmpfs",
        "format/bind",
        "mkdir/format/overlay",
        "loop",
        "mkfs/loop",
        "rbind",
        "ro",
        "rw",
        "lowerdir=a:b",
        "upperdir=a",
        "workdir=b",
        "{{ source 0 }}",
        "{{",
        "X-containerd.mkdir.path=a:0755:0:0",
        "X-containerd.mkfs.size=1",
        "linux",
        "amd64",
        "v8",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:",
        ":",
        "sha512:00",
        "127.0.0.1:1/a/b:latest",
        "127.0.0.1:1/a@sha256:00",
        "test.example/busybox:1",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "containerd.io/gc.root",
        "containerd.io/gc.expire",
        "2001-01-01T00:00:00Z",
        "9999999999h",
        "containerd.io/gc.ref.content.0",
        "containerd.io/gc.ref.snapshot.native/x",
        "labels",
        "containerd.io/gc.bref.container",
        "containerd.io/snapshot.ref",
        "labels.a",
        "target.digest",
        "containerd.io/uncompressed",
        "containerd.io/distribution.source.127.0.0.1",
        "name==a",
        "labels.\"a\"==b",
        "id~=^[a-z]*$",
        "name~=(((((",
        "topic==",
        "!!",
        "a,,b",
        "/tasks/exit",
        "content",
        "snapshots/native",
        "ingests",
        "images",
        "leases",
        "io.containerd.image.v1",
        "..",
        "a/../b",
        ".",
        "a/b",
        "a b",
        "\u{0}",
        "\n",
        "{}",
        "[]",
        "null",
        "-1",
        "1h",
        "shim",
        "{\"ociVersion\":\"1.2.0\",\"process\":{\"args\":[\"true\"],\"cwd\":\"/\"}}",
        "cgroup",
        "runc",
    ]
    .map(str::to_owned)
    .into();
    for path in ["", "/in", "/in/file", "/not/there", "/in/../in", "/in/link"] {
        words.push(format!("{folder}{path}"));
    }
    words.push(format!("file://{folder}/in/log"));
    words.push(format!("fifo://{folder}/in/fifo"));
    words.push(format!("unix://{folder}/in/sock"));
    words.push(format!("binary://{folder}/in/none?a=b"));
    words
}

fn find(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else {
            files.push(path);
        }
    }
}
