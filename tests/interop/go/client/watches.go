package main

import (
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

// watchData fires once, on a change or on deletion.
func watchData(conn, other *zk.Conn) {
	create(conn, "/wd", "0", 0)
	_, _, events, err := conn.GetW("/wd")
	Ok(err, "get")
	_, err = other.Set("/wd", []byte("1"), -1)
	Ok(err, "set")
	event := next(events, "data changed")
	Equal(event.Type, zk.EventNodeDataChanged, "type")
	Equal(event.Path, "/wd", "path")

	_, _, events, err = conn.GetW("/wd")
	Ok(err, "get")
	create(other, "/wd/kid", "", 0)
	silent(events, "a child is no change of data")
	Ok(other.Delete("/wd/kid", -1), "delete kid")
	Ok(other.Delete("/wd", -1), "delete")
	Equal(next(events, "deleted").Type, zk.EventNodeDeleted, "type")
}

// watchExists fires on creation too.
func watchExists(conn, other *zk.Conn) {
	exists, _, events, err := conn.ExistsW("/we")
	Ok(err, "exists")
	Equal(exists, false, "exists")
	create(other, "/we", "", 0)
	Equal(next(events, "created").Type, zk.EventNodeCreated, "type")
	exists, _, events, err = conn.ExistsW("/we")
	Ok(err, "exists")
	Equal(exists, true, "exists")
	Ok(other.Delete("/we", -1), "delete")
	Equal(next(events, "deleted").Type, zk.EventNodeDeleted, "type")
}

// watchChildren fires when a child comes or goes, not when one changes.
func watchChildren(conn, other *zk.Conn) {
	create(conn, "/wc", "", 0)
	_, _, events, err := conn.ChildrenW("/wc")
	Ok(err, "children")
	_, err = other.Set("/wc", []byte("x"), -1)
	Ok(err, "set")
	silent(events, "data is no child")
	create(other, "/wc/kid", "", 0)
	Equal(next(events, "child created").Type, zk.EventNodeChildrenChanged, "type")
	_, _, events, err = conn.ChildrenW("/wc")
	Ok(err, "children")
	_, err = other.Set("/wc/kid", []byte("x"), -1)
	Ok(err, "set")
	create(other, "/wc/kid/grandkid", "", 0)
	silent(events, "what happens inside a child")
	Ok(other.Delete("/wc/kid/grandkid", -1), "delete")
	Ok(other.Delete("/wc/kid", -1), "delete")
	Equal(next(events, "child deleted").Type, zk.EventNodeChildrenChanged, "type")
	_, _, events, err = conn.ChildrenW("/wc")
	Ok(err, "children")
	Ok(other.Delete("/wc", -1), "delete")
	Equal(next(events, "parent deleted").Type, zk.EventNodeDeleted, "type")
}

// watchOrder: a session never reads a new value before it has got the event that announces it. The
// library hands out events before it decodes the next reply, so an event that the server sent first
// is in the channel when the reply is.
func watchOrder(conn, other *zk.Conn) {
	create(conn, "/order", "0", 0)
	last := 0
	for i := 1; i <= 200; i++ {
		_, _, events, err := conn.GetW("/order")
		Ok(err, "get")
		go func(i int) { _, _ = other.Set("/order", []byte(fmt.Sprint(i)), -1) }(i)
		deadline := time.Now().Add(5 * second)
		for {
			value, _, err := conn.Get("/order")
			Ok(err, "get")
			if string(value) != fmt.Sprint(last) {
				Equal(string(value), fmt.Sprint(i), "value")
				select {
				case event := <-events:
					Equal(event.Type, zk.EventNodeDataChanged, "type")
				default:
					Fatalf("round %d: the new value was read before its event", i)
				}
				break
			}
			if time.Now().After(deadline) {
				Fatalf("round %d: the new value never came", i)
			}
		}
		last = i
	}
}

// watchWhileAway: what changed while the client had no connection is told when it is back.
func watchWhileAway(other *zk.Conn) {
	line := &Line{}
	conn, _ := Connect(timeout, line.Dial)
	defer conn.Close()
	for _, path := range []string{"/away-data", "/away-kids", "/away-gone", "/away-same"} {
		create(other, path, "", 0)
	}
	_, _, data, err := conn.GetW("/away-data")
	Ok(err, "get")
	_, _, kids, err := conn.ChildrenW("/away-kids")
	Ok(err, "children")
	_, _, gone, err := conn.GetW("/away-gone")
	Ok(err, "get")
	_, _, same, err := conn.GetW("/away-same")
	Ok(err, "get")
	_, _, made, err := conn.ExistsW("/away-made")
	Ok(err, "exists")
	session := conn.SessionID()

	line.Cut()
	Eventually(5*second, "disconnected", func() bool { return conn.State() != zk.StateHasSession })
	_, err = other.Set("/away-data", []byte("x"), -1)
	Ok(err, "set")
	create(other, "/away-kids/kid", "", 0)
	Ok(other.Delete("/away-gone", -1), "delete")
	create(other, "/away-made", "", 0)
	line.Join()

	Equal(next(data, "data").Type, zk.EventNodeDataChanged, "data")
	Equal(next(kids, "kids").Type, zk.EventNodeChildrenChanged, "kids")
	Equal(next(gone, "gone").Type, zk.EventNodeDeleted, "gone")
	Equal(next(made, "made").Type, zk.EventNodeCreated, "made")
	Equal(conn.SessionID(), session, "session")
	silent(same, "nothing happened there")
	// The watch that was not due is armed again.
	_, err = other.Set("/away-same", []byte("x"), -1)
	Ok(err, "set")
	Equal(next(same, "same").Type, zk.EventNodeDataChanged, "same")
}
