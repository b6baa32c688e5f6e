package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

// ephemeralClose: closing the session removes its ephemerals, and the watchers hear of it.
func ephemeralClose(conn *zk.Conn) {
	owner, _ := Connect(timeout, nil)
	create(owner, "/eph-close", "", zk.FlagEphemeral)
	exists, stat, events, err := conn.ExistsW("/eph-close")
	Ok(err, "exists")
	Equal(exists, true, "exists")
	Equal(stat.EphemeralOwner, owner.SessionID(), "owner")
	owner.Close()
	Equal(next(events, "deleted").Type, zk.EventNodeDeleted, "type")
}

// ephemeralExpiry: a session that stays away is expired after its timeout and not before.
func ephemeralExpiry(conn *zk.Conn) {
	const lifetime = 3 * second
	line := &Line{}
	owner, events := Connect(lifetime, line.Dial)
	defer owner.Close()
	create(owner, "/eph-expiry", "", zk.FlagEphemeral)
	session := owner.SessionID()
	_, _, gone, err := conn.ExistsW("/eph-expiry")
	Ok(err, "exists")
	line.Cut()
	cut := time.Now()
	select {
	case event := <-gone:
		Equal(event.Type, zk.EventNodeDeleted, "type")
	case <-time.After(20 * second):
		Fatalf("the session was not expired")
	}
	// Its last ping may have been a third of the timeout before the cut.
	if after := time.Since(cut); after < lifetime/2 || after > 3*lifetime {
		Fatalf("expired after %v with a timeout of %v", after, lifetime)
	}
	line.Join()
	deadline := time.After(10 * second)
	for {
		select {
		case event := <-events:
			if event.State != zk.StateExpired {
				continue
			}
		case <-deadline:
			Fatalf("the client was not told that its session expired")
		}
		break
	}
	Eventually(10*second, "a new session", func() bool {
		return owner.State() == zk.StateHasSession && owner.SessionID() != session
	})
}

// reattach: a broken connection costs neither session, ephemerals nor identity.
func reattach(conn *zk.Conn) {
	line := &Line{}
	owner, _ := Connect(timeout, line.Dial)
	defer owner.Close()
	Ok(owner.AddAuth("digest", []byte("re:attach")), "add auth")
	create(owner, "/reattach", "", zk.FlagEphemeral)
	_, err := owner.Create("/reattach-mine", nil, 0, zk.DigestACL(zk.PermAll, "re", "attach"))
	Ok(err, "create")
	session := owner.SessionID()
	for i := 0; i < 5; i++ {
		line.Cut()
		Eventually(5*second, "disconnected", func() bool { return owner.State() != zk.StateHasSession })
		line.Join()
		Eventually(10*second, "set after reconnect", func() bool {
			_, err := owner.Set("/reattach-mine", []byte(fmt.Sprint(i)), int32(i))
			// An attempt to connect from before may end, and refuse what it has not sent, only now.
			if err == zk.ErrNoServer {
				return false
			}
			Ok(err, "set after reconnect")
			return true
		})
		Equal(owner.SessionID(), session, "session")
	}
	exists, stat, err := conn.Exists("/reattach")
	Ok(err, "exists")
	Equal(exists, true, "ephemeral still there")
	Equal(stat.EphemeralOwner, session, "owner")
}

// lock: the library's lock recipe, several sessions, never two holders.
func lock() {
	var holders, rounds int32
	var group sync.WaitGroup
	problems := make(chan string, 100)
	for i := 0; i < 5; i++ {
		conn, _ := Connect(timeout, nil)
		defer conn.Close()
		group.Add(1)
		go func() {
			defer group.Done()
			for round := 0; round < 10; round++ {
				lock := zk.NewLock(conn, "/locks/one", world)
				if err := lock.Lock(); err != nil {
					problems <- fmt.Sprintf("lock: %v", err)
					return
				}
				if atomic.AddInt32(&holders, 1) != 1 {
					problems <- "two holders"
				}
				time.Sleep(2 * time.Millisecond)
				atomic.AddInt32(&rounds, 1)
				atomic.AddInt32(&holders, -1)
				if err := lock.Unlock(); err != nil {
					problems <- fmt.Sprintf("unlock: %v", err)
					return
				}
			}
		}()
	}
	group.Wait()
	select {
	case problem := <-problems:
		Fatalf("%s", problem)
	default:
	}
	Equal(rounds, 50, "times the lock was held")
}

// restart: the server goes and comes back; sessions, ephemerals, identities and watches live on.
func restart(how string) {
	path := "/" + how
	conn, _ := Connect(30*second, nil)
	defer conn.Close()
	other, _ := Connect(30*second, nil)
	defer other.Close()
	Ok(conn.AddAuth("digest", []byte("re:start")), "add auth")
	_, err := conn.Create(path, []byte("0"), 0, zk.DigestACL(zk.PermAll, "re", "start"))
	Ok(err, "create")
	create(conn, path+"-eph", "", zk.FlagEphemeral)
	create(conn, path+"-watched", "", 0)
	_, before, err := conn.Get(path)
	Ok(err, "get")
	_, _, events, err := conn.GetW(path + "-watched")
	Ok(err, "get")
	mine, others := conn.SessionID(), other.SessionID()

	if how == "kill" {
		Ok(Server("kill"), "kill")
		Ok(Server("start"), "start")
	} else {
		Ok(Server(how), how)
	}
	for _, session := range []*zk.Conn{conn, other} {
		session := session
		Eventually(20*second, "session again", func() bool { return session.State() == zk.StateHasSession })
	}
	Equal(conn.SessionID(), mine, "session")
	Equal(other.SessionID(), others, "the other session")
	value, after, err := conn.Get(path)
	Ok(err, "get after restart")
	Equal(string(value), "0", "value after restart")
	Equal(*after, *before, "stat after restart")
	exists, stat, err := other.Exists(path + "-eph")
	Ok(err, "exists")
	Equal(exists, true, "ephemeral after restart")
	Equal(stat.EphemeralOwner, mine, "owner after restart")
	stat, err = conn.Set(path, []byte("1"), 0)
	Ok(err, "set after restart")
	if stat.Mzxid <= before.Mzxid {
		Fatalf("zxid went from %x to %x", before.Mzxid, stat.Mzxid)
	}
	silent(events, "the watch must not fire by itself")
	_, err = other.Set(path+"-watched", []byte("x"), -1)
	Ok(err, "set after restart")
	Equal(next(events, "watch after restart").Type, zk.EventNodeDataChanged, "type")
}
