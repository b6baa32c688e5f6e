//! The servers with their disks: they start, stop, take inputs, and carry out effects.

use super::*;

impl Server {
    /// What its disk comes to.
    pub(super) fn rebuilt(&self, through: Zxid) -> State {
        let mut state = new_state();
        let altered = self.altered.iter().cloned();
        let logged = self.log.iter().filter(|(zxid, _)| *zxid <= through);
        let logged = logged.map(|(_, txn)| TxnEntry::decode(txn).unwrap());
        for entry in altered.chain(logged) {
            let committed = Committed {
                entry,
                origin: None,
                close: None,
            };
            // A copy that was altered does not come to what the leader had.
            state.apply(&committed, &mut Outputs::default()).ok();
        }
        state
    }
}

impl World {
    pub(super) fn start(&mut self, server: i64) {
        self.start_with(server, Vec::new(), Epochs::default());
    }

    pub(super) fn start_with(&mut self, server: i64, log: Vec<(Zxid, Bytes)>, epochs: Epochs) {
        self.start_perhaps_lacking(server, log, epochs, false);
    }

    pub(super) fn start_perhaps_lacking(
        &mut self,
        server: i64,
        log: Vec<(Zxid, Bytes)>,
        epochs: Epochs,
        may_lack: bool,
    ) {
        let id = ServerId(server);
        let params = ReplicaParams {
            server_id: u8::try_from(server).unwrap(),
            tick_ms: 1000,
            session_timeout_min_ms: 2000,
            local_sessions: self.local_sessions,
            read_only_after_ms: self.read_only_after_ms,
            leader_serves: !self.leaders_only_lead,
            reconfig_enabled: true,
            ..ReplicaParams::default()
        };
        let usual = ZabParams::new(id);
        let zab_params = ZabParams {
            tick_ms: TICK_MS,
            recent_max: 3,
            reconfig_enabled: true,
            counter_max: self.counter_max.unwrap_or(usual.counter_max),
            ..usual
        };
        let mut state = new_state();
        replay(&mut state, &log);
        let recovered = Recovered {
            epochs,
            last: state.last_zxid(),
            recent: Vec::new(),
            may_lack,
        };
        let configs = self.configs_of(id, &state);
        let mut effects = Vec::new();
        let replica = Replica::member(
            params,
            zab_params,
            configs.clone(),
            recovered,
            self.clock(),
            &mut effects,
        );
        let server = Server {
            replica,
            state,
            configs,
            epochs,
            log,
            altered: None,
            diverged: None,
            listens: false,
            serves: false,
            shows: false,
            only_leads: false,
        };
        self.servers.insert(id, server);
        self.carry_out(id, effects);
    }

    /// What the server has stored of the membership, and what its log says of a change.
    pub(super) fn configs_of(&self, id: ServerId, state: &State) -> Configs {
        let stored = self.members.get(&id);
        let configs = stored.map_or_else(configs, |members| Configs::of(Arc::clone(members)));
        configs.with_logged(state.config(), Standalone::Enabled)
    }

    pub(super) fn stop(&mut self, server: i64) -> (Vec<(Zxid, Bytes)>, Epochs) {
        let id = ServerId(server);
        let stopped = self.servers.remove(&id).unwrap();
        self.members.insert(id, stopped.configs.committed);
        self.inputs.retain(|(to, _)| *to != id);
        self.dialing.retain(|(.., (server, _), _)| *server != id);
        let ends: Vec<End> = self
            .links
            .keys()
            .filter(|(server, _)| *server == id)
            .copied()
            .collect();
        for end in ends {
            self.close(end);
        }
        (stopped.log, stopped.epochs)
    }

    pub(super) fn clock(&self) -> Clock {
        Clock {
            monotonic_ms: self.now_ms,
            wall_ms: 1_700_000_000_000 + self.now_ms,
        }
    }

    pub(super) fn tell(&mut self, server: ServerId, input: ZabInput) {
        self.inputs.push_back((server, Input::Peer(input)));
    }

    /// Goes on until nothing is under way and `ms` have passed.
    pub(super) fn run(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        loop {
            if let Some((server, input)) = self.inputs.pop_front() {
                if self.deaf.contains(&server) {
                    self.unheard.push((server, input));
                    continue;
                }
                self.step(server, input);
                continue;
            }
            let dialing = self.dialing.iter().map(|(due_ms, ..)| (*due_ms, None));
            let deadlines = self
                .servers
                .iter()
                .filter(|(id, _)| !self.deaf.contains(id))
                .map(|(id, server)| (server.replica.deadline(), Some(*id)));
            match dialing.chain(deadlines).min() {
                Some((due_ms, who)) if due_ms <= until => {
                    self.now_ms = self.now_ms.max(due_ms);
                    match who {
                        Some(id) => self.wake(id),
                        None => self.redial(),
                    }
                }
                _ => break,
            }
        }
        self.now_ms = until;
    }

