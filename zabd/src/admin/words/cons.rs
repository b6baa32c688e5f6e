//! `cons`, and the connections of `stat`.

use std::fmt::Write as _;

use jute_codec::SessionId;

use crate::net::addr::SocketAddress;
use crate::net::client::ConnInfo;

/// The answer to `cons`.
///
/// ZooKeeper: `ConsCommand`.
pub(in crate::admin) fn cons(connections: &[ConnInfo]) -> String {
    let mut text = String::new();
    for info in connections {
        brief(&mut text, info);
        if info.session != SessionId::NONE {
            session(&mut text, info);
        }
        text.push_str(")\n");
    }
    text.push('\n');
    text
}

/// The connections as `stat` shows them, without a line behind.
pub(in crate::admin) fn clients(connections: &[ConnInfo]) -> String {
    let mut text = String::new();
    for info in connections {
        brief(&mut text, info);
        text.push_str(")\n");
    }
    text
}

/// What is shown of every connection, up to the closing parenthesis.
///
/// ZooKeeper: `ServerCnxn.dumpConnectionInfo`.
fn brief(text: &mut String, info: &ConnInfo) {
    let peer = SocketAddress(info.peer);
    let (ops, stats) = (info.interest_ops, &info.stats);
    let (queued, received, sent) = (stats.queued, stats.received, stats.sent);
    append(
        text,
        format_args!(" {peer}[{ops:x}](queued={queued},recved={received},sent={sent}"),
    );
}

fn session(text: &mut String, info: &ConnInfo) {
    let stats = &info.stats;
    let (session, op, established) = (info.session, stats.last_op, info.established_ms);
    append(
        text,
        format_args!(
            ",sid={session},lop={op},est={established},to={}",
            info.timeout_ms
        ),
    );
    if stats.last_cxid >= 0 {
        append(text, format_args!(",lcxid={:#x}", stats.last_cxid));
    }
    let (zxid, response) = (stats.last_zxid, stats.last_response_ms);
    let (last, min) = (stats.last_latency_ms, stats.min_latency_ms);
    let (avg, max) = (stats.avg_latency_ms(), stats.max_latency_ms);
    append(
        text,
        format_args!(
            ",lzxid={zxid:#x},lresp={response},llat={last},minlat={min},avglat={avg},maxlat={max}"
        ),
    );
}

/// Writing to a string does not fail.
pub(super) fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    let result = text.write_fmt(what);
    debug_assert!(result.is_ok(), "writing to a string does not fail");
}

#[cfg(test)]
pub(in crate::admin) mod tests {
    use super::*;
    use crate::net::client::ConnStats;
    use crate::state::conn::ConnId;

    pub(in crate::admin) fn without_session(conn: u64, peer: &str) -> ConnInfo {
        ConnInfo {
            conn: ConnId(conn),
            peer: peer.parse().unwrap(),
            listener: 0,
            established_ms: 1_795_176_425_000,
            session: SessionId::NONE,
            timeout_ms: 0,
            interest_ops: 0,
            idle_deadline_ms: 20_000,
            stats: ConnStats {
                received: 1,
                ..ConnStats::default()
            },
        }
    }

    pub(in crate::admin) fn with_session(conn: u64, peer: &str) -> ConnInfo {
        ConnInfo {
            session: SessionId(0x0100_0014_4984_0000),
            established_ms: 1_795_176_425_635,
            timeout_ms: 10_000,
            interest_ops: 1,
            stats: ConnStats {
                received: 10,
                sent: 10,
                last_op: "EXIS",
                last_cxid: 9,
                last_zxid: 4,
                last_response_ms: 1_358_499,
                max_latency_ms: 6,
                count: 10,
                total_latency_ms: 19,
                ..ConnStats::default()
            },
            ..without_session(conn, peer)
        }
    }

    #[test]
    fn connections_look_like_javas() {
        let all = [
            with_session(1, "127.0.0.1:40796"),
            without_session(2, "[::1]:40822"),
        ];
        assert_eq!(
            cons(&all),
            " /127.0.0.1:40796[1](queued=0,recved=10,sent=10,sid=0x100001449840000,lop=EXIS,\
             est=1795176425635,to=10000,lcxid=0x9,lzxid=0x4,lresp=1358499,llat=0,minlat=0,avglat=1,maxlat=6)\n \
             /[0:0:0:0:0:0:0:1]:40822[0](queued=0,recved=1,sent=0)\n\n"
        );
        assert_eq!(
            clients(&all),
            " /127.0.0.1:40796[1](queued=0,recved=10,sent=10)\n \
             /[0:0:0:0:0:0:0:1]:40822[0](queued=0,recved=1,sent=0)\n"
        );
        assert_eq!(cons(&[]), "\n");
    }

    #[test]
    fn a_session_without_requests_has_no_cxid() {
        let mut info = with_session(1, "127.0.0.1:40796");
        info.stats = ConnStats::default();
        assert_eq!(
            cons(&[info]),
            " /127.0.0.1:40796[1](queued=0,recved=0,sent=0,sid=0x100001449840000,lop=NA,est=1795176425635,\
             to=10000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n\n"
        );
    }
}
