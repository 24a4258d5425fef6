"""The health checks: what thousands of them every 5 s cost, in all processes that take part.

Worker, beat and Redis are the real ones. What they ask is a server on the loopback of a namespace, at as many
addresses as there are checks: the way through the forwarder costs the kernel's time, and is measured elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import BenchError

SIZES = {1000: None, 5000: Goal("≤", 60.0), 10_000: None}
INTERVAL = 5.0  # seconds, of the rows that dataplane.bench.probe_rows makes
WARM_UP = 60.0  # seconds at most until all are UP
MEASURED = 20.0  # seconds
ENOUGH = 97.0  # per cent of the probes that are due; fewer are no measurement
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def measure() -> Iterator[Figure]:
    """A figure for each size. Raises BenchError when checks fail, or fewer were made than were due."""
    with every_cpu():
        for size, goal in SIZES.items():
            with TemporaryDirectory(prefix="halfpipe-bench") as folder:
                yield _one(size, goal, Path(folder))


@contextmanager
def every_cpu() -> Iterator[None]:
    """Let processes that are started within have every CPU, and not the benchmark's one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _one(size: int, goal: Goal | None, folder: Path) -> Figure:
    place = Place(folder)
    with ExitStack() as stack:
        port = stack.enter_context(_server())
        place.python("manage.py", "migrate", "--verbosity", "0")
        place.rows("--make", str(size), "--port", str(port))
        processes = {
            name: stack.enter_context(running(command, place))
            for name, command in zip(("redis", "worker", "beat"), (place.redis(), *celery_of(place)), strict=True)
        }
        _wait_until_up(place, size)
        time.sleep(INTERVAL)
        found, before, began = place.rows(), spent(processes), time.monotonic()
        time.sleep(MEASURED)
        used = {name: after - before[name] for name, after in spent(processes).items()}
        seconds = time.monotonic() - began
        after = place.rows()
        memory = _memory(processes["worker"].pid)
    # Reading the rows takes a while, in which probes go on.
    rate = (after["probes"] - found["probes"]) / (after["at"] - found["at"])
    made = 100 * rate * INTERVAL / size
    if after["failures"] or (goal and made < ENOUGH):
        raise BenchError(f"{size} checks: {made:.0f} % of the probes were made, {after['failures']:.0f} failed")
    percent = {f"{name} %": 100 * one / seconds for name, one in used.items()}
    raw = percent | {
        "µs a probe": sum(used.values()) * 1e6 / seconds / rate,
        "probes/s": rate,
        "% of those due": made,
        "rows written": float(after["transitions"] - found["transitions"]),
        "MiB worker": memory,
    }
    return Figure(
        "checks", f"{size:,} probes every 5 s, half TCP, half HTTP", "%", sum(percent.values()), None, goal, raw
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a database and a Redis of its own, and commands that use them."""

    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)  # settings

    def environment(self) -> dict[str, str]:
        """What processes of Halfpipe get to know."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "DJANGO_SETTINGS_MODULE": "webui.settings",
            "HALFPIPE_DATABASE_URL": f"sqlite:///{self.folder / 'db.sqlite3'}",
            "HALFPIPE_REDIS_URL": f"unix://{self.folder / 'redis.sock'}",
            "HALFPIPE_SECRET_KEY_FILE": str(self.folder / "secret-key"),
            "HALFPIPE_STATE_DIR": str(self.folder / "state"),
            **self.more,
        }

    def redis(self) -> list[str]:
        """Redis on a unix socket, keeping nothing."""
        listen = ["--port", "0", "--unixsocket", str(self.folder / "redis.sock")]
        return ["redis-server", *listen, "--save", "", "--appendonly", "no", "--dir", str(self.folder)]

    def python(self, *arguments: str) -> str:
        """Output of a program. Raises BenchError with what it said when it fails."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise BenchError(f"`{' '.join(command)}` failed: {done.stderr[-400:]}")
        return done.stdout

    def rows(self, *arguments: str) -> Mapping[str, float]:
        """Answer of dataplane.bench.probe_rows."""
        answer: dict[str, float] = json.loads(self.python("-m", "dataplane.bench.probe_rows", *arguments))
        return answer


def celery_of(place: Place) -> tuple[list[str], list[str]]:
    """Worker and beat, as the lab runs them."""
    celery = [sys.executable, "-m", "celery", "-A", "webui.celery"]
    worker = ["worker", "--pool", "threads", "--concurrency", "2", "--without-gossip", "--without-mingle"]
    beat = ["beat", "--schedule", str(place.folder / "beat")]
    return [*celery, *worker, "--loglevel", "WARNING"], [*celery, *beat, "--loglevel", "WARNING"]


@contextmanager
def running(command: list[str], place: Place | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block. Raises BenchError with what it said if it ended by itself."""
    with TemporaryDirectory(prefix="halfpipe-bench") as folder, Path(folder, "log").open("w+b") as log:
        process = subprocess.Popen(
            command, env=place.environment() if place else None, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
            if process.poll() is not None:
                log.seek(0)
                raise BenchError(f"`{' '.join(command)}` ended: {log.read()[-400:].decode(errors='replace')}")
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _server() -> Iterator[int]:
    """A process that answers HTTP on every address of the machine; the port."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as listening:  # noqa: S104 - in a namespace of its own
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(_serve(listening))
            finally:
                os._exit(1)
        try:
            yield listening.getsockname()[1]
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


async def _serve(listening: socket.socket) -> None:
    listening.setblocking(False)
    server = await asyncio.get_running_loop().create_server(_Answer, sock=listening, backlog=4096)
    await server.serve_forever()


class _Answer(asyncio.Protocol):
    """One answer to whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        del data
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(_ANSWER)
            self._transport.close()


def _wait_until_up(place: Place, size: int) -> None:
    end = time.monotonic() + WARM_UP
    while (found := place.rows())["up"] < size:
        if time.monotonic() > end:
            raise BenchError(f"only {found['up']:.0f} of {size} checks are UP after {WARM_UP:.0f} s")
        time.sleep(1)


def spent(processes: Mapping[str, subprocess.Popen[bytes]]) -> dict[str, float]:
    """CPU seconds of each process, user and system, its threads and ended children included (proc(5), stat)."""
    found = {}
    for name, process in processes.items():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = sum(map(int, fields[11:15])) / _TICKS
    return found


def _memory(pid: int) -> float:
    """MiB that a process has in memory (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / (1 << 20)
