package main

import (
	"fmt"
	"math/rand"
	"strconv"
	"time"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

// worker is one session, which knows exactly what its own part of the tree must look like.
type worker struct {
	shared    *shared
	conn      *zk.Conn
	random    *rand.Rand
	root      string
	ephemeral string
	session   int64

	// Versions count the writes: the value of each znode is its version in decimal.
	version, pair int32
	files         []string
	nextFile      int
	lastZxid      int64
	acknowledged  int
}

// newWorker opens the session and makes its part of the tree.
func newWorker(shared *shared, index int, seed int64) *worker {
	conn, _ := Connect(sessionTimeout, nil)
	w := &worker{
		shared:    shared,
		conn:      conn,
		random:    rand.New(rand.NewSource(seed)),
		root:      fmt.Sprintf("%s/w%d", shared.root, index),
		ephemeral: fmt.Sprintf("%s/eph/w%d", shared.root, index),
		session:   conn.SessionID(),
	}
	for _, path := range []string{w.root, w.root + "/value", w.root + "/a", w.root + "/b", w.root + "/files"} {
		_, err := conn.Create(path, []byte("0"), 0, world)
		Ok(err, "create "+path)
	}
	_, err := conn.Create(w.ephemeral, nil, zk.FlagEphemeral, world)
	Ok(err, "create "+w.ephemeral)
	return w
}

// run writes until the phase ends or a guarantee is broken.
func (w *worker) run() {
	for w.shared.healthy() {
		select {
		case <-w.shared.quit:
			return
		default:
		}
		switch choice := w.random.Intn(100); {
		case choice < 55:
			w.set()
		case choice < 65:
			w.setPair()
		case choice < 77:
			w.create(1)
		case choice < 78:
			w.create(10)
		case choice < 90:
			w.delete()
		case choice < 95:
			w.count()
		case choice < 99:
			w.sequence()
		default:
			w.checkSession()
		}
	}
}

// lost says whether an error leaves open if the write was done. Other errors are violations.
func (w *worker) lost(err error, doing string) bool {
	if err == zk.ErrConnectionClosed || err == zk.ErrNoServer {
		return true
	}
	w.shared.violate("%s: %v", doing, err)
	return false
}

// settled repeats a read until it is answered, on the same session. False if that was impossible.
func (w *worker) settled(read func() error) bool {
	deadline := time.Now().Add(reconnectTime)
	for {
		err := read()
		if err == nil {
			w.checkSameSession()
			return true
		}
		if err != zk.ErrConnectionClosed && err != zk.ErrNoServer {
			w.shared.violate("read after a restart: %v", err)
			return false
		}
		if time.Now().After(deadline) {
			w.shared.violate("%s: no connection within %v", w.root, reconnectTime)
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *worker) checkSameSession() {
	if now := w.conn.SessionID(); now != w.session && now != 0 {
		w.shared.violate("%s: session 0x%x became 0x%x", w.root, w.session, now)
	}
}

// checkSession: the session is the one it was, and its ephemeral is there.
func (w *worker) checkSession() {
	var exists bool
	var stat *zk.Stat
	if !w.settled(func() (err error) {
		exists, stat, err = w.conn.Exists(w.ephemeral)
		return err
	}) {
		return
	}
	if !exists {
		w.shared.violate("%s is gone although its session lives", w.ephemeral)
	} else if stat.EphemeralOwner != w.session {
		w.shared.violate("%s belongs to 0x%x, not 0x%x", w.ephemeral, stat.EphemeralOwner, w.session)
	}
}

// advanced checks that zxids only grow.
func (w *worker) advanced(zxid int64) {
	if zxid <= w.lastZxid {
		w.shared.violate("%s: zxid 0x%x after 0x%x", w.root, zxid, w.lastZxid)
	}
	w.lastZxid = zxid
}

// settle finds out whether the change of a znode from `old` to `old + 1` was done.
func (w *worker) settle(path string, old int32) (int32, bool) {
	var data []byte
	var stat *zk.Stat
	if !w.settled(func() (err error) {
		data, stat, err = w.conn.Get(path)
		return err
	}) {
		return old, false
	}
	if stat.Version != old && stat.Version != old+1 {
		w.shared.violate("%s has version %d, known were %d and one in flight", path, stat.Version, old)
	}
	if string(data) != strconv.Itoa(int(stat.Version)) {
		w.shared.violate("%s holds %q at version %d", path, data, stat.Version)
	}
	return stat.Version, true
}

// set changes one znode if it has the version that this session knows.
func (w *worker) set() {
	path := w.root + "/value"
	stat, err := w.conn.Set(path, []byte(strconv.Itoa(int(w.version)+1)), w.version)
	if err == nil {
		w.acknowledged++
		w.advanced(stat.Mzxid)
		w.version++
		if stat.Version != w.version {
			w.shared.violate("%s was set to version %d instead of %d", path, stat.Version, w.version)
		}
	} else if w.lost(err, "set "+path) {
		if version, ok := w.settle(path, w.version); ok {
			w.shared.resolved(version != w.version)
			w.version = version
		}
	}
}

// setPair changes two znodes in one multi: both or neither.
func (w *worker) setPair() {
	data := []byte(strconv.Itoa(int(w.pair) + 1))
	_, err := w.conn.Multi(
		&zk.SetDataRequest{Path: w.root + "/a", Data: data, Version: w.pair},
		&zk.SetDataRequest{Path: w.root + "/b", Data: data, Version: w.pair},
	)
	if err == nil {
		w.acknowledged++
		w.pair++
	} else if w.lost(err, "multi on "+w.root) {
		a, first := w.settle(w.root+"/a", w.pair)
		b, second := w.settle(w.root+"/b", w.pair)
		if first && second {
			if a != b {
				w.shared.violate("half a multi: %s/a is at %d, b at %d", w.root, a, b)
			}
			w.shared.resolved(a != w.pair)
			w.pair = a
		}
	}
}

// create makes files, several of them without waiting for the answers in between.
func (w *worker) create(count int) {
	type outcome struct {
		path string
		err  error
	}
	outcomes := make(chan outcome, count)
	for i := 0; i < count; i++ {
		path := fmt.Sprintf("%s/files/%d", w.root, w.nextFile)
		w.nextFile++
		go func() {
			_, err := w.conn.Create(path, []byte(path), 0, world)
			outcomes <- outcome{path, err}
		}()
	}
	for i := 0; i < count; i++ {
		done := <-outcomes
		if done.err == nil {
			w.acknowledged++
			w.files = append(w.files, done.path)
		} else if w.lost(done.err, "create "+done.path) {
			if exists, ok := w.exists(done.path); ok {
				w.shared.resolved(exists)
				if exists {
					w.files = append(w.files, done.path)
				}
			}
		}
	}
}

func (w *worker) exists(path string) (exists, ok bool) {
	ok = w.settled(func() (err error) {
		exists, _, err = w.conn.Exists(path)
		return err
	})
	return exists, ok
}

// delete removes one of the files.
func (w *worker) delete() {
	if len(w.files) == 0 {
		return
	}
	index := w.random.Intn(len(w.files))
	path := w.files[index]
	err := w.conn.Delete(path, 0)
	gone := err == nil
	if gone {
		w.acknowledged++
	} else if w.lost(err, "delete "+path) {
		exists, ok := w.exists(path)
		if !ok {
			return
		}
		w.shared.resolved(!exists)
		gone = !exists
	}
	if gone {
		w.files[index] = w.files[len(w.files)-1]
		w.files = w.files[:len(w.files)-1]
	}
}

// count increments the counter that all sessions share, by compare and set.
func (w *worker) count() {
	path := w.shared.root + "/counter"
	data, stat, err := w.conn.Get(path)
	if err != nil {
		w.lost(err, "get "+path)
		return
	}
	value, err := strconv.Atoi(string(data))
	if err != nil || int(stat.Version) != value {
		w.shared.violate("%s holds %q at version %d", path, data, stat.Version)
		return
	}
	w.shared.sawCounter(value)
	_, err = w.conn.Set(path, []byte(strconv.Itoa(value+1)), stat.Version)
	w.shared.mutex.Lock()
	switch err {
	case nil:
		w.shared.counted++
	case zk.ErrConnectionClosed, zk.ErrNoServer:
		w.shared.countUnknown++
	}
	w.shared.mutex.Unlock()
	if err == nil {
		w.shared.sawCounter(value + 1)
	} else if err != zk.ErrBadVersion {
		w.lost(err, "set "+path)
	}
}

// sequence makes a sequential znode beside those of the other sessions.
func (w *worker) sequence() {
	path, err := w.conn.Create(w.shared.root+"/seq/n-", nil, zk.FlagSequence, world)
	if err != nil {
		if w.lost(err, "create sequential") {
			w.shared.mutex.Lock()
			w.shared.sequentialUnknown++
			w.shared.mutex.Unlock()
		}
		return
	}
	w.shared.mutex.Lock()
	twice := w.shared.sequential[path]
	w.shared.sequential[path] = true
	w.shared.mutex.Unlock()
	if twice {
		w.shared.violate("%s was given twice", path)
	}
}

// audit compares this session's part of the tree with what another session reads.
func (w *worker) audit(conn *zk.Conn) {
	for name, version := range map[string]int32{"/value": w.version, "/a": w.pair, "/b": w.pair} {
		data, stat, err := conn.Get(w.root + name)
		Ok(err, "get "+w.root+name)
		Equal(stat.Version, version, "version of "+w.root+name)
		Equal(string(data), strconv.Itoa(int(version)), "value of "+w.root+name)
	}
	names, stat, err := conn.Children(w.root + "/files")
	Ok(err, "children")
	Equal(int(stat.NumChildren), len(names), "numChildren of "+w.root+"/files")
	present := map[string]bool{}
	for _, name := range names {
		present[w.root+"/files/"+name] = true
	}
	for _, path := range w.files {
		Equal(present[path], true, path+" present")
	}
	Equal(len(names), len(w.files), "number of files of "+w.root)
	if len(w.files) > 0 {
		data, _, err := conn.Get(w.files[0])
		Ok(err, "get "+w.files[0])
		Equal(string(data), w.files[0], "content of a file")
	}
	exists, owner, err := conn.Exists(w.ephemeral)
	Ok(err, "exists "+w.ephemeral)
	Equal(exists, true, w.ephemeral+" present at the end")
	Equal(owner.EphemeralOwner, w.session, "owner of "+w.ephemeral)
}
