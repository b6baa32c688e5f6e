//! What requests come to.

use std::sync::Arc;

use jute_codec::Text;

use super::*;

const THREE: &str = "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\n\
                     server.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\n\
                     server.3=10.0.0.3:2888:3888:participant;0.0.0.0:2181\nversion=100000000";

fn configs(text: &str) -> Configs {
    Configs::of(Arc::new(text.parse::<Members>().unwrap()))
}

fn request(joining: Option<&str>, leaving: Option<&str>, whole: Option<&str>) -> ReconfigRequest {
    ReconfigRequest {
        joining_servers: joining.map(Text::from),
        leaving_servers: leaving.map(Text::from),
        new_members: whole.map(Text::from),
        current_config_id: -1,
    }
}

fn change(
    configs: &Configs,
    standalone: Standalone,
    request: &ReconfigRequest,
) -> Result<String, ErrorCode> {
    let membership = Membership {
        configs,
        synced: (1..=4).map(ServerId).collect(),
        standalone,
        multi_address: false,
    };
    let members = membership.change(request, Zxid(0x1_0000_0007))?;
    Ok(members.text().to_string())
}

fn enabled(request: &ReconfigRequest) -> Result<String, ErrorCode> {
    change(&configs(THREE), Standalone::Enabled, request)
}

#[test]
fn members_join_leave_and_change() {
    let lines = |changed: &str| format!("{changed}\nversion=100000007");
    let [one, two, three] =
        [1, 2, 3].map(|id| format!("server.{id}=10.0.0.{id}:2888:3888:participant;0.0.0.0:2181"));
    let observer = "server.3=10.0.0.9:1:2:observer;0.0.0.0:2181";
    for (joining, leaving, expected) in [
        (None, None, format!("{one}\n{two}\n{three}")),
        (Some(""), Some(" ,"), format!("{one}\n{two}\n{three}")),
        (None, Some(" 3 , 77"), format!("{one}\n{two}")),
        (
            Some("server.4 = 10.0.0.4:2888:3888;2181"),
            Some("1"),
            format!("{two}\n{three}\nserver.4=10.0.0.4:2888:3888:participant;0.0.0.0:2181"),
        ),
        // It leaves and comes back as another; the word before the dot is nobody's business.
        (
            Some("x.3=10.0.0.9:1:2:observer;2181"),
            Some("3"),
            format!("{one}\n{two}\n{observer}"),
        ),
        // Names and what is not seen from elsewhere are not compared.
        (
            Some("4=localhost:2888:3888;127.0.0.1:2181"),
            None,
            format!(
                "{one}\n{two}\n{three}\nserver.4=localhost:2888:3888:participant;127.0.0.1:2181"
            ),
        ),
    ] {
        assert_eq!(
            enabled(&request(joining, leaving, None)),
            Ok(lines(&expected)),
            "{joining:?} {leaving:?}"
        );
    }
    let whole = "server.1=a:1:2:participant;1,server.2=b:1:2,server.3=c:1:2,group.1=1:2,group.2=3,version=5";
    let told = "server.1=a:1:2:participant;0.0.0.0:1\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\n\
                group.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=1\nweight.3=1";
    assert_eq!(
        enabled(&request(None, Some("x"), Some(whole))),
        Ok(lines(told))
    );
}

#[test]
fn what_is_refused() {
    use ErrorCode::{BadArguments, MarshallingError, NewConfigNoQuorum};
    use Standalone::{Disabled, Enabled};
    for (standalone, joining, leaving, whole, expected) in [
        (Enabled, None, Some("1,2"), None, BadArguments),
        (Disabled, None, Some("1,2,3"), None, BadArguments),
        (Enabled, None, Some("one"), None, MarshallingError),
        (
            Enabled,
            Some("server.x=h:1:2;3"),
            None,
            None,
            MarshallingError,
        ),
        (Enabled, Some("server.5"), None, None, BadArguments),
        (Enabled, Some("server.5=h:1:2=3"), None, None, BadArguments),
        (Enabled, Some("server.5=h:1:2"), None, None, BadArguments),
        (Enabled, Some("server.5=h:1:1;2"), None, None, BadArguments),
        (Enabled, Some("server.-5=h:1:2;2"), None, None, BadArguments),
        (
            Enabled,
            Some("server.5=h:1:2|i:1:2;2"),
            None,
            None,
            BadArguments,
        ),
        // Reached where server 1 is, or where its clients are.
        (
            Enabled,
            Some("server.5=10.0.0.1:2888:9;2"),
            None,
            None,
            BadArguments,
        ),
        (
            Enabled,
            Some("server.5=10.0.0.1:1:2;10.0.0.1:3888"),
            None,
            None,
            BadArguments,
        ),
        (
            Enabled,
            Some("server.5=h:1:2;3,server.6=i:1:2;3"),
            Some("2,3"),
            None,
            NewConfigNoQuorum,
        ),
        (Enabled, None, None, Some(""), BadArguments),
        (Disabled, None, None, Some(""), MarshallingError),
        (Enabled, None, None, Some("server.1=a:1:2"), BadArguments),
        (
            Enabled,
            None,
            None,
            Some("server.1=a:1:2,server.2=b:1:2:observer"),
            MarshallingError,
        ),
        (
            Enabled,
            None,
            None,
            Some("server.2=b:1:2:observer"),
            MarshallingError,
        ),
        (Enabled, None, None, Some("tickTime=4"), BadArguments),
        (
            Enabled,
            None,
            None,
            Some("server.1=a:1:2,server.2=b:1:2,version=x"),
            MarshallingError,
        ),
        (
            Enabled,
            None,
            None,
            Some("server.1=a:1:2,server.2=b:1:2,group.1=1"),
            BadArguments,
        ),
        (
            Enabled,
            None,
            None,
            Some("server.7=a:1:2,server.8=b:1:2"),
            NewConfigNoQuorum,
        ),
    ] {
        let request = request(joining, leaving, whole);
        let found = change(&configs(THREE), standalone, &request);
        assert_eq!(found, Err(expected), "{request:?}");
    }
    assert!(change(&configs(THREE), Disabled, &request(None, Some("1,2"), None)).is_ok());
}

#[test]
fn one_change_at_a_time_and_only_of_what_was_meant() {
    let mut configs = configs(THREE);
    let meant = |current_config_id| ReconfigRequest {
        current_config_id,
        ..request(None, Some("3"), None)
    };
    let try_it = |configs: &Configs, id| change(configs, Standalone::Enabled, &meant(id));
    assert_eq!(try_it(&configs, 7), Err(ErrorCode::BadVersion));
    assert!(try_it(&configs, 0x1_0000_0000).is_ok());
    let next = Members::clone(&configs.committed).with_version(0x1_0000_0003);
    configs.proposed = Arc::new(next);
    assert_eq!(try_it(&configs, 7), Err(ErrorCode::ReconfigInProgress));
}

#[test]
fn groups_change_as_a_whole_only() {
    let grouped = configs(&format!("{THREE}\ngroup.1=1:2\ngroup.2=3"));
    let leaving = request(None, Some("3"), None);
    let found = change(&grouped, Standalone::Enabled, &leaving);
    assert_eq!(found, Err(ErrorCode::BadArguments));
}
