package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

// data: one znode through its life, with every field of its Stat.
func data(conn, other *zk.Conn) {
	Equal(create(conn, "/data", "one", 0), "/data", "path")
	value, first, err := conn.Get("/data")
	Ok(err, "get")
	Equal(string(value), "one", "value")
	Equal(first.Version, 0, "version")
	Equal(first.Aversion, 0, "aversion")
	Equal(first.Cversion, 0, "cversion")
	Equal(first.EphemeralOwner, 0, "owner")
	Equal(first.DataLength, 3, "length")
	Equal(first.Mzxid, first.Czxid, "mzxid")
	Equal(first.Pzxid, first.Czxid, "pzxid")
	Equal(first.Mtime, first.Ctime, "mtime")
	if age := time.Now().UnixMilli() - first.Ctime; age < -60_000 || age > 60_000 {
		Fatalf("ctime is %d ms away", age)
	}

	second, err := conn.Set("/data", []byte("second"), 0)
	Ok(err, "set")
	Equal(second.Version, 1, "version after set")
	Equal(second.Czxid, first.Czxid, "czxid after set")
	Equal(second.Mzxid, first.Mzxid+1, "mzxid after set")
	Equal(second.Pzxid, first.Pzxid, "pzxid after set")
	Equal(second.DataLength, 6, "length after set")

	create(conn, "/data/kid", "", 0)
	_, third, err := conn.Get("/data")
	Ok(err, "get")
	Equal(third.NumChildren, 1, "children")
	Equal(third.Cversion, 1, "cversion with a child")
	Equal(third.Pzxid, second.Mzxid+1, "pzxid with a child")
	Equal(third.Mzxid, second.Mzxid, "mzxid with a child")

	_, err = other.Sync("/data")
	Ok(err, "sync")
	exists, stat, err := other.Exists("/data")
	Ok(err, "exists")
	Equal(exists, true, "exists")
	Equal(*stat, *third, "stat seen by another session")

	Ok(conn.Delete("/data/kid", -1), "delete kid")
	_, fourth, err := conn.Get("/data")
	Ok(err, "get")
	Equal(fourth.Cversion, 2, "cversion after the child went")
	Equal(fourth.NumChildren, 0, "children after the child went")
	Ok(conn.Delete("/data", 1), "delete")
	exists, _, err = conn.Exists("/data")
	Ok(err, "exists")
	Equal(exists, false, "exists after delete")

	create(conn, "/ünïcödé ☃", "snow", 0)
	value, _, err = other.Get("/ünïcödé ☃")
	Ok(err, "get unicode")
	Equal(string(value), "snow", "value under a unicode name")
}

// errorCodes: what fails, and how.
func errorCodes(conn *zk.Conn) {
	create(conn, "/errors", "", 0)
	create(conn, "/errors/kid", "", 0)
	create(conn, "/errors/e", "", zk.FlagEphemeral)
	_, err := conn.Create("/errors", nil, 0, world)
	Is(err, zk.ErrNodeExists, "create again")
	_, err = conn.Create("/errors/a/b", nil, 0, world)
	Is(err, zk.ErrNoNode, "create without a parent")
	_, err = conn.Create("/errors/e/kid", nil, 0, world)
	Is(err, zk.ErrNoChildrenForEphemerals, "create under an ephemeral")
	_, err = conn.Create("/errors/x", nil, 0, nil)
	Is(err, zk.ErrInvalidACL, "create without an acl")
	_, err = conn.Create("/errors/x", nil, 0, []zk.ACL{{Perms: 31, Scheme: "nonesuch", ID: "x"}})
	Is(err, zk.ErrInvalidACL, "create with an unknown scheme")
	_, _, err = conn.Get("/errors/none")
	Is(err, zk.ErrNoNode, "get of nothing")
	_, err = conn.Set("/errors", nil, 7)
	Is(err, zk.ErrBadVersion, "set with a wrong version")
	Is(conn.Delete("/errors", -1), zk.ErrNotEmpty, "delete with children")
	Is(conn.Delete("/errors/kid", 7), zk.ErrBadVersion, "delete with a wrong version")
	Is(conn.Delete("/errors/none", -1), zk.ErrNoNode, "delete of nothing")
	_, _, err = conn.Children("/errors/none")
	Is(err, zk.ErrNoNode, "children of nothing")
	_, err = conn.SetACL("/errors", world, 7)
	Is(err, zk.ErrBadVersion, "set acl with a wrong version")
	if err := conn.Delete("/zookeeper", -1); err == nil {
		Fatalf("/zookeeper could be deleted")
	}
	if err := conn.Delete("/zookeeper/config", -1); err == nil {
		Fatalf("/zookeeper/config could be deleted")
	}
}

