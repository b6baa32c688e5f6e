// Says whether recorded histories of znodes are linearizable, by the checker porcupine.
//
//	linearizability [-timeout 60s] [-picture FILE] HISTORY...
//
// A history is lines of JSON, one operation each; those of several files make one history. Each znode
// is a register with a version. The exit code is 0 if all are linearizable, 1 if one is not, 2 if a
// history cannot be read, 3 if the checker found no answer in time.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is a line of a history.
type operation struct {
	// Numbers of clients need not differ between files.
	Client int    `json:"client"`
	Key    string `json:"key"`
	// read, write (whatever the version) or cas (if the version is `If`).
	Op string `json:"op"`
	If int32  `json:"if"`
	// What a write wrote, or a read found.
	Value string `json:"value"`
	// The version after the write, or with the value.
	Version int32 `json:"version"`
	// done, refused (the version was another) or unknown (no answer: it may happen at any later time).
	Outcome string `json:"outcome"`
	// Nanoseconds of one clock for all clients.
	Call   int64 `json:"call"`
	Return int64 `json:"return"`

	file int
}

func main() {
	timeout := flag.Duration("timeout", time.Minute, "how long to look for an order, for each register")
	picture := flag.String("picture", "", "an HTML file for the first register that is not linearizable")
	flag.Parse()
	histories := map[string][]operation{}
	count, unknown := 0, 0
	for index, path := range flag.Args() {
		operations, err := load(path)
		if err != nil {
			fmt.Printf("%s: %v\n", path, err)
			os.Exit(2)
		}
		for _, op := range operations {
			count++
			if op.Outcome == "unknown" {
				unknown++
			}
			op.file = index
			histories[op.Key] = append(histories[op.Key], op)
		}
	}
	keys := []string{}
	for key := range histories {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	code := 0
	for _, key := range keys {
		entries, told := entries(histories[key])
		model := register(told)
		result, info := porcupine.CheckOperationsVerbose(model, entries, *timeout)
		switch result {
		case porcupine.Ok:
			continue
		case porcupine.Illegal:
			fmt.Printf("%s is not linearizable\n", key)
			if code != 1 && *picture != "" {
				if err := porcupine.VisualizePath(model, info, *picture); err != nil {
					fmt.Printf("%s: %v\n", *picture, err)
				}
			}
			code = 1
		case porcupine.Unknown:
			fmt.Printf("%s: no answer within %v\n", key, *timeout)
			if code == 0 {
				code = 3
			}
		}
	}
	fmt.Printf("%d operations on %d registers, %d without an answer\n", count, len(keys), unknown)
	os.Exit(code)
}

// load reads a file; a line that is no operation is an error.
func load(path string) ([]operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	operations := []operation{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		var op operation
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			return nil, fmt.Errorf("line %d: %v", number, err)
		}
		if err := op.check(); err != nil {
			return nil, fmt.Errorf("line %d: %v", number, err)
		}
		operations = append(operations, op)
	}
	return operations, lines.Err()
}

// check finds what would make the model say yes to anything.
func (op *operation) check() error {
	known := map[string]map[string]bool{
		"read":  {"done": true},
		"write": {"done": true, "unknown": true},
		"cas":   {"done": true, "refused": true, "unknown": true},
	}
	if !known[op.Op][op.Outcome] {
		return fmt.Errorf("a %q that is %q", op.Op, op.Outcome)
	}
	if op.Key == "" || op.Call <= 0 || (op.Outcome != "unknown" && op.Return < op.Call) {
		return fmt.Errorf("no register, or no time")
	}
	return nil
}

// entries are the operations of a register as the checker takes them, without what cannot matter: the
// search for an order takes longer with every write that may happen at any time. With them come the
// versions that anyone was told of.
func entries(operations []operation) ([]porcupine.Operation, map[int32]bool) {
	// Who first read a value; values are written once.
	seen, told := map[string]operation{}, map[int32]bool{0: true}
	newest := int32(0)
	for _, op := range operations {
		if op.Outcome != "done" {
			continue
		}
		told[op.Version] = true
		if op.Version > newest {
			newest = op.Version
		}
		first, found := seen[op.Value]
		if op.Op == "read" && (!found || op.Return < first.Return) {
			seen[op.Value] = op
		}
	}
	// Whether a write may be that of a version which nobody was told of. If not, it came after all that
	// anyone was told of, or never.
	matters := func(op operation) bool {
		if op.Op == "cas" {
			return op.If < newest && !told[op.If+1]
		}
		return len(told) <= int(newest)
	}
	result := []porcupine.Operation{}
	for _, op := range operations {
		if op.Outcome == "unknown" {
			op.Return = math.MaxInt64
			if read, found := seen[op.Value]; found {
				// It was done, before that read ended and with that version.
				op.Outcome, op.Version, op.Return = "done", read.Version, read.Return
			} else if !matters(op) {
				continue
			}
		}
		if op.Return < op.Call {
			// Read before it was written: no order can have that.
			op.Return = op.Call
		}
		result = append(result, porcupine.Operation{
			ClientId: op.file<<16 | op.Client,
			Input:    op,
			Call:     op.Call,
			Output:   op,
			Return:   op.Return,
		})
	}
	return result, told
}

// state is what a register holds. A new one holds "0" with version 0.
type state struct {
	version int32
	value   string
}

// register says what a znode may answer, given the versions that anyone was told of: what a write without
// an answer made was none of those.
func register(told map[int32]bool) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return state{0, "0"} },
		Step: func(before, input, _ interface{}) (bool, interface{}) {
			op := input.(operation)
			fits, after := step(before.(state), op)
			made := op.Outcome == "unknown" && after != before.(state)
			return fits && !(made && told[after.version]), after
		},
		DescribeOperation: func(input, _ interface{}) string {
			op := input.(operation)
			switch op.Op {
			case "read":
				return fmt.Sprintf("read %s v%d", op.Value, op.Version)
			case "cas":
				return fmt.Sprintf("if v%d write %s: %s v%d", op.If, op.Value, op.Outcome, op.Version)
			default:
				return fmt.Sprintf("write %s: %s v%d", op.Value, op.Outcome, op.Version)
			}
		},
		DescribeState: func(now interface{}) string {
			return fmt.Sprintf("%s v%d", now.(state).value, now.(state).version)
		},
	}
}

func step(now state, op operation) (bool, state) {
	if op.Op == "read" {
		return now == state{op.Version, op.Value}, now
	}
	next := state{now.version + 1, op.Value}
	fits := op.Op == "write" || op.If == now.version
	switch op.Outcome {
	case "done":
		return fits && op.Version == next.version, next
	case "refused":
		return !fits, now
	}
	// Without an answer: a compare and set may have been refused.
	if fits {
		return true, next
	}
	return true, now
}
