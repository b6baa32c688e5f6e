import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeSet;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.curator.x.discovery.UriSpec;

/**
 * Registers an instance by Curator's service discovery, and appends to a file what Curator sees of the service, whenever that
 * changes, once for each type of payload.
 *
 * <p>Arguments: HOSTS BASE SERVICE ID FILE. Lines: PAYLOAD all|used INSTANCE..., or PAYLOAD failed EXCEPTION.
 */
public final class Discover {
    private final String file;
    private final Map<String, String> told = new LinkedHashMap<>();

    private Discover(String file) {
        this.file = file;
    }

    public static void main(String[] arguments) throws Exception {
        String base = arguments[1];
        String name = arguments[2];
        CuratorFramework client = Clients.start(arguments[0], 10_000, 10_000, 20);
        Map<String, Object> payload = new LinkedHashMap<>();
        payload.put("weight", 5);
        payload.put("zone", "z");
        ServiceDiscovery<Map> maps = discovery(client, base, Map.class);
        maps.registerService(ServiceInstance.<Map>builder()
                .name(name)
                .id(arguments[3])
                .address("10.9.9.9")
                .port(99)
                .sslPort(443)
                .payload(payload)
                .uriSpec(new UriSpec("{scheme}://{address}:{ssl-port}/java"))
                .build());
        ServiceDiscovery<Object> objects = discovery(client, base, Object.class);
        ServiceDiscovery<Void> voids = discovery(client, base, Void.class);
        ServiceProvider<Map> mapProvider = provider(maps, name);
        ServiceProvider<Object> objectProvider = provider(objects, name);
        Discover discover = new Discover(arguments[4]);
        while (true) {
            discover.tell("map", maps, mapProvider, name);
            discover.tell("object", objects, objectProvider, name);
            // Its provider's cache would fail on the payload of our own.
            discover.tell("void", voids, null, name + "-void");
            Thread.sleep(20);
        }
    }

    private static <T> ServiceDiscovery<T> discovery(CuratorFramework client, String base, Class<T> payload) throws Exception {
        ServiceDiscovery<T> discovery = ServiceDiscoveryBuilder.builder(payload).client(client).basePath(base).build();
        discovery.start();
        return discovery;
    }

    private static <T> ServiceProvider<T> provider(ServiceDiscovery<T> discovery, String name) throws Exception {
        ServiceProvider<T> provider = discovery.serviceProviderBuilder().serviceName(name).build();
        provider.start();
        return provider;
    }

    private <T> void tell(String payload, ServiceDiscovery<T> discovery, ServiceProvider<T> provider, String name) throws Exception {
        try {
            write(payload, "all", discovery.queryForInstances(name));
            if (provider != null) {
                write(payload, "used", provider.getAllInstances());
            }
        } catch (ClassCastException e) {
            write(payload + " failed " + e.getClass().getSimpleName(), payload);
        }
    }

    private <T> void write(String payload, String what, Collection<ServiceInstance<T>> instances) throws Exception {
        TreeSet<String> texts = new TreeSet<>();
        for (ServiceInstance<T> instance : instances) {
            String state = instance.isEnabled() ? "on" : "off";
            texts.add(instance.getId() + "@" + instance.getAddress() + ":" + instance.getPort() + "," + state + ","
                    + instance.buildUriSpec() + "," + String.valueOf(instance.getPayload()).replace(" ", ""));
        }
        write(payload + " " + what + " " + String.join(" ", texts), payload + what);
    }

    private void write(String line, String about) throws Exception {
        if (!line.equals(told.put(about, line))) {
            Files.write(Path.of(file), (line.strip() + "\n").getBytes(StandardCharsets.UTF_8), StandardOpenOption.CREATE,
                    StandardOpenOption.APPEND);
        }
    }
}
