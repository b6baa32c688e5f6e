package zabd.suite;

import static net.bytebuddy.matcher.ElementMatchers.named;
import static net.bytebuddy.matcher.ElementMatchers.takesNoArguments;

import java.lang.instrument.Instrumentation;
import java.util.Map;
import net.bytebuddy.agent.ByteBuddyAgent;
import net.bytebuddy.agent.builder.AgentBuilder;
import net.bytebuddy.asm.Advice;
import net.bytebuddy.implementation.bytecode.assign.Assigner;
import org.apache.zookeeper.server.quorum.QuorumPeer;

/**
 * Changes some methods of ZooKeeper's classes as these are loaded, so that what would start a server in
 * this JVM starts a process. There is no place to plug that in. What is woven in names no class that is
 * changed in its signatures: it would be loaded while it is being changed.
 */
final class Outside {
    private Outside() {}

    /** Has to come before any of these classes is loaded. */
    static void install() {
        Instrumentation instrumentation = ByteBuddyAgent.install();
        new AgentBuilder.Default()
                .type(named("org.apache.zookeeper.server.quorum.QuorumPeer"))
                .transform((builder, type, loader, module, domain) -> builder
                        .visit(Advice.to(Nothing.class).on(named("loadDataBase").or(named("startServerCnxnFactory"))
                                .or(named("startLeaderElection"))))
                        .visit(Advice.to(Run.class).on(named("run")))
                        .visit(Advice.to(Shutdown.class).on(named("shutdown")))
                        .visit(Advice.to(State.class).on(named("getPeerState"))))
                .type(named("org.apache.zookeeper.server.ServerCnxnFactory"))
                .transform((builder, type, loader, module, domain) -> builder
                        .visit(Advice.to(Factory.class).on(named("createFactory").and(takesNoArguments()))))
                .type(named("org.apache.zookeeper.test.ClientBase"))
                .transform((builder, type, loader, module, domain) -> builder
                        .visit(Advice.to(Up.class).on(named("waitForServerUp"))))
                .type(named("org.apache.zookeeper.metrics.MetricsUtils"))
                .transform((builder, type, loader, module, domain) -> builder
                        .visit(Advice.to(Metrics.class).on(named("currentServerMetrics"))))
                .installOn(instrumentation);
    }

    /** In place of what a peer does before its thread begins. */
    static final class Nothing {
        @Advice.OnMethodEnter(skipOn = Advice.OnNonDefaultValue.class)
        static boolean enter() {
            return true;
        }
    }

    static final class Run {
        @Advice.OnMethodEnter(skipOn = Advice.OnNonDefaultValue.class)
        static boolean enter(@Advice.This Object peer) {
            OutsidePeer.run((QuorumPeer) peer);
            return true;
        }
    }

    static final class Shutdown {
        @Advice.OnMethodEnter(skipOn = Advice.OnNonDefaultValue.class)
        static boolean enter(@Advice.This Object peer) {
            OutsidePeer.shutdown((QuorumPeer) peer);
            return true;
        }
    }

    static final class State {
        @Advice.OnMethodEnter(skipOn = Advice.OnNonDefaultValue.class)
        static boolean enter() {
            return true;
        }

        @Advice.OnMethodExit
        static void exit(@Advice.This Object peer,
                @Advice.Return(readOnly = false, typing = Assigner.Typing.DYNAMIC) Object state) {
            state = OutsidePeer.state((QuorumPeer) peer);
        }
    }

    static final class Factory {
        @Advice.OnMethodEnter(skipOn = Advice.OnNonDefaultValue.class)
        static boolean enter() {
            return true;
        }

        @Advice.OnMethodExit
        static void exit(@Advice.Return(readOnly = false, typing = Assigner.Typing.DYNAMIC) Object factory) {
            factory = new OutsideFactory();
        }
    }

    static final class Up {
        @Advice.OnMethodExit
        static void exit() {
            OutsidePeer.refresh();
        }
    }

    static final class Metrics {
        @Advice.OnMethodExit
        static void exit(@Advice.Return(readOnly = false) Map<String, Object> metrics) {
            metrics = OutsidePeer.metrics();
        }
    }
}