// sequence: ten digits, from the parent's count of created children, never given twice.
func sequence(conn *zk.Conn) {
	create(conn, "/seq", "", 0)
	for i := 0; i < 5; i++ {
		path := create(conn, "/seq/n-", "", zk.FlagSequence)
		Equal(path, fmt.Sprintf("/seq/n-%010d", i), "path")
	}
	Ok(conn.Delete("/seq/n-0000000004", -1), "delete the last")
	create(conn, "/seq/plain", "", 0)
	// Deleting does not give a number back, and a child without one counts too.
	path := create(conn, "/seq/n-", "", zk.FlagSequence)
	Equal(path, "/seq/n-0000000006", "path after a delete and a plain child")
	path = create(conn, "/seq/e-", "", zk.FlagSequence|zk.FlagEphemeral)
	Equal(path, "/seq/e-0000000007", "ephemeral path")
	_, stat, err := conn.Get(path)
	Ok(err, "get")
	Equal(stat.EphemeralOwner, conn.SessionID(), "owner")
}

// large: a megabyte less a header is taken; more closes the connection, not the session.
func large() {
	conn, _, err := zk.Connect([]string{Address()}, timeout, zk.WithLogger(Quiet{}),
		zk.WithMaxConnBufferSize(4<<20))
	Ok(err, "connect")
	defer conn.Close()
	body := bytes.Repeat([]byte("x"), 1_000_000)
	_, err = conn.Create("/large", body, 0, world)
	Ok(err, "create of 1 MB")
	value, _, err := conn.Get("/large")
	Ok(err, "get of 1 MB")
	Equal(bytes.Equal(value, body), true, "the megabyte came back whole")
	session := conn.SessionID()
	_, err = conn.Set("/large", bytes.Repeat([]byte("y"), 1_100_000), -1)
	Is(err, zk.ErrConnectionClosed, "set of more than jute.maxbuffer")
	Eventually(10*second, "session again", func() bool { return conn.State() == zk.StateHasSession })
	Equal(conn.SessionID(), session, "session")
	value, stat, err := conn.Get("/large")
	Ok(err, "get")
	Equal(stat.Version, 0, "version")
	Equal(bytes.Equal(value, body), true, "the refused value left no trace")
	Ok(conn.Delete("/large", -1), "delete")
}

// many: pipelined creates of one session are answered in order and all listed.
func many(conn *zk.Conn) {
	create(conn, "/many", "", 0)
	const count = 2000
	problems := make(chan error, count)
	for i := 0; i < count; i++ {
		go func(i int) {
			_, err := conn.Create(fmt.Sprintf("/many/%04d", i), []byte(fmt.Sprint(i)), 0, world)
			problems <- err
		}(i)
	}
	for i := 0; i < count; i++ {
		Ok(<-problems, "create")
	}
	children, stat, err := conn.Children("/many")
	Ok(err, "children")
	Equal(len(children), count, "number of names")
	Equal(stat.NumChildren, count, "numChildren")
	Equal(stat.Cversion, count, "cversion")
	seen := map[string]bool{}
	for _, name := range children {
		seen[name] = true
	}
	for i := 0; i < count; i++ {
		Equal(seen[fmt.Sprintf("%04d", i)], true, "each name listed")
	}
}

// multi: several changes at one zxid.
func multi(conn *zk.Conn) {
	create(conn, "/multi", "", 0)
	create(conn, "/multi/gone", "", 0)
	results, err := conn.Multi(
		&zk.CheckVersionRequest{Path: "/multi", Version: 0},
		&zk.CreateRequest{Path: "/multi/a", Data: []byte("a"), Acl: world},
		&zk.CreateRequest{Path: "/multi/a/s-", Acl: world, Flags: zk.FlagSequence},
		&zk.SetDataRequest{Path: "/multi/a", Data: []byte("b"), Version: 0},
		&zk.DeleteRequest{Path: "/multi/gone", Version: -1},
	)
	Ok(err, "multi")
	Equal(len(results), 5, "results")
	Equal(results[1].String, "/multi/a", "created")
	Equal(results[2].String, "/multi/a/s-0000000000", "created with a number")
	Equal(results[3].Stat.Version, 1, "version in the multi")
	value, stat, err := conn.Get("/multi/a")
	Ok(err, "get")
	Equal(string(value), "b", "value")
	Equal(stat.Czxid, stat.Mzxid, "one zxid for all")
	_, seq, err := conn.Get("/multi/a/s-0000000000")
	Ok(err, "get")
	Equal(seq.Czxid, stat.Czxid, "one zxid for all")
	exists, _, err := conn.Exists("/multi/gone")
	Ok(err, "exists")
	Equal(exists, false, "deleted")
}

