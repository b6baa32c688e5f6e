//! What a reconfig request makes of the membership.
//!
//! ZooKeeper: `PrepRequestProcessor.pRequest2Txn`, the branch of `OpCode.reconfig`; section 16.4 of
//! `quorum-protocol.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jute_codec::proto::ReconfigRequest;
use jute_codec::{ErrorCode, Zxid};

use crate::replica::ensemble::{Configs, Member, Members, MembersError, ServerId, Standalone};

/// What a leader knows when it is asked to change the membership.
#[derive(Debug)]
pub(in crate::replica) struct Membership<'a> {
    /// In force, and proposed.
    pub(in crate::replica) configs: &'a Configs,
    /// Servers that have everything and get everything: this one, and followers, whether they vote or not.
    pub(in crate::replica) synced: BTreeSet<ServerId>,
    /// Whether a single participant would stand alone.
    pub(in crate::replica) standalone: Standalone,
    /// Whether members may have several addresses.
    pub(in crate::replica) multi_address: bool,
}

impl Membership<'_> {
    /// The membership that `request` asks for, made by the transaction `zxid`. Whether it may be asked for is not looked
    /// at.
    ///
    /// # Errors
    /// In this order: another change is under way, the request is meant for another version, it is malformed or leaves
    /// too few that vote, or no quorum of the new membership has everything yet.
    pub(in crate::replica) fn change(
        &self,
        request: &ReconfigRequest,
        zxid: Zxid,
    ) -> Result<Members, ErrorCode> {
        let proposed = &self.configs.proposed;
        if proposed.version() != self.configs.committed.version() {
            return Err(ErrorCode::ReconfigInProgress);
        }
        if request.current_config_id != -1 && request.current_config_id != proposed.version() {
            return Err(ErrorCode::BadVersion);
        }
        let members = match &request.new_members {
            Some(text) => self.whole(text)?,
            None => self.incremental(request)?,
        }
        .with_version(zxid.0);
        self.check(&members)?;
        if !members.is_quorum(&self.synced) {
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        Ok(members)
    }

    /// Java finds some mistakes with an exception that it does not expect; then the answer is another one.
    fn whole(&self, text: &str) -> Result<Members, ErrorCode> {
        let lines = text.replace(',', "\n");
        let members: Members = lines.parse().map_err(|error| match error {
            MembersError::Number { .. } | MembersError::Escape(_) => ErrorCode::MarshallingError,
            _ => ErrorCode::BadArguments,
        })?;
        let voters = members.voters().count();
        let has_observers = members.servers().len() > voters;
        match (voters, self.standalone) {
            (0, Standalone::Disabled) => Err(ErrorCode::MarshallingError),
            (0 | 1, Standalone::Enabled) if has_observers => Err(ErrorCode::MarshallingError),
            _ => Ok(members),
        }
    }

    fn incremental(&self, request: &ReconfigRequest) -> Result<Members, ErrorCode> {
        let proposed = &self.configs.proposed;
        if proposed.groups().is_some() {
            return Err(ErrorCode::BadArguments);
        }
        let mut servers = proposed.servers().clone();
        for leaving in words(request.leaving_servers.as_deref(), ',') {
            servers.remove(&id(leaving)?);
        }
        for joining in words(request.joining_servers.as_deref(), ',') {
            let parts: Vec<&str> = words(Some(joining), '=').collect();
            let [key, value] = parts[..] else {
                return Err(ErrorCode::BadArguments);
            };
            let server = id(key.rsplit_once('.').map_or(key, |(_, id)| id))?;
            let member = Member::parse(value).map_err(|_| ErrorCode::BadArguments)?;
            if member.client.is_none() || collides(&servers, server, &member) {
                return Err(ErrorCode::BadArguments);
            }
            servers.insert(server, member);
        }
        Ok(Members::majority(proposed.version(), servers))
    }

    fn check(&self, members: &Members) -> Result<(), ErrorCode> {
        let voters_min = match self.standalone {
            Standalone::Enabled => 2,
            Standalone::Disabled => 1,
        };
        let has_too_many_addresses =
            |member: &Member| member.addresses.len() > 1 && !self.multi_address;
        if members.voters().count() < voters_min
            || members.check(self.standalone).is_err()
            || members.servers().values().any(has_too_many_addresses)
            // Other numbers stand for observers without a name.
            || members.servers().keys().any(|server| !(0..i64::MAX).contains(&server.0))
        {
            return Err(ErrorCode::BadArguments);
        }
        Ok(())
    }
}

/// As `StringUtils.split` of ZooKeeper: parts without the blanks around them, and none that is empty.
fn words(text: Option<&str>, separator: char) -> impl Iterator<Item = &str> {
    let parts = text.unwrap_or_default().split(separator);
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn id(digits: &str) -> Result<ServerId, ErrorCode> {
    let number = digits.parse().map_err(|_| ErrorCode::MarshallingError)?;
    Ok(ServerId(number))
}

/// Whether another server is reached at an address of this one. Addresses of this machine alone, or of none, do not
/// count, nor do names: ZooKeeper compares what they resolve to at the moment.
///
/// ZooKeeper: `QuorumPeer.QuorumServer.checkAddressDuplicate`.
fn collides(servers: &BTreeMap<ServerId, Member>, joining: ServerId, member: &Member) -> bool {
    let own = endpoints(member);
    servers
        .iter()
        .filter(|(server, _)| **server != joining)
        .any(|(_, other)| !own.is_disjoint(&endpoints(other)))
}

fn endpoints(member: &Member) -> BTreeSet<(String, u16)> {
    let servers = member.addresses.iter().flat_map(|address| {
        [address.quorum_port, address.election_port].map(|port| (&address.host, port))
    });
    let client = member
        .client
        .iter()
        .map(|client| (&client.host, client.port));
    servers
        .chain(client)
        .filter(|(host, _)| match host.parse::<IpAddr>() {
            Ok(address) => !address.is_unspecified() && !address.is_loopback(),
            Err(_) => !host.eq_ignore_ascii_case("localhost"),
        })
        .map(|(host, port)| (host.to_ascii_lowercase(), port))
        .collect()
}

#[cfg(test)]
#[path = "reconfig_tests.rs"]
mod tests;
