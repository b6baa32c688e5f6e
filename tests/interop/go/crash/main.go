// The crash test: sessions write as fast as they can while the server is killed and started again.
//
// What was acknowledged must be there, what was refused must not, nothing may be half there, and no
// session may be lost: every restart is much shorter than the sessions' timeout. What was in flight
// when the server died is looked up by the same session afterwards, so that at the end the whole
// tree is known exactly.
package main

import (
	"flag"
	"fmt"
	"math/rand"
	"time"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

const (
	workers = 8
	// Long against a restart, so that no session may expire.
	sessionTimeout = 30 * time.Second
	// The client may need this long to find a server that is back: it tries once a second.
	reconnectTime = 25 * time.Second
	// Sessions that lose their client must go after this time.
	abandonedTimeout = 4 * time.Second
)

var world = zk.WorldACL(zk.PermAll)

func main() {
	seed := flag.Int64("seed", time.Now().UnixNano(), "of the random choices")
	killSeconds := flag.Int("kill-seconds", 60, "how long to kill -9 the server")
	termSeconds := flag.Int("term-seconds", 20, "how long to restart it by SIGTERM")
	flag.Parse()
	fmt.Printf("NOTE seed %d\n", *seed)
	for index, phase := range []struct {
		name    string
		stop    string
		seconds int
	}{{"kill", "kill", *killSeconds}, {"term", "stop", *termSeconds}} {
		random := rand.New(rand.NewSource(*seed + int64(index)))
		length := time.Duration(phase.seconds) * time.Second
		Test(phase.name, length+120*time.Second, func() { run(phase.name, phase.stop, length, random) })
	}
	End()
}

// run drives one phase: load, restarts, and the final account.
func run(name, stop string, length time.Duration, random *rand.Rand) {
	root := "/" + name
	setup, _ := Connect(sessionTimeout, nil)
	for _, path := range []string{root, root + "/seq", root + "/counter", root + "/eph"} {
		_, err := setup.Create(path, []byte("0"), 0, world)
		Ok(err, "create "+path)
	}
	shared := &shared{root: root, sequential: map[string]bool{}, quit: make(chan struct{})}
	group := []*worker{}
	for i := 0; i < workers; i++ {
		group = append(group, newWorker(shared, i, random.Int63()))
	}
	ended := make(chan *worker, workers)
	for _, w := range group {
		go func(w *worker) {
			w.run()
			ended <- w
		}(w)
	}
	abandoned := abandon(root)

	restarts, longest := 0, time.Duration(0)
	for began := time.Now(); time.Since(began) < length && shared.healthy(); restarts++ {
		time.Sleep(time.Duration(300+random.Intn(1700)) * time.Millisecond)
		// What a session closed and others saw gone must not come back.
		closed := closedSession(root, restarts)
		Ok(Server(stop), stop)
		down := time.Now()
		time.Sleep(time.Duration(random.Intn(200)) * time.Millisecond)
		Ok(Server("start"), "start")
		if took := time.Since(down); took > longest {
			longest = took
		}
		Eventually(reconnectTime, "setup session again", func() bool {
			return setup.State() == zk.StateHasSession
		})
		exists, _, err := setup.Exists(closed)
		Ok(err, "exists "+closed)
		Equal(exists, false, "ephemeral of a closed session after a restart")
	}
	close(shared.quit)
	for range group {
		select {
		case <-ended:
		case <-time.After(reconnectTime + 10*time.Second):
			Fatalf("a worker did not end; so far: %s", shared.verdict())
		}
	}
	if verdict := shared.verdict(); verdict != "" {
		Fatalf("%s", verdict)
	}

	// Once more with nothing in flight, then the account by a session that has seen nothing.
	Ok(Server("kill"), "kill")
	Ok(Server("start"), "start")
	auditor, _ := Connect(sessionTimeout, nil)
	total := shared.audit(auditor, group)
	Eventually(6*abandonedTimeout, "abandoned sessions expired", func() bool {
		for _, path := range abandoned {
			exists, _, err := auditor.Exists(path)
			Ok(err, "exists "+path)
			if exists {
				return false
			}
		}
		return true
	})
	for _, w := range group {
		// A session without a connection cannot be closed: it would go only with its timeout.
		Eventually(reconnectTime, "a worker's session again", func() bool {
			return w.conn.State() == zk.StateHasSession
		})
		w.conn.Close()
	}
	Eventually(10*time.Second, "ephemerals of closed sessions gone", func() bool {
		left, _, err := auditor.Children(root + "/eph")
		Ok(err, "children")
		return len(left) == 0
	})
	auditor.Close()
	setup.Close()
	if restarts < 3 || total < 1000 {
		Fatalf("too little happened: %d restarts, %d acknowledged writes", restarts, total)
	}
	fmt.Printf("NOTE %s: %d restarts, at most %v down, %d acknowledged writes, %d in flight "+
		"at a restart (%d of them done)\n", name, restarts, longest.Round(time.Millisecond), total,
		shared.unknown, shared.unknownDone)
}

// abandon opens sessions whose clients vanish without a word; their ephemerals must go.
func abandon(root string) []string {
	paths := []string{}
	for i := 0; i < 3; i++ {
		line := &Line{}
		conn, _ := Connect(abandonedTimeout, line.Dial)
		path := fmt.Sprintf("%s/eph/abandoned-%d", root, i)
		_, err := conn.Create(path, nil, zk.FlagEphemeral, world)
		Ok(err, "create "+path)
		line.Cut()
		paths = append(paths, path)
	}
	return paths
}

// closedSession makes an ephemeral, closes its session, and waits until another has seen it gone.
func closedSession(root string, round int) string {
	conn, _ := Connect(sessionTimeout, nil)
	path := fmt.Sprintf("%s/eph/closed-%d", root, round)
	_, err := conn.Create(path, nil, zk.FlagEphemeral, world)
	Ok(err, "create "+path)
	conn.Close()
	witness, _ := Connect(sessionTimeout, nil)
	defer witness.Close()
	Eventually(5*time.Second, "ephemeral gone with its session", func() bool {
		exists, _, err := witness.Exists(path)
		Ok(err, "exists "+path)
		return !exists
	})
	return path
}
