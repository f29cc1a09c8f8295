//! Compiles `proto/` to Rust, in pure Rust (no `protoc`).

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost_build::{Config, Service, ServiceGenerator};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from("proto");
    println!("cargo::rerun-if-changed=proto");
    let mut files = Vec::new();
    find(&root, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    Config::new()
        .out_dir(out)
        // One nested module for each package, as the references between them expect.
        .include_file("packages.rs")
        // Payloads are slices of the receive buffer, not copies of it.
        .bytes(["."])
        .extern_path(".google.protobuf.Any", "crate::Any")
        // Task v2 and v3 are the same but for their names: one set of Rust types serves both.
        .extern_path(".containerd.task.v2", "crate::task::v3")
        // Labels in the order of their keys, as core has them.
        .btree_map(["."])
        // Any::pack needs the full names.
        .enable_type_names()
        .service_generator(Box::new(Services::new()))
        .compile_fds(descriptors)?;
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// Writes each service's names, for ttrpc, and with feature `grpc` its tonic client and server.
struct Services {
    #[cfg(feature = "grpc")]
    tonic: Box<dyn ServiceGenerator>,
}

impl Services {
    fn new() -> Self {
        Self {
            #[cfg(feature = "grpc")]
            tonic: tonic_prost_build::configure().build_transport(false).service_generator(),
        }
    }
}

impl ServiceGenerator for Services {
    fn generate(&mut self, service: Service, buffer: &mut String) {
        names(&service, buffer);
        #[cfg(feature = "grpc")]
        self.tonic.generate(service, buffer);
    }

    fn finalize(&mut self, buffer: &mut String) {
        #[cfg(feature = "grpc")]
        self.tonic.finalize(buffer);
        #[cfg(not(feature = "grpc"))]
        let _ = buffer;
    }
}

fn names(service: &Service, buffer: &mut String) {
    let mut module = String::new();
    for (index, letter) in service.proto_name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            module.push('_');
        }
        module.extend(letter.to_lowercase());
    }
    let full = format!("{}.{}", service.package, service.proto_name);
    let mut text = format!(
        "/// Names of the `{full}` service and its methods, as ttrpc requests carry them.\n\
         pub mod {module}_names {{\n\
         /// The service's full name.\n\
         pub const SERVICE: &str = \"{full}\";\n"
    );
    for method in &service.methods {
        let name = method.name.to_uppercase();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "/// Method `{proto}`.\npub const {name}: &str = \"{proto}\";",
            proto = method.proto_name
        );
    }
    text.push_str("}\n");
    buffer.push_str(&text);
}
