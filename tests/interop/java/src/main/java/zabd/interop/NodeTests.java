package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.equal;
import static zabd.interop.Harness.eventually;

import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.curator.x.discovery.ServiceType;
import org.apache.zookeeper.CreateMode;

/** Curator's nodes that maintain themselves, group membership and service discovery. */
final class NodeTests {
    private NodeTests() {}

    static void run() {
        Harness.test("curator-persistent-node", 30, NodeTests::persistentNode);
        Harness.test("curator-ttl-node", 60, NodeTests::ttlNode);
        Harness.test("curator-group-member", 30, NodeTests::groupMember);
        Harness.test("curator-transaction", 30, NodeTests::transaction);
        Harness.test("curator-service-discovery", 60, NodeTests::discovery);
        Harness.test("curator-dynamic-service", 60, NodeTests::dynamicService);
    }

    /** An ephemeral that comes back when someone deletes it. */
    private static void persistentNode() throws Exception {
        try (Curators clients = new Curators(2);
                PersistentNode node = new PersistentNode(clients.get(0), CreateMode.EPHEMERAL, false,
                        "/nodes/persistent", "mine".getBytes(), true)) {
            node.start();
            check(node.waitForInitialCreate(10, TimeUnit.SECONDS), "made");
            equal(clients.get(1).getData().forPath("/nodes/persistent"), "mine".getBytes(), "data");
            clients.get(1).delete().forPath("/nodes/persistent");
            eventually(10, "made again", () -> clients.get(1).checkExists().forPath("/nodes/persistent") != null);
            equal(clients.get(1).checkExists().forPath("/nodes/persistent").getEphemeralOwner(), clients.session(0),
                    "owner");
            node.setData("other".getBytes());
            eventually(5, "changed", () ->
                    new String(clients.get(1).getData().forPath("/nodes/persistent")).equals("other"));
        }
    }

    /** A node kept alive by touching a child; it goes once nobody does. */
    private static void ttlNode() throws Exception {
        try (Curators clients = new Curators(2)) {
            PersistentTtlNode node = new PersistentTtlNode(clients.get(0), "/nodes/ttl", 2_000, "x".getBytes(), true);
            node.start();
            check(node.waitForInitialCreate(10, TimeUnit.SECONDS), "made");
            Thread.sleep(5_000);
            check(clients.get(1).checkExists().forPath("/nodes/ttl") != null, "alive while it is touched");
            node.close();
            eventually(20, "gone when it is not", () -> clients.get(1).checkExists().forPath("/nodes/ttl") == null);
        }
    }

    private static void groupMember() throws Exception {
        try (Curators clients = new Curators(3);
                GroupMember first = new GroupMember(clients.get(0), "/group", "first", "1".getBytes());
                GroupMember second = new GroupMember(clients.get(1), "/group", "second")) {
            GroupMember third = new GroupMember(clients.get(2), "/group", "third");
            first.start();
            second.start();
            third.start();
            eventually(10, "all three", () ->
                    second.getCurrentMembers().keySet().equals(Set.of("first", "second", "third")));
            equal(second.getCurrentMembers().get("first"), "1".getBytes(), "data of a member");
            third.close();
            eventually(10, "two left", () -> first.getCurrentMembers().keySet().equals(Set.of("first", "second")));
        }
    }

    private static void transaction() throws Exception {
        try (Curators clients = new Curators(1)) {
            var client = clients.get(0);
            client.create().forPath("/tx", "0".getBytes());
            var results = client.transaction().forOperations(
                    client.transactionOp().check().withVersion(0).forPath("/tx"),
                    client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/tx/n"),
                    client.transactionOp().setData().withVersion(0).forPath("/tx", "1".getBytes()));
            equal(results.get(1).getResultPath(), "/tx/n0000000000", "path");
            equal(results.get(2).getResultStat().getVersion(), 1, "version");
            equal(client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/tx/p")
                    .endsWith("p0000000001"), true, "protected sequential");
        }
    }

    private static ServiceInstance<Void> instance(String id, int port) throws Exception {
        return ServiceInstance.<Void>builder().name("web").id(id).address("127.0.0.1").port(port).build();
    }

    private static void discovery() throws Exception {
        try (Curators clients = new Curators(2);
                ServiceDiscovery<Void> server = ServiceDiscoveryBuilder.builder(Void.class).client(clients.get(0))
                        .basePath("/services").build();
                ServiceDiscovery<Void> client = ServiceDiscoveryBuilder.builder(Void.class).client(clients.get(1))
                        .basePath("/services").build()) {
            server.start();
            client.start();
            server.registerService(instance("a", 1001));
            server.registerService(instance("b", 1002));
            equal(new TreeSet<>(client.queryForNames()), new TreeSet<>(Set.of("web")), "names");
            equal(client.queryForInstances("web").size(), 2, "instances");
            equal(client.queryForInstance("web", "b").getPort(), 1002, "port");
            try (ServiceProvider<Void> provider = client.serviceProviderBuilder().serviceName("web").build()) {
                provider.start();
                Set<Integer> ports = new TreeSet<>();
                for (int i = 0; i < 10; i++) {
                    ports.add(provider.getInstance().getPort());
                }
                equal(ports, Set.of(1001, 1002), "instances that were handed out");
            }
            server.unregisterService(instance("a", 1001));
            equal(client.queryForInstances("web").size(), 1, "instances");
        }
    }

    /** A service cache follows registrations, and the end of the registering session. */
    private static void dynamicService() throws Exception {
        Curators leaving = new Curators(1);
        try (Curators clients = new Curators(1);
                ServiceDiscovery<Void> client = ServiceDiscoveryBuilder.builder(Void.class).client(clients.get(0))
                        .basePath("/dynamic").build();
                ServiceCache<Void> cache = client.serviceCacheBuilder().name("web").build()) {
            client.start();
            cache.start();
            equal(cache.getInstances().size(), 0, "instances");
            ServiceDiscovery<Void> server = ServiceDiscoveryBuilder.builder(Void.class).client(leaving.get(0))
                    .basePath("/dynamic").build();
            server.start();
            ServiceInstance<Void> instance = ServiceInstance.<Void>builder().name("web").id("x").port(1)
                    .serviceType(ServiceType.DYNAMIC).build();
            server.registerService(instance);
            eventually(10, "seen", () -> cache.getInstances().size() == 1);
            equal(cache.getInstances().get(0).getId(), "x", "id");
            leaving.close();
            eventually(10, "gone", () -> cache.getInstances().isEmpty());
        }
    }
}
