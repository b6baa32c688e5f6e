//! The library behind `zab service`: registering, replacing and following.

use std::time::Duration;

use zab::naming::{Directory, Extras, Follower, Instance, Lost, NamingError};
use zab::{Acl, Client, ConnectString, CreateFlags, Options};
use zabd_tests::servers::{Implementation, Server};

use super::support::{PATIENCE, server};

async fn connect(server: &Server) -> (Client, Directory) {
    let servers = ConnectString::parse(&server.address().to_string()).unwrap();
    let client = Client::connect(servers, Options::default()).await.unwrap();
    let directory = Directory::new(&client, "/deep/services").unwrap();
    (client, directory)
}

fn instance(id: &str) -> Instance {
    Instance::new("web", id, Some("h".to_owned()))
}

fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, story).await.unwrap() });
}

#[test]
fn the_latest_who_registers_an_id_has_it() {
    let server = server(Implementation::Zabd);
    run(async {
        let (one, ones) = connect(&server).await;
        let (two, twos) = connect(&server).await;
        let first = ones
            .register(&instance("a"), Extras::Payload)
            .await
            .unwrap();
        // Again by the same session it is the same node, with other data.
        let mut changed = instance("a");
        changed.weight = 3;
        let again = ones.register(&changed, Extras::Payload).await.unwrap();
        assert_eq!(again.czxid(), first.czxid());
        assert_eq!(twos.instances("web").await.unwrap().instances, [changed]);
        let second = twos
            .register(&instance("a"), Extras::Payload)
            .await
            .unwrap();
        assert!(second.czxid() > first.czxid());
        let session = two.session().unwrap();
        assert_eq!(first.lost().await, Lost::Replaced { session });
        // Who is replaced changes nothing any more, and does not come back unasked.
        first.update(&instance("b"), Extras::Payload).await.unwrap();
        ones.withdraw("web", "a").await.unwrap();
        let refused = ones
            .register_again(&instance("a"), Extras::Payload, first.czxid())
            .await;
        assert_eq!(refused.unwrap_err(), NamingError::Newer { session });
        assert_eq!(
            twos.instances("web").await.unwrap().instances,
            [instance("a")]
        );
        // Withdrawn, it is lost to its owner, too.
        twos.withdraw("web", "a").await.unwrap();
        assert_eq!(second.lost().await, Lost::Deleted);
        // What is there to stay is nobody's.
        let (flags, open) = (CreateFlags::Persistent, [Acl::open()]);
        one.create("/deep/services/web/a", "{}", flags, &open)
            .await
            .unwrap();
        let refused = ones
            .register(&instance("a"), Extras::Payload)
            .await
            .unwrap_err();
        assert_eq!(
            refused,
            NamingError::Permanent("/deep/services/web/a".to_owned())
        );
        for client in [one, two] {
            client.close().await.unwrap();
        }
    });
}

#[test]
fn changes_that_follow_each_other_come_as_one() {
    const MANY: usize = 300;
    let server = server(Implementation::Zabd);
    run(async {
        let (one, ones) = connect(&server).await;
        let (two, twos) = connect(&server).await;
        let mut follower = Follower::new(&twos, "web", Duration::from_millis(200))
            .await
            .unwrap();
        assert!(follower.next().await.unwrap().instances.is_empty());
        let registering = async {
            for number in 0..MANY {
                let instance = instance(&format!("i{number}"));
                ones.register(&instance, Extras::Payload).await.unwrap();
            }
        };
        let following = async {
            let mut listings = 0;
            loop {
                listings += 1;
                let found = follower.next().await.unwrap().instances.len();
                if found == MANY {
                    return listings;
                }
            }
        };
        let ((), listings) = tokio::join!(registering, following);
        assert!(
            listings < MANY / 10,
            "{listings} listings of {MANY} changes"
        );
        // All go at one time, with the session.
        one.close().await.unwrap();
        while !follower.next().await.unwrap().instances.is_empty() {}
        two.close().await.unwrap();
    });
}
