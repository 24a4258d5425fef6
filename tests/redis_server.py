"""A Redis of one test: on a unix socket in its folder, keeping nothing."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis


@dataclass(slots=True)
class RedisServer:
    """Started and killed as the test likes; :meth:`kill` is to be called in the end."""

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
        end = time.monotonic() + 10
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
