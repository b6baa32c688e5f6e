//! Clients: they connect, ask, and hear.

use super::*;

impl World {
    /// A client's handshake; what it comes to is heard by the new connection.
    pub(super) fn connect(&mut self, server: i64, session: SessionId) -> ConnId {
        self.connect_as(server, session, Some(false))
    }

    pub(super) fn connect_as(
        &mut self,
        server: i64,
        session: SessionId,
        read_only: Option<bool>,
    ) -> ConnId {
        self.conns_made += 1;
        let conn = ConnId(self.conns_made);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 6000,
            session,
            password: Some(Bytes::copy_from_slice(&password_of(session))),
            read_only,
        };
        let submission = Submission::Connect { conn, request };
        self.step(ServerId(server), Input::Submitted(submission));
        self.run(0);
        conn
    }

    pub(super) fn new_session(&mut self, server: i64) -> (ConnId, SessionId) {
        let conn = self.connect(server, SessionId::NONE);
        match self.heard.get(&conn).and_then(|heard| heard.last()) {
            Some(Heard::Connected(session)) => (conn, *session),
            other => panic!("no session: {other:?}"),
        }
    }

    pub(super) fn ask(
        &mut self,
        server: i64,
        conn: ConnId,
        session: SessionId,
        xid: i32,
        request: Request,
    ) {
        self.submit(server, conn, session, xid, request);
        self.run(0);
    }

    pub(super) fn submit(
        &mut self,
        server: i64,
        conn: ConnId,
        session: SessionId,
        xid: i32,
        request: Request,
    ) {
        let request = ClientRequest {
            conn,
            session,
            xid,
            body: WriteBody::Request(request),
            ids: self
                .ids
                .iter()
                .cloned()
                .chain([Id::new("ip", "127.0.0.1")])
                .collect(),
        };
        let submission = Submission::Write(request);
        self.step(ServerId(server), Input::Submitted(submission));
    }

    pub(super) fn last_heard(&self, conn: ConnId) -> Option<&Heard> {
        self.heard.get(&conn)?.last()
    }
}