    pub(super) fn wake(&mut self, id: ServerId) {
        let wanted = self.servers[&id].replica.about_to_expire(self.clock());
        for (session, conn) in wanted {
            if conn.is_some() && !self.silent.contains(&session) {
                let at_ms = self.now_ms;
                self.step(id, Input::Touched { session, at_ms });
            }
        }
        self.step(id, Input::Wakeup);
    }

    pub(super) fn step(&mut self, id: ServerId, input: Input) {
        let clock = self.clock();
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        let mut effects = Vec::new();
        server
            .replica
            .step(clock, input, &server.state, &mut effects);
        self.carry_out(id, effects);
    }

    pub(super) fn carry_out(&mut self, id: ServerId, effects: Vec<Effect>) {
        let mut outputs = Outputs::default();
        let clock = self.clock();
        for effect in effects {
            let server = self.servers.get_mut(&id).unwrap();
            match effect {
                Effect::Write {
                    write,
                    zxid,
                    payload,
                } => {
                    server.log.push((zxid, payload));
                    self.inputs.push_back((id, Input::Durable(write)));
                }
                Effect::StoreEpochs { write, epochs } => {
                    server.epochs = epochs;
                    self.inputs.push_back((id, Input::Durable(write)));
                }
                Effect::Commit(committed) => {
                    let applied = server.state.apply(&committed, &mut outputs);
                    let epoch = server.replica.zab().unwrap().epochs().accepted;
                    if let Err(mismatch) = applied
                        && mismatch.zxid.epoch() == epoch
                        && server.diverged.is_none()
                    {
                        server.diverged = Some(mismatch);
                        server.serves = false;
                        self.inputs.push_back((id, Input::Peer(ZabInput::Diverged)));
                    }
                }
                Effect::Connected { conn, response } => outputs.connected(conn, &response),
                Effect::CloseConn { conn } => outputs.close(conn),
                Effect::Synced { conn, xid, .. } => {
                    self.heard
                        .entry(conn)
                        .or_default()
                        .push(Heard::Reply { xid, err: 0 });
                }
                Effect::Answered { conn, xid, answer } => {
                    let zxid = server.state.last_zxid();
                    answer.tell(conn, xid, zxid, &mut outputs);
                }
                Effect::Config { text, version } => {
                    server.state.set_config(&text, version, clock.wall_ms)
                }
                Effect::Serve => server.serves = server.diverged.is_none(),
                Effect::ServeReadOnly => server.shows = true,
                Effect::ServeNobody => server.only_leads = true,
                Effect::StopServing => {
                    server.serves = false;
                    server.shows = false;
                    server.only_leads = false;
                    self.sent_away.push(id);
                }
                Effect::Peer(effect) => self.peer(id, effect),
                Effect::Expired { .. } | Effect::QuotaExceeded { .. } => {}
            }
        }
        for (conn, output) in outputs.iter() {
            let heard = match output {
                // The last byte of the answer says so.
                Output::Connected { frame, session, .. }
                    if frame.last() == Some(&1) && session != SessionId::NONE =>
                {
                    Heard::ConnectedReadOnly(session)
                }
                Output::Connected { session, .. } => Heard::Connected(session),
                Output::Event(_) => Heard::Event,
                Output::Close => Heard::Closed,
                Output::Reply(frame) => {
                    let bytes = Bytes::copy_from_slice(&frame[4..]);
                    let header = ReplyHeader::read(&mut Reader::new(&bytes)).unwrap();
                    Heard::Reply {
                        xid: header.xid,
                        err: header.err,
                    }
                }
            };
            self.heard.entry(conn).or_default().push(heard);
        }
    }

    pub(super) fn leader(&self) -> i64 {
        let leads = |server: &Server| {
            server.serves && server.replica.zab().unwrap().role() == Role::Leading
        };
        let mut leaders = self.servers.iter().filter(|(_, server)| leads(server));
        let (leader, _) = leaders.next().expect("somebody leads");
        assert_eq!(leaders.count(), 0, "one leader");
        leader.0
    }

    pub(super) fn followers(&self) -> Vec<i64> {
        let leader = self.leader();
        self.servers
            .keys()
            .map(|id| id.0)
            .filter(|id| *id != leader)
            .collect()
    }

    /// All servers have applied the same, and came to the same tree.
    pub(super) fn assert_in_step(&self) {
        let states: BTreeSet<(Zxid, u64)> = self
            .servers
            .values()
            .map(|server| (server.state.last_zxid(), server.state.digest()))
            .collect();
        assert_eq!(states.len(), 1, "{states:?}");
    }

    pub(super) fn paths(&self, server: i64, session: SessionId) -> Vec<String> {
        let state = &self.servers[&ServerId(server)].state;
        let mut all = state.sessions_with_ephemerals();
        all.find(|(owner, _)| *owner == session)
            .map(|(_, paths)| paths.into_iter().map(|path| path.to_string()).collect())
            .unwrap_or_default()
    }
}

fn replay(state: &mut State, log: &[(Zxid, Bytes)]) {
    for (_, txn) in log {
        let committed = Committed {
            entry: TxnEntry::decode(txn).unwrap(),
            origin: None,
            close: None,
        };
        state.apply(&committed, &mut Outputs::default()).unwrap();
    }
}
