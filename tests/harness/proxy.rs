//! A TCP proxy that misbehaves on demand: it delays, holds, cuts and half-closes what passes between clients and one broker.
//!
//! Two threads a connection, one for each direction. What a mode does to a connection, it does to the chunks that come after it; nothing that was taken from one side is dropped unless the connection is cut, so the streams stay whole.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is moved at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// How a proxy treats what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes at once.
    Through,
    /// Every chunk waits for this long.
    Delay(Duration),
    /// Nothing passes, no connection is closed; what came in meanwhile passes afterwards.
    Hold,
    /// New connections are closed at once. Existing ones go on: see [`Proxy::cut`].
    Refuse,
}

/// One connection: the client's side and the broker's.
#[derive(Debug)]
struct Pair {
    client: TcpStream,
    broker: TcpStream,
}

impl Pair {
    fn close(&self) {
        for side in [&self.client, &self.broker] {
            // A side that is closed already is what is wanted.
            let _closed = side.shutdown(Shutdown::Both);
        }
    }
}

#[derive(Debug)]
struct State {
    mode: Mode,
    ended: bool,
    pairs: Vec<Arc<Pair>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a chunk may pass; false when the proxy has ended.
    fn admit(&self) -> bool {
        let mut state = self.state();
        while state.mode == Mode::Hold && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Mode::Delay(delay) = state.mode {
            // A change of mode ends the delay early.
            state = self.changed.wait_timeout(state, delay).unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.ended
    }
}

/// A running proxy; its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on `port` of the loopback (0 for any) and passes connections on to `target` there.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(port: u16, target: u16) -> Result<Self, String> {
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| format!("proxy on port {port}: {error}"))?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let shared = Arc::new(Shared { state: Mutex::new(State { mode: Mode::Through, ended: false, pairs: Vec::new() }), changed: Condvar::new() });
        let own = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, target, &own));
        Ok(Self { shared, port, accepting: Some(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Treats everything from now on by `mode`.
    pub fn set(&self, mode: Mode) {
        self.shared.state().mode = mode;
        self.shared.changed.notify_all();
    }

    /// Cuts every connection there is; how many there were.
    pub fn cut(&self) -> usize {
        let pairs = self.take();
        pairs.iter().for_each(|pair| pair.close());
        pairs.len()
    }

    /// Closes one direction of every connection: of each second one what the client reads, of the others what the broker reads.
    pub fn half_close(&self) -> usize {
        let pairs = self.take();
        for (index, pair) in pairs.iter().enumerate() {
            let side = if index % 2 == 0 { &pair.client } else { &pair.broker };
            // A side that is closed already is what is wanted.
            let _closed = side.shutdown(Shutdown::Write);
        }
        // They stay known, for the other direction may go on for long.
        let count = pairs.len();
        self.shared.state().pairs.extend(pairs);
        count
    }

    /// The connections of which at least one direction is alive.
    fn take(&self) -> Vec<Arc<Pair>> {
        let mut pairs = std::mem::take(&mut self.shared.state().pairs);
        pairs.retain(|pair| Arc::strong_count(pair) > 1);
        pairs
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        self.cut();
        // The accepting thread looks for the end at each connection.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, target: u16, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let (mode, ended) = {
            let state = shared.state();
            (state.mode, state.ended)
        };
        if ended {
            return;
        }
        let Ok(client) = client else { continue };
        // Dropping the client's side closes it: the broker is not there, or must not be.
        let Some(broker) = (mode != Mode::Refuse).then(|| TcpStream::connect(("127.0.0.1", target)).ok()).flatten() else { continue };
        let set = client.set_nodelay(true).and_then(|()| broker.set_nodelay(true));
        if set.is_err() {
            continue;
        }
        let pair = Arc::new(Pair { client, broker });
        let mut state = shared.state();
        state.pairs.retain(|pair| Arc::strong_count(pair) > 1);
        state.pairs.push(Arc::clone(&pair));
        drop(state);
        for from_client in [true, false] {
            let (pair, shared) = (Arc::clone(&pair), Arc::clone(shared));
            std::thread::spawn(move || pump(&pair, from_client, &shared));
        }
    }
}

/// Moves one direction until it is closed.
fn pump(pair: &Pair, from_client: bool, shared: &Shared) {
    let (mut from, mut to) = if from_client { (&pair.client, &pair.broker) } else { (&pair.broker, &pair.client) };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => {
                // The other direction may go on; where it cannot, its own pump sees that.
                let _closed = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) if shared.admit() && to.write_all(&chunk[..count]).is_ok() => {}
            _ => return pair.close(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it reads, and an end of stream for one.
    fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || {
                    let (stream, mut bytes) = (stream.unwrap(), [0; 100]);
                    while let Ok(count @ 1..) = (&stream).read(&mut bytes) {
                        (&stream).write_all(&bytes[..count]).unwrap();
                    }
                });
            }
        });
        port
    }

    fn client(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(mut stream: &TcpStream) -> bool {
        let mut answer = [0; 4];
        stream.write_all(b"ping").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"ping"
    }

    #[test]
    fn what_is_held_passes_afterwards_and_in_order() {
        let proxy = Proxy::start(0, echo()).unwrap();
        let mut stream = client(&proxy);
        assert!(ask(&stream));
        proxy.set(Mode::Hold);
        stream.write_all(b"one two").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut answer = [0; 7];
        assert!(stream.read(&mut answer).is_err());
        proxy.set(Mode::Delay(Duration::from_millis(1)));
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"one two");
    }

    #[test]
    fn a_cut_ends_connections_and_refusing_new_ones_lasts_until_told_otherwise() {
        let proxy = Proxy::start(0, echo()).unwrap();
        let stream = client(&proxy);
        assert!(ask(&stream));
        proxy.set(Mode::Refuse);
        assert!(ask(&stream), "only new connections are refused");
        assert_eq!(proxy.cut(), 1);
        assert!(!ask(&stream) && !ask(&client(&proxy)));
        proxy.set(Mode::Through);
        assert!(ask(&client(&proxy)));
    }

    #[test]
    fn a_half_closed_connection_ends_for_the_reader_only() {
        let proxy = Proxy::start(0, echo()).unwrap();
        let mut stream = client(&proxy);
        assert!(ask(&stream));
        assert_eq!(proxy.half_close(), 1);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        assert!(stream.write_all(b"still taken").is_ok());
    }
}
