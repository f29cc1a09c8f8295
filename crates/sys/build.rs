//! Finds the static libseccomp when the feature `seccomp` asks for it.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBSECCOMP_LIB_PATH");
    if std::env::var_os("CARGO_FEATURE_SECCOMP").is_none() {
        return;
    }
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(std::env::var_os("LIBSECCOMP_LIB_PATH").map(PathBuf::from));
    for place in [&format!("/usr/lib/{arch}-linux-gnu"), "/usr/lib64", "/usr/lib", "/usr/local/lib"]
    {
        places.push(place.into());
    }
    let Some(place) = places.iter().find(|place| place.join("libseccomp.a").exists()) else {
        println!(
            "cargo:warning=libseccomp.a not found; install it (Debian: apt-get install \
             libseccomp-dev) or set LIBSECCOMP_LIB_PATH to its directory"
        );
        std::process::exit(1);
    };
    println!("cargo:rustc-link-search=native={}", place.display());
    println!("cargo:rustc-link-lib=static=seccomp");
}
