package main

import (
	"fmt"

	"github.com/go-zookeeper/zk"
	. "zabd.dev/interop/harness"
)

// connected opens a session with an identity.
func connected(scheme, id string) *zk.Conn {
	conn, _ := Connect(timeout, nil)
	if scheme != "" {
		Ok(conn.AddAuth(scheme, []byte(id)), "add auth")
	}
	return conn
}

// aclDigest: each permission alone opens what it names, and nothing else.
func aclDigest(conn *zk.Conn) {
	user := connected("digest", "user:password")
	defer user.Close()
	wrong := connected("digest", "user:guess")
	defer wrong.Close()
	for _, perms := range []int32{zk.PermRead, zk.PermWrite, zk.PermCreate, zk.PermDelete, zk.PermAdmin} {
		path := fmt.Sprintf("/acl-%d", perms)
		acl := append(zk.DigestACL(perms, "user", "password"), zk.DigestACL(zk.PermAll, "owner", "x")...)
		_, err := conn.Create(path, nil, 0, acl)
		Ok(err, "create")
		Is(attempt(conn, path, zk.PermRead), zk.ErrNoAuth, "without identity")
		Is(attempt(wrong, path, zk.PermRead), zk.ErrNoAuth, "with a wrong password")
		for _, wanted := range []int32{zk.PermRead, zk.PermWrite, zk.PermCreate} {
			err := attempt(user, path, wanted)
			if wanted == perms {
				Ok(err, fmt.Sprintf("permission %d for %d", perms, wanted))
			} else {
				Is(err, zk.ErrNoAuth, fmt.Sprintf("permission %d for %d", perms, wanted))
			}
		}
		// Deleting a child is the parent's permission; the child was made by PermCreate above.
		if perms == zk.PermDelete || perms == zk.PermCreate {
			owner := connected("digest", "owner:x")
			_, err := owner.Create(path+"/victim", nil, 0, world)
			Ok(err, "create")
			owner.Close()
			err = user.Delete(path+"/victim", -1)
			if perms == zk.PermDelete {
				Ok(err, "delete")
			} else {
				Is(err, zk.ErrNoAuth, "delete")
			}
		}
		_, err = user.SetACL(path, world, -1)
		if perms == zk.PermAdmin {
			Ok(err, "set acl")
			Ok(attempt(conn, path, zk.PermWrite), "after the acl was opened")
		} else {
			Is(err, zk.ErrNoAuth, "set acl")
		}
	}
}

// attempt does what needs one permission.
func attempt(conn *zk.Conn, path string, perm int32) error {
	var err error
	switch perm {
	case zk.PermRead:
		_, _, err = conn.Get(path)
	case zk.PermWrite:
		_, err = conn.Set(path, []byte("x"), -1)
	case zk.PermCreate:
		_, err = conn.Create(path+"/kid-", nil, zk.FlagSequence, world)
	}
	return err
}

// aclAuthIds: `auth` stands for the identities of the creating session.
func aclAuthIds() {
	user := connected("digest", "me:secret")
	defer user.Close()
	_, err := user.Create("/acl-auth", nil, 0, zk.AuthACL(zk.PermAll))
	Ok(err, "create")
	acl, stat, err := user.GetACL("/acl-auth")
	Ok(err, "get acl")
	Equal(stat.Aversion, 0, "aversion")
	Equal(len(acl), 1, "entries")
	Equal(acl[0], zk.DigestACL(zk.PermAll, "me", "secret")[0], "entry")
	nobody := connected("", "")
	defer nobody.Close()
	_, err = nobody.Create("/acl-auth2", nil, 0, zk.AuthACL(zk.PermAll))
	Is(err, zk.ErrInvalidACL, "auth without an identity")
	_, _, err = nobody.GetACL("/acl-auth")
	Is(err, zk.ErrNoAuth, "get acl")
	stat, err = user.SetACL("/acl-auth", zk.WorldACL(zk.PermRead), 0)
	Ok(err, "set acl")
	Equal(stat.Aversion, 1, "aversion")
	_, _, err = nobody.Get("/acl-auth")
	Ok(err, "get")
	_, err = nobody.Set("/acl-auth", nil, -1)
	Is(err, zk.ErrNoAuth, "set")
}

// aclIP: addresses and networks.
func aclIP(conn *zk.Conn) {
	for id, allowed := range map[string]bool{
		"127.0.0.1": true, "127.0.0.0/8": true, "10.0.0.0/8": false, "127.0.0.2": false,
	} {
		path := fmt.Sprintf("/acl-ip-%t-%d", allowed, len(id))
		_, err := conn.Create(path, nil, 0, []zk.ACL{{Perms: zk.PermAll, Scheme: "ip", ID: id}})
		Ok(err, "create for "+id)
		_, _, err = conn.Get(path)
		if allowed {
			Ok(err, "get for "+id)
		} else {
			Is(err, zk.ErrNoAuth, "get for "+id)
		}
	}
	_, err := conn.Create("/acl-ip-bad", nil, 0, []zk.ACL{{Perms: zk.PermAll, Scheme: "ip", ID: "nowhere"}})
	Is(err, zk.ErrInvalidACL, "create for a name")
}

// aclSuper: the configured super digest passes every acl.
func aclSuper(conn *zk.Conn) {
	_, err := conn.Create("/acl-super", []byte("x"), 0, zk.DigestACL(zk.PermRead, "nobody", "x"))
	Ok(err, "create")
	root := connected("digest", "super:super-secret")
	defer root.Close()
	_, err = root.Set("/acl-super", []byte("y"), -1)
	Ok(err, "set as super")
	impostor := connected("digest", "super:guess")
	defer impostor.Close()
	_, err = impostor.Set("/acl-super", []byte("z"), -1)
	Is(err, zk.ErrNoAuth, "set as an impostor")
}
