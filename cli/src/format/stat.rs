//! The block of lines that a stat prints as.
//!
//! ZooKeeper: `StatPrinter`.

use jute_codec::Stat;

use super::date::date;

/// Eleven lines, the last without its line end.
pub(crate) fn stat_block(stat: &Stat) -> String {
    [
        format!("cZxid = {}", stat.czxid),
        format!("ctime = {}", date(stat.ctime)),
        format!("mZxid = {}", stat.mzxid),
        format!("mtime = {}", date(stat.mtime)),
        format!("pZxid = {}", stat.pzxid),
        format!("cversion = {}", stat.cversion),
        format!("dataVersion = {}", stat.version),
        format!("aclVersion = {}", stat.aversion),
        format!("ephemeralOwner = {:#x}", stat.ephemeral_owner),
        format!("dataLength = {}", stat.data_length),
        format!("numChildren = {}", stat.num_children),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use jute_codec::Zxid;

    use super::*;

    #[test]
    fn a_stat_prints_as_in_the_java_shell() {
        let stat = Stat {
            czxid: Zxid(0x5_0000_0001),
            mzxid: Zxid(-1),
            ephemeral_owner: i64::MIN,
            aversion: -1,
            num_children: 2,
            ..Stat::ZERO
        };
        assert_eq!(
            stat_block(&stat),
            "cZxid = 0x500000001\nctime = Thu Jan 01 00:00:00 UTC 1970\nmZxid = 0xffffffffffffffff\n\
             mtime = Thu Jan 01 00:00:00 UTC 1970\npZxid = 0x0\ncversion = 0\ndataVersion = 0\naclVersion = -1\n\
             ephemeralOwner = 0x8000000000000000\ndataLength = 0\nnumChildren = 2"
        );
    }
}
