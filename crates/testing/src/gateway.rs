//! Stands in front of a real registry and makes it harder to talk to.
//!
//! It asks for bearer tokens, which it hands out itself, and can break, delay or falsify answers.
//! What it lets through is answered by the real registry, byte for byte.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::http::Head;

/// What goes wrong, on requests whose path holds the text given with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    CutAfter(u64),
    /// The answer is this status with an empty body.
    Status(u16),
    /// One bit of the body's first byte is wrong.
    FlipBit,
}

/// What a [`Gateway`] does besides passing on.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Asks for a bearer token on `/v2/`, and hands them out at `/token`.
    pub tokens: bool,
    /// The user and password that `/token` wants.
    pub user: Option<(String, String)>,
    /// Faults: text in the path, what happens, and how often.
    pub faults: Vec<(String, Fault, u32)>,
}

/// A listener in front of a registry; ends when dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    address: SocketAddr,
    rules: Mutex<Rules>,
    requests: Mutex<Vec<String>>,
    tokens: AtomicU32,
    stop: AtomicBool,
}

impl Gateway {
    /// Starts listening on loopback in front of `upstream`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(upstream: SocketAddr, rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("the port");
        let shared = Arc::new(Shared {
            upstream,
            address,
            rules: Mutex::new(rules),
            requests: Mutex::default(),
            tokens: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stop.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // A client that breaks off is its own business.
                    let _ = shared.serve(stream);
                });
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Returns where clients connect, as `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns the requests so far, each as `METHOD path`.
    ///
    /// # Panics
    /// When a serving thread panicked.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("serving does not panic").clone()
    }

    /// Returns how many tokens were handed out.
    pub fn tokens(&self) -> u32 {
        self.shared.tokens.load(Ordering::Relaxed)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let Some(head) = Head::read(&mut reader)? else { return Ok(()) };
        let (method, path) = head.request();
        self.requests.lock().expect("nothing panics with it").push(format!("{method} {path}"));
        let rules = self.rules.lock().expect("nothing panics with it").clone();
        if path.starts_with("/token") {
            return self.hand_out(&client, &head, &rules);
        }
        if rules.tokens
            && !head.header("authorization").is_some_and(|it| it.starts_with("Bearer hold-"))
        {
            let challenge = format!(
                "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"hold\",scope=\"{}\"\r\n",
                self.address,
                scope_of(path)
            );
            let body =
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            return answer(&client, "401 Unauthorized", &challenge, body.as_bytes());
        }
        let fault = self.next_fault(path);
        if let Some(Fault::Status(status)) = fault {
            return answer(&client, &format!("{status} Fault"), "", b"");
        }
        self.pass_on(&head, &mut reader, &client, fault)
    }

    fn hand_out(&self, client: &TcpStream, head: &Head, rules: &Rules) -> io::Result<()> {
        if let Some((user, password)) = &rules.user {
            let expected = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
            if head.header("authorization") != Some(&expected) {
                return answer(client, "401 Unauthorized", "", b"{}");
            }
        }
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        let body = format!("{{\"token\":\"hold-{number}\",\"expires_in\":300}}");
        answer(client, "200 OK", "Content-Type: application/json\r\n", body.as_bytes())
    }

    fn next_fault(&self, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().expect("nothing panics with it");
        let (_, fault, left) =
            rules.faults.iter_mut().find(|(text, _, left)| path.contains(text) && *left > 0)?;
        *left -= 1;
        Some(fault.clone())
    }

    fn pass_on(
        &self,
        head: &Head,
        from: &mut BufReader<TcpStream>,
        client: &TcpStream,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        let mut upstream = TcpStream::connect(self.upstream)?;
        let mut request = format!("{}\r\nConnection: close\r\n", head.start);
        for (name, value) in &head.headers {
            if name != "connection" && name != "authorization" {
                request.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        request.push_str("\r\n");
        upstream.write_all(request.as_bytes())?;
        io::copy(&mut from.take(head.content_length().unwrap_or(0)), &mut upstream)?;

        let mut reader = BufReader::new(upstream);
        let Some(answer) = Head::read(&mut reader)? else { return Ok(()) };
        let mut client = client;
        let mut text = format!("{}\r\n", answer.start);
        for (name, value) in &answer.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        client.write_all(text.as_bytes())?;
        match fault {
            Some(Fault::CutAfter(bytes)) => {
                io::copy(&mut reader.take(bytes), &mut client)?;
                client.shutdown(Shutdown::Both)?;
            }
            Some(Fault::FlipBit) => {
                let mut first = [0];
                if reader.read(&mut first)? == 1 {
                    client.write_all(&[first[0] ^ 1])?;
                }
                io::copy(&mut reader, &mut client)?;
            }
            _ => {
                io::copy(&mut reader, &mut client)?;
            }
        }
        Ok(())
    }
}

fn answer(mut client: &TcpStream, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body)
}

/// The scope that a registry asks for on a path: `/v2/NAME/(manifests|blobs)/…`.
fn scope_of(path: &str) -> String {
    let name = path
        .strip_prefix("/v2/")
        .and_then(|rest| rest.find("/manifests/").or(rest.find("/blobs/")).map(|at| &rest[..at]));
    name.map_or_else(String::new, |name| format!("repository:{name}:pull,push"))
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in data.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(word);
        for index in 0..4 {
            if index <= chunk.len() {
                let six = (bits >> (18 - 6 * index)) & 63;
                text.push(char::from(ALPHABET[six as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn the_scope_names_the_repository() {
        assert_eq!(scope_of("/v2/a/b/manifests/latest"), "repository:a/b:pull,push");
        assert_eq!(scope_of("/v2/"), "");
    }
}