// multiRollback: one refusal undoes everything, and each result says what it was.
func multiRollback(conn *zk.Conn) {
	create(conn, "/rollback", "old", 0)
	_, before, err := conn.Get("/rollback")
	Ok(err, "get")
	results, err := conn.Multi(
		&zk.SetDataRequest{Path: "/rollback", Data: []byte("new"), Version: -1},
		&zk.CreateRequest{Path: "/rollback/kid", Acl: world},
		&zk.DeleteRequest{Path: "/rollback/none", Version: -1},
		&zk.CreateRequest{Path: "/rollback/late", Acl: world},
	)
	Is(err, zk.ErrNoNode, "multi")
	Equal(len(results), 4, "results")
	Is(results[0].Error, nil, "before the refusal")
	Is(results[1].Error, nil, "before the refusal")
	Is(results[2].Error, zk.ErrNoNode, "the refusal")
	if results[3].Error == nil || errors.Is(results[3].Error, zk.ErrNoNode) {
		Fatalf("after the refusal: %v", results[3].Error)
	}
	value, after, err := conn.Get("/rollback")
	Ok(err, "get")
	Equal(string(value), "old", "value")
	Equal(*after, *before, "stat")
	children, _, err := conn.Children("/rollback")
	Ok(err, "children")
	Equal(strings.Join(children, ","), "", "children")
}

// container: stays while it was never used, goes after its last child.
func container(conn *zk.Conn) {
	for _, path := range []string{"/container", "/container-unused"} {
		_, err := conn.CreateContainer(path, nil, zk.FlagContainer, world)
		Ok(err, "create "+path)
	}
	create(conn, "/container/kid", "", 0)
	Ok(conn.Delete("/container/kid", -1), "delete the child")
	Eventually(15*second, "empty container removed", func() bool {
		exists, _, err := conn.Exists("/container")
		Ok(err, "exists")
		return !exists
	})
	exists, stat, err := conn.Exists("/container-unused")
	Ok(err, "exists")
	Equal(exists, true, "a container that never had a child stays")
	Equal(stat.EphemeralOwner, 0, "owner")
}

// ttl: goes when it was not changed for its time, not while it has a child.
func ttl(conn *zk.Conn) {
	for _, path := range []string{"/ttl", "/ttl-parent", "/ttl-long"} {
		lifetime := 500 * time.Millisecond
		if path == "/ttl-long" {
			lifetime = time.Hour
		}
		_, err := conn.CreateTTL(path, []byte("x"), zk.FlagTTL, world, lifetime)
		Ok(err, "create "+path)
	}
	create(conn, "/ttl-parent/kid", "", 0)
	Eventually(15*second, "node removed after its ttl", func() bool {
		exists, _, err := conn.Exists("/ttl")
		Ok(err, "exists")
		return !exists
	})
	for _, path := range []string{"/ttl-parent", "/ttl-long"} {
		exists, _, err := conn.Exists(path)
		Ok(err, "exists")
		Equal(exists, true, path+" stays")
	}
	Ok(conn.Delete("/ttl-parent/kid", -1), "delete the child")
	Eventually(15*second, "parent removed once it has no child", func() bool {
		exists, _, err := conn.Exists("/ttl-parent")
		Ok(err, "exists")
		return !exists
	})
}

// reconfig: refused unless it was enabled.
func reconfig(conn *zk.Conn) {
	_, err := conn.IncrementalReconfig([]string{"server.9=127.0.0.1:1:2;3"}, nil, -1)
	Is(err, zk.ErrReconfigDisabled, "reconfig")
	config, _, err := conn.Get("/zookeeper/config")
	Ok(err, "get /zookeeper/config")
	Equal(string(config), Members(), "config")
}
