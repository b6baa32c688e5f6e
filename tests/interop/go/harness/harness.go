// Package harness reports results to tests/interop/run.py and asks it to restart the server.
package harness

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

var (
	stdin   = bufio.NewReader(os.Stdin)
	control sync.Mutex
	results int
	failed  bool
)

// failure is what Fatalf panics with.
type failure string

// Address is the server's host:port.
func Address() string { return os.Getenv("ZK_ADDRESS") }

// Members is what /zookeeper/config is to say; a server that stands alone has none.
func Members() string { return os.Getenv("ZK_MEMBERS") }

// Fatalf fails the running test.
func Fatalf(format string, arguments ...interface{}) {
	panic(failure(fmt.Sprintf(format, arguments...)))
}

// Ok fails the running test if err is an error.
func Ok(err error, doing string) {
	if err != nil {
		Fatalf("%s: %v", doing, err)
	}
}

// Is fails the running test unless err is wanted.
func Is(err, wanted error, doing string) {
	if err != wanted {
		Fatalf("%s: error %v, wanted %v", doing, err, wanted)
	}
}

// Equal fails the running test unless the two are equal.
func Equal[T comparable](got, wanted T, what string) {
	if got != wanted {
		Fatalf("%s: %v, wanted %v", what, got, wanted)
	}
}

// Eventually waits until the condition holds.
func Eventually(within time.Duration, what string, condition func() bool) {
	deadline := time.Now().Add(within)
	for !condition() {
		if time.Now().After(deadline) {
			Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Test runs one test and reports it. A test may take at most the given time.
func Test(name string, within time.Duration, body func()) {
	done := make(chan string, 1)
	go func() {
		defer func() {
			switch cause := recover().(type) {
			case nil:
				done <- ""
			case failure:
				done <- string(cause)
			default:
				done <- fmt.Sprintf("panic: %v", cause)
			}
		}()
		body()
	}()
	reason := ""
	select {
	case reason = <-done:
	case <-time.After(within):
		reason = fmt.Sprintf("did not end within %v", within)
	}
	results++
	if reason == "" {
		fmt.Printf("PASS %s\n", name)
	} else {
		failed = true
		fmt.Printf("FAIL %s: %s\n", name, strings.ReplaceAll(reason, "\n", " "))
	}
}

// End reports how many tests there were and exits.
func End() {
	fmt.Printf("END %d\n", results)
	if failed {
		os.Exit(1)
	}
	os.Exit(0)
}

// Server asks the runner to stop, start, kill or restart the server, and waits until that is done.
func Server(action string) error {
	control.Lock()
	defer control.Unlock()
	fmt.Printf("@server %s\n", action)
	answer, err := stdin.ReadString('\n')
	if err != nil {
		return fmt.Errorf("no answer to %s: %w", action, err)
	}
	if strings.TrimSpace(answer) != "ok" {
		return fmt.Errorf("%s: %s", action, strings.TrimSpace(answer))
	}
	return nil
}

// Quiet drops the library's trace.
type Quiet struct{}

// Printf implements zk.Logger.
func (Quiet) Printf(string, ...interface{}) {}

// Connect opens a session and waits until it is established.
func Connect(timeout time.Duration, dialer zk.Dialer) (*zk.Conn, <-chan zk.Event) {
	conn, events, err := Open(timeout, dialer)
	Ok(err, "connect")
	Eventually(10*time.Second, "session established", func() bool {
		return conn.State() == zk.StateHasSession
	})
	return conn, events
}

// Open opens a session without waiting for it.
func Open(timeout time.Duration, dialer zk.Dialer) (*zk.Conn, <-chan zk.Event, error) {
	if dialer == nil {
		return zk.Connect([]string{Address()}, timeout, zk.WithLogger(Quiet{}), zk.WithLogInfo(false))
	}
	return zk.Connect([]string{Address()}, timeout, zk.WithLogger(Quiet{}), zk.WithLogInfo(false),
		zk.WithDialer(dialer))
}
