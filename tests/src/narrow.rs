//! A narrow network in front of an address: so many bytes a second in each direction, a round trip,
//! and segments that are lost and sent again, as TCP does it.
//!
//! A lost segment takes its part of the bytes a second each time, and holds up those behind it on
//! its connection until it arrives. It stands in for netem where the kernel has none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ports;

const SEGMENT_BYTES: usize = 1448;
/// Segments that wait in the network, for each connection and direction: a queue of a cheap router.
const QUEUE_SEGMENTS: usize = 16;
/// The least time until TCP sends a segment again, beside the round trip.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// What a network is like.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    pub bytes_per_s: u64,
    pub round_trip: Duration,
    /// Lost segments of a hundred.
    pub lost_percent: u64,
}

/// One direction of the network, shared by its connections.
#[derive(Debug)]
struct Direction {
    narrow: Narrow,
    state: Mutex<(Instant, u64)>,
}

impl Narrow {
    /// Returns the bytes a second that arrive if no sender ever waits for a lost segment.
    pub fn arrives(&self) -> f64 {
        (self.bytes_per_s * (100 - self.lost_percent)) as f64 / 100.0
    }

    /// Sends over one connection without a pause. Returns the bytes a second that arrive: what TCP
    /// gets through, since later segments wait for lost ones.
    pub fn carries(self, duration: Duration) -> f64 {
        let sink = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let target = sink.local_addr().expect("the sink is bound").to_string();
        let address = self.start(move || target.clone());
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("the network listens");
            while stream.write_all(&[0; SEGMENT_BYTES]).is_ok() {}
        });
        let (mut stream, _) = sink.accept().expect("the network connects");
        let mut buffer = [0; SEGMENT_BYTES];
        let mut read = || stream.read(&mut buffer).expect("the sender goes on");
        read();
        let began = Instant::now();
        let mut bytes = 0;
        while began.elapsed() < duration {
            bytes += read();
        }
        bytes as f64 / began.elapsed().as_secs_f64()
    }

    /// Sends a byte now and then, and waits for its echo, over a connection of its own. Returns how
    /// long each took: no request is answered sooner.
    pub fn round_trips(self, duration: Duration, every: Duration) -> Vec<Duration> {
        let echo = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let target = echo.local_addr().expect("the echo is bound").to_string();
        let address = self.start(move || target.clone());
        std::thread::spawn(move || {
            let (mut stream, _) = echo.accept().expect("the network connects");
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        });
        let mut stream = TcpStream::connect(address).expect("the network listens");
        let mut back = stream.try_clone().expect("a second handle");
        let (sender, sent) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed() < duration {
                if sender.send(Instant::now()).is_err() || stream.write_all(&[0]).is_err() {
                    break;
                }
                std::thread::sleep(every);
            }
        });
        let answered = |at: Instant| back.read_exact(&mut [0]).map(|()| at.elapsed());
        sent.into_iter()
            .map(answered)
            .map_while(Result::ok)
            .collect()
    }

    /// Listens on a free port. Connections go to what `target` returns when they are made.
    pub fn start(self, target: impl Fn() -> String + Send + 'static) -> String {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let [up, down] = [1, 2].map(|seed| {
            Arc::new(Direction {
                narrow: self,
                state: Mutex::new((Instant::now(), seed)),
            })
        });
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target()) else {
                    continue;
                };
                for (from, to, direction) in [(&client, &server, &up), (&server, &client, &down)] {
                    drop(from.set_nodelay(true));
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let direction = Arc::clone(direction);
                    let (sender, receiver) = sync_channel(QUEUE_SEGMENTS);
                    std::thread::spawn(move || deliver(to, &receiver));
                    std::thread::spawn(move || direction.take(from, |it| sender.send(it).is_ok()));
                }
            }
        });
        format!("127.0.0.1:{port}")
    }
}

/// A segment, and when it arrives.
type Segment = (Instant, Vec<u8>);

impl Direction {
    fn take(&self, mut from: TcpStream, send: impl Fn(Segment) -> bool) {
        let mut buffer = [0; SEGMENT_BYTES];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 || !send((self.arrival(count), buffer[..count].to_vec())) {
                break;
            }
        }
    }

    /// Returns when a segment arrives that is sent now. Blocks while the network is busy.
    fn arrival(&self, bytes: usize) -> Instant {
        let narrow = self.narrow;
        let took = Duration::from_secs_f64(bytes as f64 / narrow.bytes_per_s as f64);
        let (mut sent, mut late) = (Instant::now(), Duration::ZERO);
        let mut retransmit = narrow.round_trip + RETRANSMIT;
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let (free, random) = &mut *state;
            *free = (*free).max(Instant::now()) + took;
            sent = sent.max(*free);
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            let is_lost = *random % 100 < narrow.lost_percent;
            drop(state);
            if !is_lost {
                break;
            }
            late += retransmit;
            retransmit *= 2;
        }
        std::thread::sleep(sent.saturating_duration_since(Instant::now()));
        sent + narrow.round_trip / 2 + late
    }
}

fn deliver(mut to: TcpStream, segments: &Receiver<Segment>) {
    for (at, bytes) in segments {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    drop(to.shutdown(std::net::Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_all_arrive() {
        let sink = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = sink.local_addr().unwrap().to_string();
        let narrow = Narrow {
            bytes_per_s: 50_000,
            round_trip: Duration::from_millis(100),
            lost_percent: 10,
        };
        let address = narrow.start(move || target.clone());
        let began = Instant::now();
        let sent: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
        let copy = sent.clone();
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&copy).unwrap();
        });
        let (mut stream, _) = sink.accept().unwrap();
        let mut arrived = Vec::new();
        stream.read_to_end(&mut arrived).unwrap();
        assert_eq!(arrived, sent);
        assert!(
            began.elapsed() > Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
    }
}
