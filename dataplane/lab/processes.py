"""The processes of the lab, in the order in which they start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dataplane.lab import readiness
from dataplane.lab.confine import confined
from dataplane.lab.paths import Paths
from dataplane.lab.server import SMALL_FILE
from dataplane.lab.supervisor import Process
from dataplane.lab.topology import Node, Topology

ADDRESS = "127.0.0.1"
BASE_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/nonexistent",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, slots=True)
class Processes:
    """Makes each :class:`Process` from the paths, the network and the console's TCP port."""

    paths: Paths
    topology: Topology
    port: int

    def redis(self) -> Process:
        """Redis on a unix socket alone, keeping nothing."""
        socket = self.paths.redis_socket
        listen = ("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "770", "--daemonize", "no")
        keep_nothing = ("--save", "", "--appendonly", "no", "--dir", str(self.paths.redis))
        return Process(
            "redis",
            confined(("redis-server", *listen, *keep_nothing), unprivileged=True),
            BASE_ENVIRONMENT,
            ready=lambda: readiness.redis_answers(socket),
        )

    def manage(self, command: str, *arguments: str, seconds: float = 120) -> Process:
        """One command of manage.py, to be run to its end within ``seconds``."""
        return self._python(command, "manage.py", command, *arguments, seconds=seconds)

    def web(self) -> Process:
        """The console."""
        return self._python(
            "web",
            "-m",
            "uvicorn",
            "webui.asgi:application",
            "--host",
            ADDRESS,
            "--port",
            str(self.port),
            "--no-access-log",
            "--timeout-graceful-shutdown",
            "2",
            # Large messages are packed once for all browsers (webui/deltas.py), and not again for each.
            "--ws-per-message-deflate",
            "false",
            ready=lambda: readiness.http_answers(ADDRESS, self.port, "/healthz"),
        )

    def server(self, node: Node) -> tuple[Process, Process]:
        """HTTP and TFTP of one server."""
        namespace = self.topology.namespace(node.name)
        client = self.topology.namespace("client")
        serve = ("-m", "dataplane.lab.server", "--name", node.name, "--files", str(self.paths.files))
        address = str(node.ipv4)
        http = Process(
            f"{node.name}-http",
            confined(
                # The system's interpreter: the server needs nothing but the standard library.
                ("/usr/bin/python3", *serve),
                namespace=namespace,
                show=(self.paths.checkout, self.paths.app),
                unprivileged=True,
            ),
            BASE_ENVIRONMENT,
            ready=lambda: readiness.http_answers(address, 80, "/", client),
        )
        # Root at first, to change its root directory; it goes on as nobody.
        tftpd = ("in.tftpd", "--foreground", "--secure", "--user", "nobody", "--address", ":69", str(self.paths.files))
        tftp = Process(
            f"{node.name}-tftp",
            confined(tftpd, namespace=namespace),
            BASE_ENVIRONMENT,
            ready=lambda: readiness.tftp_answers(address, SMALL_FILE, client),
        )
        return http, tftp

    def dataplane(self) -> Process:
        """The worker that programs the forwarder, as root in the director's namespace."""
        namespace = self.topology.namespace("director")
        return self._python("dataplane", "-m", "dataplane.worker", namespace=namespace, unprivileged=False)

    def celery(self) -> Process:
        """The health checks, which leave from the director."""
        return self._python(
            "celery",
            *("-m", "celery", "-A", "webui.celery", "worker", "--pool", "threads", "--concurrency", "2"),
            *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
            namespace=self.topology.namespace("director"),
            ready=lambda: readiness.celery_consumes(self.paths.redis_socket),
        )

    def beat(self) -> Process:
        """The clock of the health checks."""
        schedule = str(self.paths.seen_by_processes(self.paths.data / "celerybeat-schedule"))
        return self._python(
            "beat", "-m", "celery", "-A", "webui.celery", "beat", "--schedule", schedule, "--loglevel", "WARNING"
        )

    def environment(self) -> dict[str, str]:
        """Everything that a process of Halfpipe gets to know; nothing of the caller's environment."""
        data = self.paths.seen_by_processes(self.paths.data)
        return BASE_ENVIRONMENT | {
            "DJANGO_SETTINGS_MODULE": "webui.settings",
            "HALFPIPE_DATABASE_URL": f"sqlite:///{data / 'db.sqlite3'}",
            "HALFPIPE_REDIS_URL": f"unix://{self.paths.redis_socket}",
            "HALFPIPE_SECRET_KEY_FILE": str(data / "secret-key"),
            "HALFPIPE_ALLOWED_HOSTS": "127.0.0.1,localhost",
            "HALFPIPE_DEBUG": "0",
            "HALFPIPE_DIRECTOR": self.topology.namespace("director"),
            "HALFPIPE_INTERFACES": "eth0",
            "HALFPIPE_PIN_DIR": str(self.paths.bpf / "halfpipe"),
            "HALFPIPE_STATE_DIR": str(self.paths.seen_by_processes(self.paths.kept)),
            "HALFPIPE_BPF_OBJECT": str(self.paths.app / "build" / "forward.bpf.o"),
        }

    def _python(
        self,
        name: str,
        *arguments: str,
        namespace: str | None = None,
        unprivileged: bool = True,
        ready: Callable[[], str | None] | None = None,
        seconds: float = 30,
    ) -> Process:
        interpreter = self.paths.seen_by_processes(self.paths.checkout / ".venv" / "bin" / "python")
        command = confined(
            (str(interpreter), *arguments),
            namespace=namespace,
            show=(self.paths.checkout, self.paths.app),
            unprivileged=unprivileged,
        )
        return Process(name, command, self.environment(), ready=ready, ready_seconds=seconds)
