//! `Leadership`: an epoch has one leader at the most.

use std::collections::BTreeMap;

use jute_codec::quorum::LeaderPacket;
use zabd::replica::zab::Role;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen, Server};

/// The promise's name.
pub const NAME: &str = "Leadership";

/// Who leads in which epoch.
#[derive(Debug, Default)]
pub struct Leadership {
    leaders: BTreeMap<i64, Server>,
}

impl Checker for Leadership {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        let (epoch, server) = match seen {
            Seen::ToLearner {
                link,
                packet: LeaderPacket::NewLeader { epoch, .. },
            } => (epoch.epoch(), link.leader),
            Seen::Established { server, epoch } if book.of(*server).role == Some(Role::Leading) => {
                (*epoch, *server)
            }
            _ => return Ok(()),
        };
        let first = *self.leaders.entry(epoch).or_insert(server);
        if first != server {
            return broken(
                NAME,
                format!("{first} and {server} both lead in epoch {epoch}"),
            );
        }
        Ok(())
    }
}
