"""``python -m dataplane.bench.console_browsers``: the browsers' ends of hundreds of websockets, in one process.

Reads lines of JSON: where to connect, then "count" and "report". Answers are JSON. Messages are opened only as far as
the benchmark needs: their numbers must follow each other, and changes of state are timed.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from functools import lru_cache
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

AT_ONCE: Final = 25  # connections that are being made


@lru_cache(maxsize=64)
def _opened(data: str | bytes) -> dict[str, Any]:
    """A message; those that many browsers get are opened once."""
    found: dict[str, Any] = json.loads(data if isinstance(data, str) else gzip.decompress(data))
    return found


class Browsers:
    """What they got."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.counting = False
        self.bytes = self.messages = self.gaps = self.lost = self.snapshot = 0
        self.states: dict[str, list[float]] = {}
        self.ready = asyncio.Semaphore(0)
        self.gate = asyncio.Semaphore(AT_ONCE)

    async def one(self, session: str) -> None:
        """A browser, until the program ends."""
        address = f"ws://127.0.0.1:{self.given['port']}/ws/live/?{self.given['wish']}"
        headers = {"Cookie": f"{self.given['cookie']}={session}", "Origin": f"http://127.0.0.1:{self.given['port']}"}
        compression = "deflate" if self.given["deflate"] else None
        try:
            async with self.gate:
                link = await connect(address, additional_headers=headers, max_size=None, compression=compression)
                first = await link.recv()
            self.snapshot = len(first)
            self.ready.release()
            await self._follow(link, _opened(first))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and told
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            self.lost += 1
            self.ready.release()

    async def _follow(self, link: ClientConnection, snapshot: dict[str, Any]) -> None:
        seq = snapshot["seq"]
        async for data in link:
            at, message = time.time(), _opened(data)
            if message["seq"] != seq + 1 and message["type"] != "snapshot":
                self.gaps += 1
            seq = message["seq"]
            for row in message.get("rows", {}).get("services", {}).get("changed", ()):
                self.states.setdefault(f"{row['key']} {row['state']}", []).append(at)
            if self.counting:
                self.bytes += len(data)
                self.messages += 1

    def report(self) -> dict[str, Any]:
        """For the benchmark."""
        names = ("bytes", "messages", "gaps", "lost", "snapshot", "states")
        return {name: getattr(self, name) for name in names}


async def main() -> None:
    """Connect, then do as told."""
    loop = asyncio.get_running_loop()

    async def told() -> Any:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        return json.loads(line) if line else None

    browsers = Browsers(await told())
    tasks = [asyncio.create_task(browsers.one(session)) for session in browsers.given["sessions"]]
    for _one in tasks:
        await browsers.ready.acquire()
    sys.stdout.write(json.dumps({"ready": len(tasks) - browsers.lost}) + "\n")
    sys.stdout.flush()
    while (word := await told()) is not None:
        if word == "count":
            browsers.counting = True
        elif word == "report":
            browsers.counting = False
            sys.stdout.write(json.dumps(browsers.report()) + "\n")
            sys.stdout.flush()
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
