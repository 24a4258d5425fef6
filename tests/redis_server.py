"""A Redis of a test's own, on a Unix socket."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Its address, from when it listens; skips the test where it is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (`make test` installs it)")
    path = folder / "s"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert process.poll() is None, f"redis-server ended with {process.returncode}"
            assert time.monotonic() < deadline, "redis-server is not ready after 30 s"
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(10)


@dataclass(slots=True)
class RedisServer:
    """One that is killed and started as the test likes; :meth:`kill` is to be called in the end."""

    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'redis.sock'}"

    def start(self) -> None:
        """Return when it answers."""
        listen = ("--port", "0", "--unixsocket", str(self.folder / "redis.sock"))
        keep_nothing = ("--save", "", "--appendonly", "no", "--dir", str(self.folder))
        self._process = subprocess.Popen(["redis-server", *listen, *keep_nothing], stdout=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.RedisError:
                assert time.monotonic() < end, "redis-server did not start"
                time.sleep(0.02)

    def kill(self) -> None:
        """What it knew is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
