//! A session that goes from server to server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::ground::{Ground, nanos};
use super::link::{Link, OpenError, Session};

/// The pause after all servers were tried in vain.
const PAUSE: Duration = Duration::from_millis(10);

/// A session, and where it goes next.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    ground: &'a Ground,
    pub(crate) session: Session,
    next_server: usize,
    /// Sessions that were gone when they were attached to again.
    pub(crate) expired: u64,
}

impl<'a> Line<'a> {
    /// A line that begins at a server of its own, so that connections are spread.
    pub(crate) fn new(ground: &'a Ground, connection: u32) -> Self {
        Self {
            ground,
            session: Session::new(ground.session_timeout_ms),
            next_server: usize::try_from(connection).unwrap_or(0),
            expired: 0,
        }
    }

    /// Attaches to the session, or opens one if there is none yet or no more, at the first server that will have it.
    ///
    /// # Errors
    /// When there was none until `until_ns`: the last reason.
    pub(crate) async fn attach(&mut self, until_ns: u64) -> Result<Link, String> {
        let mut tried = 0;
        loop {
            let server = self.server();
            let left = Duration::from_nanos(until_ns.saturating_sub(self.ground.now_ns()));
            // Until the end of time is more than timers can take.
            let patience = self.ground.connect_timeout.min(left);
            let opened = Link::open(
                server,
                &mut self.session,
                &self.ground.credentials,
                patience,
            )
            .await;
            let error = match opened {
                Ok(link) => return Ok(link),
                Err(OpenError::Expired) => {
                    self.expired += 1;
                    self.session = Session::new(self.ground.session_timeout_ms);
                    // The session can be had where it was refused.
                    continue;
                }
                Err(OpenError::Io(error)) => error,
            };
            if self.ground.now_ns() >= until_ns {
                return Err(format!("connect to {server}: {error}"));
            }
            self.next_server += 1;
            tried += 1;
            if tried % self.ground.servers.len() == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    /// Goes to another server the next time.
    pub(crate) fn turn_away(&mut self) {
        self.next_server += 1;
    }

    /// How often a connection has to be looked after.
    pub(crate) fn tick(&self) -> Duration {
        self.session.timeout() / 4
    }

    /// After how many nanoseconds of silence a server is given up.
    pub(crate) fn silence_ns(&self) -> u64 {
        nanos(self.session.timeout() * 2 / 3)
    }

    fn server(&self) -> SocketAddr {
        self.ground.servers[self.next_server % self.ground.servers.len()]
    }
}
