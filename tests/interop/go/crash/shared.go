package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

// shared is what the sessions of one phase know together.
type shared struct {
	root string
	quit chan struct{}

	mutex sync.Mutex
	// Paths of sequential znodes that were acknowledged: none is ever given twice.
	sequential map[string]bool
	// Sequential creates without an answer.
	sequentialUnknown int
	// Increments of the counter: acknowledged, and without an answer.
	counted, countUnknown int
	// The highest value of the counter that any session has read or was told.
	counterSeen int
	// Writes in flight at a restart, and those of them that turned out to be done.
	unknown, unknownDone int
	violations           []string
}

// violate records that a guarantee was broken; the phase ends soon after.
func (s *shared) violate(format string, arguments ...interface{}) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, arguments...))
}

// healthy says whether all guarantees hold so far.
func (s *shared) healthy() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.violations) == 0
}

// verdict lists the first broken guarantees, or is empty.
func (s *shared) verdict() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.violations) == 0 {
		return ""
	}
	first := s.violations
	if len(first) > 5 {
		first = first[:5]
	}
	return fmt.Sprintf("%d violations: %s", len(s.violations), strings.Join(first, "; "))
}

// resolved counts a write whose fate was looked up.
func (s *shared) resolved(done bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.unknown++
	if done {
		s.unknownDone++
	}
}

// sawCounter records a value of the counter that a session was shown.
func (s *shared) sawCounter(value int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if value > s.counterSeen {
		s.counterSeen = value
	}
}

// audit compares the whole tree with what the sessions know. Returns the acknowledged writes.
func (s *shared) audit(conn *zk.Conn, group []*worker) int {
	total := len(s.sequential) + s.counted
	for _, w := range group {
		total += w.acknowledged
		w.audit(conn)
	}

	names, _, err := conn.Children(s.root + "/seq")
	Ok(err, "children")
	present := map[string]bool{}
	for _, name := range names {
		present[s.root+"/seq/"+name] = true
	}
	for path := range s.sequential {
		Equal(present[path], true, "acknowledged "+path+" present")
	}
	if extra := len(names) - len(s.sequential); extra > s.sequentialUnknown {
		Fatalf("%d sequential znodes too many, %d were in flight", extra, s.sequentialUnknown)
	}

	data, stat, err := conn.Get(s.root + "/counter")
	Ok(err, "get counter")
	value, err := strconv.Atoi(string(data))
	Ok(err, "parse counter")
	Equal(int(stat.Version), value, "version of the counter")
	if value < s.counted || value > s.counted+s.countUnknown {
		Fatalf("counter is %d with %d acknowledged and %d unknown increments", value, s.counted,
			s.countUnknown)
	}
	if value < s.counterSeen {
		Fatalf("counter is %d, a session had seen %d", value, s.counterSeen)
	}
	return total
}
