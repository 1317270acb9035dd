//! A master made by hand: it answers a slave's handshake as one does, and then says whatever the test wants said.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::{SOON, wait_for};

pub struct HandMaster {
    listener: TcpListener,
    pub port: u16,
}

/// A slave that has asked for a sync.
pub struct HandLink {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Its requests before the last one.
    pub told: Vec<Vec<String>>,
    /// PSYNC or SYNC with its arguments.
    pub asked: Vec<String>,
}

impl HandMaster {
    #[track_caller]
    pub fn listen() -> HandMaster {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binding a port");
        listener.set_nonblocking(true).expect("a listener that can be asked");
        let port = listener.local_addr().expect("the port's address").port();
        HandMaster { listener, port }
    }

    /// Waits for a slave, and answers it up to its PSYNC.
    #[track_caller]
    pub fn accept(&self) -> HandLink {
        let stream = wait_for(SOON, "a slave to connect", || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).expect("a socket that waits");
        stream.set_read_timeout(Some(SOON)).expect("a socket with patience");
        let mut link = HandLink { stream, unread: Vec::new(), told: Vec::new(), asked: Vec::new() };
        loop {
            let words = link.read_request().expect("a slave's handshake");
            match words[0].to_ascii_uppercase().as_str() {
                "PSYNC" | "SYNC" => {
                    link.asked = words;
                    return link;
                }
                "PING" => link.say(b"+PONG\r\n"),
                _ => link.say(b"+OK\r\n"),
            }
            link.told.push(words);
        }
    }
}

impl HandLink {
    /// Says this if the slave still listens.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The value that a REPLCONF option was given, the last one if it came more than once.
    pub fn option(&self, name: &str) -> Option<&[String]> {
        let replconf = self.told.iter().rev().find(|words| words.iter().any(|word| word == name))?;
        let at = replconf.iter().position(|word| word == name)?;
        Some(&replconf[at + 1..])
    }

    /// The slave's next request; signs of life are passed over. `None` when it has closed the link.
    pub fn read_request(&mut self) -> Option<Vec<String>> {
        loop {
            let blank = self.unread.iter().take_while(|byte| **byte == b'\n').count();
            self.unread.drain(..blank);
            if let Some((words, used)) = request(&self.unread) {
                self.unread.drain(..used);
                return Some(words);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
            }
        }
    }
}

/// The request at the front, and its length, if all of it is there.
fn request(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let mut at = 0;
    let mut line = || {
        let end = at + bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[at..end]).expect("a slave's requests are text").to_owned();
        at = end + 2;
        Some(text)
    };
    let count: usize = line()?.strip_prefix('*').expect("a slave's requests are arrays").parse().expect("a count");
    let mut words = Vec::new();
    for _ in 0..count {
        line()?;
        words.push(line()?);
    }
    Some((words, at))
}
