//! A TCP link that changes bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ports;

/// Forwards connections, and changes one byte of so many, each way. Ends with the process.
#[derive(Debug)]
pub struct Noisy {
    port: u16,
    noise: Arc<AtomicU32>,
}

impl Noisy {
    pub fn start(target: &str, noise: u32) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let noise = Arc::new(AtomicU32::new(noise));
        let (target, shared) = (target.to_owned(), Arc::clone(&noise));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let noise = Arc::clone(&shared);
                    std::thread::spawn(move || forward(from, to, &noise));
                }
            }
        });
        Self { port, noise }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Changes one byte of `noise` from now on. 0: none.
    pub fn set(&self, noise: u32) {
        self.noise.store(noise, Ordering::Relaxed);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, noise: &AtomicU32) {
    let mut room = [0; 512];
    let mut random = 1;
    while let Ok(length @ 1..) = from.read(&mut room) {
        for byte in &mut room[..length] {
            change(byte, noise.load(Ordering::Relaxed), &mut random);
        }
        if to.write_all(&room[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// Changes one byte of `noise`, by chance.
pub fn change(byte: &mut u8, noise: u32, random: &mut u64) {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    let drawn = (*random >> 33) as u32;
    if noise > 0 && drawn.is_multiple_of(noise) {
        *byte ^= (drawn >> 16) as u8 | 1;
    }
}
