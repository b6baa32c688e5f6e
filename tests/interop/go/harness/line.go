package harness

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Line is a network connection that a test can cut, and hold cut.
type Line struct {
	mutex sync.Mutex
	conn  net.Conn
	down  bool
}

// Dial is the zk.Dialer of this line.
func (line *Line) Dial(network, address string, timeout time.Duration) (net.Conn, error) {
	line.mutex.Lock()
	defer line.mutex.Unlock()
	if line.down {
		return nil, errors.New("the line is cut")
	}
	conn, err := net.DialTimeout(network, address, timeout)
	line.conn = conn
	return conn, err
}

// Cut breaks the connection; the client cannot come back before Join.
func (line *Line) Cut() {
	line.mutex.Lock()
	defer line.mutex.Unlock()
	line.down = true
	if line.conn != nil {
		_ = line.conn.Close()
	}
}

// Join lets the client connect again.
func (line *Line) Join() {
	line.mutex.Lock()
	defer line.mutex.Unlock()
	line.down = false
}
