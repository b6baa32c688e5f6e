//! `envi`.

use std::env;
use std::fs;

use super::cons::append;

/// What stands for what a process has that is no Java virtual machine's.
const NOT_AVAILABLE: &str = "<NA>";

/// The answer to `envi`. Java's keys in Java's order; those about a Java virtual machine have no value. Of the
/// memory, `free` is what the system could still give, `max` what it has and `total` what this process uses.
///
/// ZooKeeper: `EnviCommand`, `Environment.list`.
pub(in crate::admin) fn envi(version: &str) -> String {
    let mut text = String::from("Environment:\n");
    for (key, value) in environment(version) {
        append(&mut text, format_args!("{key}={value}\n"));
    }
    text
}

fn environment(version: &str) -> Vec<(&'static str, String)> {
    let system = rustix::system::uname();
    let user = User::current();
    let shown = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let none = || NOT_AVAILABLE.to_owned();
    vec![
        ("zookeeper.version", version.to_owned()),
        ("host.name", shown(system.nodename())),
        ("java.version", none()),
        ("java.vendor", none()),
        ("java.home", none()),
        ("java.class.path", none()),
        ("java.library.path", none()),
        ("java.io.tmpdir", env::temp_dir().display().to_string()),
        ("java.compiler", none()),
        ("os.name", shown(system.sysname())),
        ("os.arch", java_architecture(env::consts::ARCH).to_owned()),
        ("os.version", shown(system.release())),
        ("user.name", user.name),
        ("user.home", user.home),
        (
            "user.dir",
            env::current_dir().map_or_else(|_| none(), |dir| dir.display().to_string()),
        ),
        (
            "os.memory.free",
            megabytes("/proc/meminfo", "MemAvailable:"),
        ),
        ("os.memory.max", megabytes("/proc/meminfo", "MemTotal:")),
        ("os.memory.total", megabytes("/proc/self/status", "VmRSS:")),
    ]
}

/// What Java calls a processor.
fn java_architecture(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        same => same,
    }
}

/// Who runs this.
struct User {
    name: String,
    home: String,
}

impl User {
    fn current() -> Self {
        let user_id = rustix::process::geteuid().as_raw();
        fs::read_to_string("/etc/passwd")
            .ok()
            .and_then(|passwd| Self::find(&passwd, user_id))
            .unwrap_or_else(|| Self {
                name: "?".to_owned(),
                home: "?".to_owned(),
            })
    }

    /// Finds a user in the text of `/etc/passwd`. One that is kept elsewhere is `?`, as in Java.
    fn find(passwd: &str, user_id: u32) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            let home = fields.nth(2)?;
            (id.parse() == Ok(user_id)).then(|| Self {
                name: name.to_owned(),
                home: home.to_owned(),
            })
        })
    }
}

fn megabytes(file: &str, key: &str) -> String {
    fs::read_to_string(file)
        .ok()
        .and_then(|text| kilobytes(&text, key))
        .map_or_else(
            || NOT_AVAILABLE.to_owned(),
            |kilobytes| format!("{}MB", kilobytes / 1024),
        )
}

/// The number behind a key, in files of `/proc` that count kilobytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys, in order, that `envi` of Apache ZooKeeper 3.9.5 has.
    #[test]
    fn keys_are_javas() {
        let text = envi("3.9.5-x, built on y");
        let keys: Vec<&str> = text
            .lines()
            .map(|line| line.split('=').next().unwrap())
            .collect();
        assert_eq!(
            keys.join(" "),
            "Environment: zookeeper.version host.name java.version java.vendor java.home java.class.path \
             java.library.path java.io.tmpdir java.compiler os.name os.arch os.version user.name user.home user.dir \
             os.memory.free os.memory.max os.memory.total"
        );
        assert!(
            text.starts_with("Environment:\nzookeeper.version=3.9.5-x, built on y\nhost.name=")
        );
        assert!(text.ends_with("MB\n"));
    }

    #[test]
    fn a_user_is_found_by_number() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\nzk:x:1001:1001::/var/lib/zk:/bin/false\nshort:x:7\n";
        let user = User::find(passwd, 1001).unwrap();
        assert_eq!(
            (user.name.as_str(), user.home.as_str()),
            ("zk", "/var/lib/zk")
        );
        assert!(User::find(passwd, 7).is_none());
        assert!(User::find(passwd, 5).is_none());
    }

    #[test]
    fn kilobytes_are_read() {
        let text = "MemTotal:        8036904 kB\nMemFree:         123 kB\n";
        assert_eq!(kilobytes(text, "MemTotal:"), Some(8_036_904));
        assert_eq!(kilobytes(text, "MemAvailable:"), None);
        assert_eq!(kilobytes("MemTotal: many\n", "MemTotal:"), None);
    }
}
