"""Three voters and an observer, which clients know by one of them: a follower, or the observer.

What a suite asks for (stop, kill, start) is done to the server that its clients know. The others stay
up, so that it finds the history gone on when it comes back, and is a learner again.
"""

from .server import Server, ServerFailed, free_port, mode

VOTERS = 3
ROLES = ("follower", "observer")

CONFIG = {
    "initLimit": "10",
    "syncLimit": "5",
}


class Ensemble:
    """Has what `Server` has; clients connect to a server of the role `through`."""

    def __init__(self, kind, label, config=None, through="follower"):
        self.kind = kind
        self.through = through
        ids = range(1, VOTERS + 2)
        lines = dict(CONFIG)
        for number in ids:
            role = "participant" if number <= VOTERS else "observer"
            lines[f"server.{number}"] = f"127.0.0.1:{free_port()}:{free_port()}:{role}"
        members = sorted(f"{name}={value}" for name, value in lines.items() if name.startswith("server."))
        # What /zookeeper/config says of them.
        self.members = "\n".join([*members, "version=0"])
        self.servers = []
        for number in ids:
            lines["peerType"] = "participant" if number <= VOTERS else "observer"
            self.servers.append(Server(kind, f"{label}-{number}", dict(lines, **(config or {})), number))
        # Known once the voters have elected.
        self.target = self.servers[-1]

    @property
    def address(self):
        """`host:port` for clients."""
        return self.target.address

    @property
    def port(self):
        """The port of that."""
        return self.target.port

    @property
    def directory(self):
        """The directory of the server that the clients know; a suite keeps its own files there."""
        return self.target.directory

    @property
    def log_file(self):
        """The log of that server."""
        return self.target.log_file

    def start(self):
        """Starts the server that the clients know; with the others, if they do not run yet."""
        if all(server.process is None for server in self.servers):
            for server in self.servers:
                server.spawn()
            modes = [server.wait_until_serving() for server in self.servers]
            if self.through not in modes:
                raise ServerFailed(f"no {self.through} among {modes}")
            self.target = self.servers[modes.index(self.through)]
            return
        self.target.start()
        role = mode(self.target.port)
        if role != self.through:
            raise ServerFailed(f"the server came back as {role}, not as {self.through}")

    def stop(self):
        """SIGTERM to the server that the clients know."""
        self.target.stop()

    def kill(self):
        """SIGKILL to it."""
        self.target.kill()

    def close(self, keep):
        """Ends all of them."""
        for server in self.servers:
            server.close(keep)

    def log_tail(self, lines=40):
        """The ends of all logs."""
        tails = (f"server {number}:\n{server.log_tail(lines)}"
                 for number, server in enumerate(self.servers, 1))
        return "\n".join(tails)
