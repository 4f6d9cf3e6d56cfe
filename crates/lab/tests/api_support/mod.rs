//! A small HTTP client over blocking sockets, so that the API is tested without any client library's own ideas.
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

use serde_json::Value;
use shunt_lab::api::{Api, Handle, Options};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

pub struct Server {
    pub api: Api,
    pub address: SocketAddr,
}

pub fn server(options: Options) -> Server {
    let api = Api::start(options).unwrap();
    let address = api.serve(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    Server { api, address }
}

impl Server {
    pub fn handle(&self) -> Handle {
        self.api.handle()
    }

    /// One request and its whole answer.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let mut answer = Stream::open(self.address, method, path, content_type, body).unwrap();
        let mut text = String::new();
        while let Some(line) = answer.line() {
            text.push_str(&line);
        }
        (answer.code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "", "")
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, "application/json", &body.to_string())
    }

    pub fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("PUT", path, "application/json", &body.to_string())
    }

    pub fn watch(&self, path: &str) -> Stream {
        let watch = Stream::open(self.address, "GET", path, "", "").unwrap();
        assert_eq!(watch.code, 200);
        watch
    }
}

/// An answer as it comes in, line by line.
pub struct Stream {
    pub code: u16,
    reader: BufReader<TcpStream>,
    chunked: bool,
    /// Bytes of a body that is not chunked still to come.
    length: usize,
    held: Vec<u8>,
}

impl Stream {
    pub fn open(
        to: SocketAddr,
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> std::io::Result<Self> {
        let mut socket = TcpStream::connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let content = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len())
        };
        write!(socket, "{method} {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{content}\r\n{body}")?;
        let mut reader = BufReader::new(socket);
        let (mut code, mut chunked, mut length) = (0, false, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if code == 0 {
                code = line.split(' ').nth(1).unwrap().parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line == "transfer-encoding: chunked" {
                chunked = true;
            } else if line.is_empty() {
                return Ok(Self { code, reader, chunked, length, held: Vec::new() });
            }
        }
    }

    /// The next line of the body, or what is left at its end; `None` when it is over or cut.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.held.iter().position(|b| *b == b'\n') {
                let line = self.held.drain(..=at).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if self.more().is_none() {
                let rest = std::mem::take(&mut self.held);
                return Some(String::from_utf8(rest).unwrap()).filter(|r| !r.is_empty());
            }
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut size = std::mem::take(&mut self.length);
        if self.chunked {
            let mut line = String::new();
            self.reader.read_line(&mut line).ok()?;
            size = usize::from_str_radix(line.trim(), 16).ok()?;
        }
        let start = self.held.len();
        self.held.resize(start + size, 0);
        self.reader.read_exact(&mut self.held[start..]).ok()?;
        if self.chunked {
            self.reader.read_line(&mut String::new()).ok()?;
        }
        (size > 0).then_some(())
    }

    /// The next watch event: its type and object.
    pub fn event(&mut self) -> Option<(String, Value)> {
        let mut event: Value = serde_json::from_str(&self.line()?).unwrap();
        Some((event["type"].as_str().unwrap().to_owned(), event["object"].take()))
    }

    /// The next event as `TYPE name`.
    pub fn brief(&mut self) -> String {
        let (what, object) = self.event().expect("the watch goes on");
        format!("{what} {}", object["metadata"]["name"].as_str().unwrap_or_default())
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn service(name: &str, spec: Value) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

pub fn config(name: &str, labels: Value) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": labels}})
}
