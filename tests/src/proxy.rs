//! A network between clients and a server that can be cut: nothing passes then, and nobody is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

/// How soon a cut, its end and the end of all are noticed.
const GLANCE: Duration = Duration::from_millis(5);

/// An address that leads to a server's, until it is cut. It goes with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_cut: AtomicBool,
    is_over: AtomicBool,
}

impl Proxy {
    /// Leads to `server`.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Shared::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while !shared.is_over() {
                match listener.accept() {
                    Ok((client, _)) => {
                        let shared = Arc::clone(&shared);
                        thread::spawn(move || shared.join(client, server));
                    }
                    Err(_) => sleep(GLANCE),
                }
            }
        });
        Ok(Self { address, state })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes, in neither direction. What is sent meanwhile comes when it is mended, as it would
    /// be sent again.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
    }

    /// Ends a cut.
    pub fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Waits while it is cut; says whether it goes on.
    fn passes(&self) -> bool {
        while self.is_cut.load(Ordering::SeqCst) && !self.is_over() {
            sleep(GLANCE);
        }
        !self.is_over()
    }

    fn join(self: Arc<Self>, client: TcpStream, server: SocketAddr) {
        if !self.passes() {
            return;
        }
        let Ok(server) = TcpStream::connect(server) else {
            return;
        };
        let (Ok(client_out), Ok(server_out)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let shared = Arc::clone(&self);
        thread::spawn(move || shared.carry(server, client_out));
        self.carry(client, server_out);
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        from.set_nonblocking(false).ok();
        from.set_read_timeout(Some(GLANCE * 4)).ok();
        let mut chunk = [0; 16 << 10];
        while !self.is_over() {
            let length = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            if !self.passes() || to.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        // An end is not told through a cut, either.
        self.passes();
        // Both fail when the other direction has ended it.
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }
}
