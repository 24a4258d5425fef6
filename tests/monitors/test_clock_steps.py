"""Checks under a real Celery worker and beat whose wall clock is set back and forth: they go by the monotonic clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from tests.monitors import rows
from tests.redis_server import RedisServer
from tests.stepped_clock import SteppedClock
from webui import freshness
from webui.models import HealthState, HealthTransition
from webui.readiness import BEAT_KEY

ROOT = Path(__file__).resolve().parents[2]
INTERVAL = 2  # seconds
ANSWER_TAKES = 0.2  # seconds
SERVERS = 3

pytestmark = [pytest.mark.usefixtures("own_database"), pytest.mark.timeout(180)]


class Servers:
    """HTTP servers on the loopback that take their time, and note by this process's clock who asked them."""

    def __init__(self) -> None:
        self.asked: dict[int, list[float]] = defaultdict(list)  # by port
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._under_way: dict[int, int] = defaultdict(int)

    @contextmanager
    def listening(self, address: str) -> Iterator[int]:
        """The port of one."""
        with socket.create_server((address, 0)) as server:
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            yield server.getsockname()[1]
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _address = server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client, server.getsockname()[1]), daemon=True).start()

    def _answer(self, client: socket.socket, port: int) -> None:
        with self._lock:
            self.asked[port].append(time.monotonic())
            self._under_way[port] += 1
            self.most_at_once = max(self.most_at_once, self._under_way[port])
        with client:
            client.recv(4096)
            time.sleep(ANSWER_TAKES)
            with self._lock:
                self._under_way[port] -= 1
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def celery(clock: SteppedClock, address: str, redis_url: str, folder: Path, *arguments: str) -> Iterator[None]:
    """A process of Celery as the containers start it."""
    own = {
        "HALFPIPE_DATABASE_URL": address,
        "HALFPIPE_REDIS_URL": redis_url,
        "HALFPIPE_SECRET_KEY_FILE": str(folder / "secret-key"),
    }
    command = [sys.executable, "-m", "celery", "--app=webui.celery", *arguments, "--loglevel=WARNING"]
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | clock.environment() | own, stdout=log, stderr=log
        )
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()
            process.wait(30)


def wait_for(true: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def test_steps_of_the_wall_clock_neither_delay_checks_nor_run_them_twice_nor_stop_beat(
    own_database: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    clock, servers = SteppedClock(tmp_path), Servers()
    addresses = [f"127.0.0.{number}" for number in range(2, 2 + SERVERS)]
    with ExitStack() as stack:
        for address in addresses:
            port, service = stack.enter_context(servers.listening(address)), rows.service()
            monitor = rows.monitor(monitor_type="HTTP", dest_port=port, interval=INTERVAL, resp_timeout=1, down_time=1)
            rows.health(of=service, by=monitor, at=rows.target(service, address))
        client = stack.enter_context(redis.Redis.from_url(redis_server.url))
        where = (own_database, redis_server.url, tmp_path)
        worker = ("worker", "--pool=threads", "--concurrency=2", "--without-gossip", "--without-mingle")
        stack.enter_context(celery(clock, *where, *worker))
        stack.enter_context(celery(clock, *where, "beat", f"--schedule={tmp_path / 'schedule'}", "--pidfile="))
        wait_for(lambda: HealthState.objects.filter(state="UP").count() == SERVERS, "all are UP")
        wait_for(lambda: all(len(asked) > 1 for asked in servers.asked.values()), "each has found its place")
        began = time.monotonic()
        for step in (0, 3600, 0, -3600):
            clock.set(step)
            time.sleep(2.5 * INTERVAL)
            client.delete(BEAT_KEY)
            wait_for(lambda: client.exists(BEAT_KEY), f"beat sends at {step} s", 10)
            found = freshness.figures(list(HealthState.objects.values_list("pk", flat=True))).values()
            ages = [time.time() + step - one.checked_at.timestamp() for one in found]
            assert len(ages) == SERVERS
            assert -1 < min(ages) <= max(ages) < 10, f"the worker does not go by a clock that is set to {step} s"
        ended = time.monotonic()
    assert servers.most_at_once == 1
    assert len(servers.asked) == SERVERS
    for asked in servers.asked.values():
        times = [began, *(at for at in asked if began < at < ended), ended]
        assert max(later - earlier for earlier, later in pairwise(times)) < 2 * INTERVAL, times
        assert abs(len(times) - 2 - (ended - began) / INTERVAL) <= 2, times
    assert HealthTransition.objects.count() == SERVERS  # to UP, and nothing since
