//! Connecting to servers, whose names are looked up each time: one may come back with another address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::replica::ensemble::HostPort;

/// How long the first of several addresses may be silent before the next is tried beside it.
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of a host's addresses that answers.
pub(super) async fn connect(host: HostPort, timeout: Duration) -> io::Result<TcpStream> {
    let attempts = resolve(&host)
        .await?
        .into_iter()
        .map(move |addr| async move {
            tokio::time::timeout(timeout, TcpStream::connect(addr))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        });
    first_of(attempts, STAGGER).await
}

/// Looks a host up. There is no limit in time but the resolver's own, so that nobody asks again before it has answered.
pub(super) async fn resolve(host: &HostPort) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, host.port)]);
    }
    Ok(tokio::net::lookup_host((host.host.as_str(), host.port))
        .await?
        .collect())
}

/// Makes attempts until one succeeds: the next starts when one has failed, or `stagger` after the one before it. The
/// others are dropped.
///
/// # Errors
/// What the first one failed with, if all fail.
pub(super) async fn first_of<T, F>(
    attempts: impl IntoIterator<Item = F>,
    stagger: Duration,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut waiting = attempts.into_iter().peekable();
    let mut running = JoinSet::new();
    let mut first_error = None;
    loop {
        if let Some(attempt) = waiting.next() {
            running.spawn(attempt);
        }
        let ended = if waiting.peek().is_some() {
            match tokio::time::timeout(stagger, running.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        } else {
            running.join_next().await
        };
        match ended {
            Some(Ok(Ok(value))) => return Ok(value),
            Some(Ok(Err(error))) => _ = first_error.get_or_insert(error),
            Some(Err(error)) => _ = first_error.get_or_insert(io::Error::other(error)),
            None => {
                let nothing = || io::Error::new(io::ErrorKind::NotFound, "there is no address");
                return Err(first_error.unwrap_or_else(nothing));
            }
        }
    }
}

/// Sets what all connections between servers have set.
pub(super) fn prepare(stream: &TcpStream, keep_alive: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if keep_alive {
        SockRef::from(stream).set_keepalive(true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    async fn after(delay: Duration, what: io::Result<u8>) -> io::Result<u8> {
        tokio::time::sleep(delay).await;
        what
    }

    fn failed() -> io::Result<u8> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    #[test]
    fn the_first_success_wins_and_failures_do_not_cost_the_wait() {
        const LONG: Duration = Duration::from_secs(600);
        for (attempts, stagger) in [
            // A failure starts the next at once.
            (vec![(0, failed()), (0, Ok(7))], LONG),
            // Silence starts the next a little later.
            (vec![(600, Ok(1)), (0, Ok(7))], Duration::from_millis(5)),
            // All at once.
            (
                vec![(600, Ok(1)), (0, Ok(7)), (600, failed())],
                Duration::ZERO,
            ),
            // The failure of a later one does not end the earlier one.
            (
                vec![(0, failed()), (1, Ok(7)), (0, failed())],
                Duration::ZERO,
            ),
        ] {
            let began = Instant::now();
            let attempts = attempts
                .into_iter()
                .map(|(seconds, what)| after(Duration::from_secs(seconds), what));
            assert_eq!(block_on(first_of(attempts, stagger)).unwrap(), 7);
            assert!(began.elapsed() < Duration::from_secs(60));
        }
    }

    #[test]
    fn if_all_fail_the_first_error_is_told() {
        let attempts = [
            after(Duration::ZERO, failed()),
            after(Duration::ZERO, Err(io::ErrorKind::TimedOut.into())),
        ];
        let error = block_on(first_of(attempts, STAGGER)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let none: [std::future::Ready<io::Result<u8>>; 0] = [];
        let error = block_on(first_of(none, STAGGER)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn literals_are_taken_as_they_are_and_names_are_looked_up() {
        for (host, expected) in [
            ("127.0.0.1", "127.0.0.1:7"),
            ("::1", "[::1]:7"),
            ("localhost", "127.0.0.1:7"),
        ] {
            let host = HostPort {
                host: host.to_owned(),
                port: 7,
            };
            let found = block_on(resolve(&host)).unwrap();
            assert!(found.contains(&expected.parse().unwrap()), "{found:?}");
        }
    }
}
