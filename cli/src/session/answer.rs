//! What a client waits for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use jute_codec::proto::Reply;
use tokio::sync::oneshot;

use super::error::Error;
use super::watches::WatchEvent;

/// The reply to a request that was sent.
#[derive(Debug)]
pub struct Answered(pub(super) oneshot::Receiver<Result<Reply, Error>>);

impl Future for Answered {
    type Output = Result<Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
    }
}

/// A change that a single watch waits for. It fires at most once, also for one that happens while the session moves to
/// another server; dropping it ends the wait.
#[derive(Debug)]
pub struct Change(pub(super) oneshot::Receiver<Result<WatchEvent, Error>>);

impl Future for Change {
    type Output = Result<WatchEvent, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let event = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(event.unwrap_or(Err(Error::Closed)))
    }
}
