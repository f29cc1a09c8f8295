use std::time::Duration;

use super::*;

fn shown(hosts: &[Endpoint]) -> Vec<String> {
    hosts.iter().map(|h| format!("{:?} {}{}", h.scheme, h.authority, h.path)).collect()
}

fn default_for(registry: &str, asked: Asked) -> Vec<String> {
    shown(&find("", registry, asked).unwrap())
}

fn configured(folder: &str, text: &str, registry: &str) -> Vec<Endpoint> {
    let scratch = stowd_testing::scratch::Scratch::new();
    let root = scratch.folder("certs.d");
    std::fs::create_dir_all(root.join(folder)).unwrap();
    std::fs::write(root.join(folder).join("hosts.toml"), text).unwrap();
    find(root.to_str().unwrap(), registry, Asked::default()).unwrap()
}

#[test]
fn defaults_are_containerds() {
    let plain = Asked { plain_http: true, ..Asked::default() };
    assert_eq!(default_for("docker.io", Asked::default()), ["Https registry-1.docker.io/v2"]);
    assert_eq!(default_for("quay.io", Asked::default()), ["Https quay.io/v2"]);
    assert_eq!(default_for("quay.io", plain), ["Http quay.io/v2"]);
    assert_eq!(default_for("localhost", Asked::default()), ["Https localhost/v2"]);
    assert_eq!(
        default_for("localhost:5000", Asked::default()),
        ["HttpsThenHttp localhost:5000/v2"]
    );
    assert_eq!(default_for("127.0.0.1:80", Asked::default()), ["Http 127.0.0.1:80/v2"]);
    assert_eq!(default_for("localhost:5000", plain), ["Http localhost:5000/v2"]);
    let unchecked = Asked { skip_verify: true, ..Asked::default() };
    assert_eq!(find("", "quay.io", unchecked).unwrap()[0].tls.skip_verify, Some(true));
}

#[test]
fn reads_hosts_in_their_order() {
    let text = r#"
        server = "https://upstream.example"

        [host."https://zeta.example"]
          capabilities = ["pull", "resolve"]
          ca = "zeta.crt"
          [host."https://zeta.example".header]
            x-team = ["red", "blue"]

        [host."http://alpha.example:8080/cache"]
          skip_verify = true
          dial_timeout = "1m30s"

        [host."beta.example/raw"]
          override_path = true
          client = [["c.crt", "/k.key"], "both.pem"]
    "#;
    let hosts = configured("a.example", text, "a.example");
    assert_eq!(
        shown(&hosts),
        [
            "Https zeta.example/v2",
            "HttpsThenHttp alpha.example:8080/cache/v2",
            "Https beta.example/raw",
            "Https upstream.example/v2",
        ]
    );
    assert!(!hosts[0].capabilities.has(Capabilities::PUSH));
    assert!(hosts[0].capabilities.has(Capabilities::PULL.with(Capabilities::RESOLVE)));
    assert!(hosts[0].tls.authorities[0].ends_with("a.example/zeta.crt"));
    assert_eq!(hosts[0].headers.len(), 2);
    assert_eq!(hosts[1].dial_timeout, Some(Duration::from_secs(90)));
    assert_eq!(hosts[2].tls.identities.len(), 2);
    assert_eq!(hosts[2].tls.identities[0].1.as_deref(), Some(Path::new("/k.key")));
    assert!(hosts[3].is_mirror_of("a.example"));
}

#[test]
fn finds_the_folder() {
    let text = "[host.\"https://mirror.example\"]\n";
    for folder in ["a.example_5000_", "a.example:5000", "_default"] {
        let hosts = configured(folder, text, "a.example:5000");
        assert_eq!(shown(&hosts), ["Https mirror.example/v2", "Https a.example:5000/v2"]);
    }
    assert_eq!(shown(&configured("b.example", text, "a.example")), ["Https a.example/v2"]);
}

#[test]
fn passes_over_what_it_does_not_understand() {
    for text in ["server = ", "server = 1", "capabilities = [\"fly\"]", "dial_timeout = \"soon\""] {
        assert_eq!(shown(&configured("_default", text, "a.example")), ["Https a.example/v2"]);
    }
}

#[test]
fn reads_dockers_certificates() {
    let scratch = stowd_testing::scratch::Scratch::new();
    let root = scratch.folder("certs.d");
    let folder = root.join("a.example");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["ca.crt", "us.cert", "us.key", "other.cert", "readme"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let hosts = find(root.to_str().unwrap(), "a.example", Asked::default()).unwrap();
    assert_eq!(shown(&hosts), ["Https a.example/v2"]);
    assert_eq!(hosts[0].tls.authorities, [folder.join("ca.crt")]);
    assert_eq!(
        hosts[0].tls.identities,
        [(folder.join("other.cert"), None), (folder.join("us.cert"), Some(folder.join("us.key"))),]
    );
}
