// The go-zookeeper client against a server: what its users do, with the results that they rely on.
package main

import (
	"time"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

const (
	second  = time.Second
	timeout = 10 * second
)

var world = zk.WorldACL(zk.PermAll)

// create creates a znode, which must succeed.
func create(conn *zk.Conn, path, data string, flags int32) string {
	created, err := conn.Create(path, []byte(data), flags, world)
	Ok(err, "create "+path)
	return created
}

// next waits for an event on a watch.
func next(events <-chan zk.Event, what string) zk.Event {
	select {
	case event := <-events:
		return event
	case <-time.After(5 * second):
		Fatalf("no event: %s", what)
		panic("unreachable")
	}
}

// silent checks that a watch stays silent for a while.
func silent(events <-chan zk.Event, what string) {
	select {
	case event := <-events:
		Fatalf("event %v: %s", event, what)
	case <-time.After(300 * time.Millisecond):
	}
}

func main() {
	conn, _ := Connect(timeout, nil)
	other, _ := Connect(timeout, nil)

	Test("data", 20*second, func() { data(conn, other) })
	Test("errors", 20*second, func() { errorCodes(conn) })
	Test("sequence", 20*second, func() { sequence(conn) })
	Test("large", 30*second, func() { large() })
	Test("many", 60*second, func() { many(conn) })
	Test("multi", 20*second, func() { multi(conn) })
	Test("multi-rollback", 20*second, func() { multiRollback(conn) })
	Test("container", 30*second, func() { container(conn) })
	Test("ttl", 30*second, func() { ttl(conn) })
	Test("reconfig-refused", 20*second, func() { reconfig(conn) })

	Test("watch-data", 20*second, func() { watchData(conn, other) })
	Test("watch-exists", 20*second, func() { watchExists(conn, other) })
	Test("watch-children", 20*second, func() { watchChildren(conn, other) })
	Test("watch-order", 60*second, func() { watchOrder(conn, other) })
	Test("watch-while-away", 30*second, func() { watchWhileAway(other) })

	Test("acl-digest", 30*second, func() { aclDigest(conn) })
	Test("acl-auth-ids", 30*second, func() { aclAuthIds() })
	Test("acl-ip", 30*second, func() { aclIP(conn) })
	Test("acl-super", 30*second, func() { aclSuper(conn) })

	Test("ephemeral-close", 30*second, func() { ephemeralClose(conn) })
	Test("ephemeral-expiry", 60*second, func() { ephemeralExpiry(conn) })
	Test("reattach", 60*second, func() { reattach(conn) })
	Test("lock", 60*second, func() { lock() })

	Test("restart-term", 120*second, func() { restart("restart") })
	Test("restart-kill", 120*second, func() { restart("kill") })

	conn.Close()
	other.Close()
	End()
}
