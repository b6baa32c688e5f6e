#![allow(missing_docs, unused)]
use crate::replica::ensemble::{Configs, ServerId};
use jute_codec::Zxid;
#[derive(Debug)]
pub struct ElectionParams {
    pub me: ServerId,
    pub is_observer: bool,
    pub finalize_wait_ms: i64,
    pub min_interval_ms: i64,
    pub max_interval_ms: i64,
}
#[derive(Debug)]
pub struct Candidacy {
    pub zxid: Zxid,
    pub peer_epoch: i64,
}
#[derive(Debug, Clone, Copy)]
pub struct Vote {
    pub leader: ServerId,
    pub zxid: Zxid,
    pub election_epoch: i64,
    pub peer_epoch: i64,
}
#[derive(Debug)]
pub enum ElectionEffect {
    Notify {
        to: ServerId,
        notification: jute_codec::quorum::Notification,
    },
    ConnectAll,
    Elected {
        vote: Vote,
    },
}
#[derive(Debug)]
pub struct Election;
impl Election {
    pub fn new(params: ElectionParams) -> Self {
        Self
    }
    pub fn begin(
        &mut self,
        now_ms: i64,
        candidacy: Candidacy,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
    }
    pub fn on_notification(
        &mut self,
        now_ms: i64,
        from: ServerId,
        notification: &jute_codec::quorum::Notification,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
    }
    pub fn wakeup(
        &mut self,
        now_ms: i64,
        delivered: bool,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
    }
    pub fn deadline(&self) -> i64 {
        0
    }
    pub fn set_established(&mut self, epoch: i64) {}
}
