//! Our proto files say at least what the published crates' say.
//!
//! containerd-client and containerd-shim-protos carry copies of containerd's own files. They are
//! dependencies for a target that does not exist, so cargo fetches them and never compiles them.
//! What their files define is turned into sentences, one for each message, field, enum value and
//! method, and each sentence must hold for ours, too.

#![allow(clippy::unwrap_used, reason = "a failure here is the report")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

/// Packages that are not containerd's.
const FOREIGN: [(&str, &str); 3] = [
    ("google.protobuf", "the protobuf library's own"),
    ("gogoproto", "options of a Go code generator; nothing of them is on the wire"),
    ("containerd.runhcs.stats.v1", "statistics of Windows containers"),
];

/// What they say and we do not.
const EXCEPTIONS: [(&str, &str); 0] = [];

#[test]
fn everything_in_containerd_client_is_in_ours() {
    compare("containerd-client");
}

#[test]
fn everything_in_containerd_shim_protos_is_in_ours() {
    compare("containerd-shim-protos");
}

fn compare(package: &str) {
    let vendor = source(package).join("vendor");
    let containerd = vendor.join("github.com/containerd/containerd");
    let includes: Vec<PathBuf> = [containerd.join("api"), containerd.clone(), vendor.clone()]
        .into_iter()
        .filter(|folder| folder.is_dir())
        .collect();
    let mut files = Vec::new();
    find(&vendor, &mut files);
    // A copy of the copies, at the end of a symbolic link that packaging followed.
    files.retain(|file| !file.starts_with(containerd.join("vendor")));
    assert!(files.len() > 20, "{package}: only {} proto files found", files.len());

    let mut theirs = BTreeSet::new();
    for file in files {
        // One by one: two generations of one package may stand side by side.
        let set = protox::compile([&file], &includes)
            .unwrap_or_else(|error| panic!("{}: {error:?}", file.display()));
        theirs.extend(sentences(&set));
    }
    let ours = sentences(&our_files());
    for (exception, reason) in EXCEPTIONS {
        assert!(!ours.contains(exception), "no longer an exception ({reason}): {exception}");
    }
    let excepted = |sentence: &&String| EXCEPTIONS.iter().any(|(known, _)| known == sentence);
    let missing: Vec<_> = theirs.difference(&ours).filter(|said| !excepted(said)).collect();
    assert!(theirs.len() > 200, "{package}: only {} definitions found", theirs.len());
    assert!(missing.is_empty(), "{package} defines what we do not:\n{missing:#?}");
}

fn our_files() -> FileDescriptorSet {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut files = Vec::new();
    find(&root, &mut files);
    protox::compile(files, [root]).unwrap()
}

fn source(package: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata failed; `cargo fetch --locked` gets what it needs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = metadata["packages"].as_array().unwrap().iter().find(|p| p["name"] == package);
    let manifest = found.unwrap_or_else(|| panic!("cargo does not know {package}"));
    Path::new(manifest["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
}

fn sentences(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for file in &set.file {
        if !FOREIGN.iter().any(|(package, _)| file.package() == *package) {
            of_file(file, &mut said);
        }
    }
    said
}

fn of_file(file: &FileDescriptorProto, said: &mut BTreeSet<String>) {
    let package = file.package();
    for message in &file.message_type {
        of_message(package, message, said);
    }
    for enumeration in &file.enum_type {
        of_enum(package, enumeration, said);
    }
    for service in &file.service {
        of_service(package, service, said);
    }
}

fn of_message(scope: &str, message: &DescriptorProto, said: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        let label = match field.label() {
            Label::Repeated => "repeated ",
            Label::Optional | Label::Required => "",
        };
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
            scalar => scalar.as_str_name().to_owned(),
        };
        said.insert(format!("field {name}.{} = {}: {label}{kind}", field.name(), field.number()));
    }
    for nested in &message.nested_type {
        of_message(&name, nested, said);
    }
    for nested in &message.enum_type {
        of_enum(&name, nested, said);
    }
    said.insert(format!("message {name}"));
}

fn of_enum(scope: &str, enumeration: &EnumDescriptorProto, said: &mut BTreeSet<String>) {
    for value in &enumeration.value {
        let (name, number) = (value.name(), value.number());
        said.insert(format!("value {scope}.{}.{name} = {number}", enumeration.name()));
    }
}

fn of_service(scope: &str, service: &ServiceDescriptorProto, said: &mut BTreeSet<String>) {
    let stream = |streaming| if streaming { "stream " } else { "" };
    for method in &service.method {
        said.insert(format!(
            "method {scope}.{}/{}({}{}) -> {}{}",
            service.name(),
            method.name(),
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type(),
        ));
    }
    said.insert(format!("service {scope}.{}", service.name()));
}
