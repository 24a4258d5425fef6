"""The pages: how soon a browser paints the dashboard, what it weighs, and how long lists take.

The console runs as in :mod:`dataplane.bench.console`. The browser is Debian's Chromium without a window, with nothing
in its cache; times of lists are those of the answer alone.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from dataplane.bench.console import Console, console
from dataplane.bench.probes import Place, every_cpu
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import BenchError

VISITS: Final = 7
REQUESTS: Final = 5
CHROMIUM: Final = "/usr/bin/chromium"
PAINT = Goal("≤", 1000.0)  # ms
WEIGHT = Goal("≤", 300.0)  # kB
LIST = Goal("≤", 1000.0)  # ms
LISTS: Final = {
    "/services/": "by name",
    "/services/?sort=state": "by state",
    "/services/?state=DOWN": "those that are DOWN",
    "/services/?sort=-packets_per_second": "by packets a second",
    "/vservers/?sort=state": "virtual servers by state",
    "/servers/?sort=eligible": "servers by path",
}


def measure() -> Iterator[Figure]:
    """The dashboard with 1,000 virtual servers; lists with 10,000 services. Raises BenchError."""
    with every_cpu():
        with _running(1000, 1) as made:
            yield from _dashboard(made)
        with _running(1000, 10) as made:
            for path, name in LISTS.items():
                yield _list(made, path, name)


class _running:  # noqa: N801 - used as a function
    """A console with rows, for as long as the block."""

    def __init__(self, vservers: int, each: int) -> None:
        self._shape = vservers, each
        self._stack = ExitStack()

    def __enter__(self) -> Console:
        folder = self._stack.enter_context(TemporaryDirectory(prefix="halfpipe-bench"))
        return self._stack.enter_context(console(Place(Path(folder)), *self._shape, 1, self._stack))

    def __exit__(self, *_error: object) -> None:
        self._stack.close()


def _dashboard(made: Console) -> Iterator[Figure]:
    visits = _visits(made)
    paints, weights = [one["paint"] for one in visits], [one["bytes"] / 1000 for one in visits]
    raw = {"answer ms": statistics.median(one["answer"] for one in visits)}
    name = "dashboard, 1,000 virtual servers"
    yield Figure(
        "pages", f"{name}: first paint", "ms", statistics.median(paints), (min(paints), max(paints)), PAINT, raw
    )
    raw = {"requests": float(visits[-1]["requests"])}
    yield Figure("pages", f"{name}: weight, everything", "kB", max(weights), None, WEIGHT, raw)


def _visits(made: Console) -> list[dict[str, Any]]:
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a tool of the tests
    except ImportError as error:
        raise BenchError(f"playwright is not installed ('make setup' does): {error}") from error
    address = f"http://127.0.0.1:{made.port}"
    found = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        for _visit in range(VISITS):
            context = browser.new_context()
            context.add_cookies([{"name": made.cookie, "value": made.sessions[0], "url": address}])
            found.append(_visit_once(context, f"{address}/"))
            context.close()
        browser.close()
    return found[1:]  # the first one warms the server up, as any visitor before would have


def _visit_once(context: Any, address: str) -> dict[str, Any]:
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[int] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(address, wait_until="networkidle")
    page.locator("#live.live-on").wait_for(timeout=30_000)
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    answer = "performance.getEntriesByType('navigation')[0].responseStart"
    return {
        "paint": page.evaluate(paint),
        "answer": page.evaluate(answer),
        "bytes": sum(sizes),
        "requests": len(sizes),
    }


def _list(made: Console, path: str, name: str) -> Figure:
    times = []
    link = http.client.HTTPConnection("127.0.0.1", made.port, timeout=60)
    for _request in range(REQUESTS):
        began = time.monotonic()
        link.request("GET", path, headers={"Cookie": f"{made.cookie}={made.sessions[0]}", "Accept-Encoding": "gzip"})
        answer = link.getresponse()
        body = answer.read()
        times.append(1000 * (time.monotonic() - began))
        if answer.status != 200:
            raise BenchError(f"{path}: {answer.status} {body[:200]!r}")
    link.close()
    figure = statistics.median(times)
    return Figure("pages", f"list of 10,000 services, {name}", "ms", figure, (min(times), max(times)), LIST)
