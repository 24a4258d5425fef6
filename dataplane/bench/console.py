"""The console: what hundreds of browsers cost that look at it, and how soon they see a change.

The web server is the real one, with its own database and Redis, and so are the websockets. The browsers' ends are in
a process of their own, whose cost does not count; so is the director that reports every second.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dataplane.bench.probes import Place, every_cpu, running, spent
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import BenchError

BROWSERS = 500
MEASURED = 30  # seconds
CHANGE_EVERY = 3  # seconds
PATIENCE = 60.0  # seconds until all browsers are connected
GOAL = Goal("≤", 50.0)  # per cent of a core


@dataclass(frozen=True, slots=True)
class Case:
    """Virtual servers, services of each, and what browsers look at: the dashboard, or all rows of everything.

    ``deflate``: the server packs each message for each browser (RFC 7692), as it would without the hub's packing.
    """

    vservers: int
    each: int
    wish: str
    name: str
    deflate: bool = False
    goal: Goal | None = None


# What webui/static/live.js asks for on the dashboard.
DASHBOARD = "problems=~100&vservers=~50&services=~50&servers=~50&directors=*&transitions=*&events=*&changes=*&reasons=*"
CASES = (
    Case(20, 50, DASHBOARD, "20 virtual servers × 50 services", goal=GOAL),
    Case(1000, 1, DASHBOARD, "1,000 virtual servers × 1 service", goal=GOAL),
    Case(20, 50, "", "20 × 50, every row of everything", goal=GOAL),
    Case(20, 50, f"{DASHBOARD}&plain=1", "20 × 50, packed for each browser apart", deflate=True),
)


def measure() -> Iterator[Figure]:
    """Figures of each case. Raises BenchError when browsers are not served."""
    with every_cpu():
        for case in CASES:
            with TemporaryDirectory(prefix="halfpipe-bench") as folder:
                yield from _one(case, Path(folder))


def web(port: int, *, deflate: bool = False) -> list[str]:
    """The console, as the lab runs it."""
    listen = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", "webui.asgi:application", *listen]
    return [*command, "--ws-per-message-deflate", "true" if deflate else "false"]


@contextmanager
def console(  # noqa: PLR0913 - the last by name
    place: Place, vservers: int, each: int, browsers: int, stack: ExitStack, *, deflate: bool = False
) -> Iterator[Console]:
    """A console with rows, running."""
    redis = stack.enter_context(running(place.redis(), place))
    place.python("manage.py", "migrate", "--verbosity", "0")
    shape = [str(one) for one in (vservers, each, browsers)]
    made = json.loads(place.python("-m", "dataplane.bench.console_rows", "--make", *shape))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = stack.enter_context(running(web(port, deflate=deflate), place))
    _wait_for(port)
    yield Console(port, made["cookie"], made["sessions"], redis, server)


@dataclass(frozen=True, slots=True)
class Console:
    """Where it listens, and who may look."""

    port: int
    cookie: str
    sessions: list[str]
    redis: subprocess.Popen[bytes]
    server: subprocess.Popen[bytes]


def _one(case: Case, folder: Path) -> Iterator[Figure]:
    place = Place(folder)
    with ExitStack() as stack, console(place, case.vservers, case.each, BROWSERS, stack, deflate=case.deflate) as made:
        given: dict[str, Any] = {"port": made.port, "cookie": made.cookie, "sessions": made.sessions, "wish": case.wish}
        given["deflate"] = case.deflate
        browsers = stack.enter_context(_talking(place, "dataplane.bench.console_browsers"))
        _say(browsers, given)
        _answer(browsers, PATIENCE)  # all have a snapshot
        reporting = ["--report", str(MEASURED + 8), str(CHANGE_EVERY)]
        director = stack.enter_context(_talking(place, "dataplane.bench.console_rows", *reporting))
        time.sleep(5)  # the first counters have gone out
        processes: Mapping[str, subprocess.Popen[bytes]] = {"web": made.server, "redis": made.redis}
        _say(browsers, "count")
        before, began = spent(processes), time.monotonic()
        time.sleep(MEASURED)
        used = {name: after - before[name] for name, after in spent(processes).items()}
        seconds = time.monotonic() - began
        _say(browsers, "report")
        seen = _answer(browsers, 30.0)
        director.wait(30)
        changes = [json.loads(line) for line in (director.stdout or [])]
    yield from _figures(case, {name: 100 * one / seconds for name, one in used.items()}, seconds, seen, changes)


def _figures(
    case: Case, percent: Mapping[str, float], seconds: float, seen: Mapping[str, Any], changes: list[dict[str, Any]]
) -> Iterator[Figure]:
    if seen["lost"] or seen["gaps"]:
        raise BenchError(f"{seen['lost']} of {BROWSERS} browsers were lost, {seen['gaps']} messages were missing")
    delays = []
    for change in changes:
        moments = seen["states"].get(f"{change['key']} {change['state']}", [])
        if len(moments) == BROWSERS:
            delays += [1000 * (at - change["at"]) for at in moments]
    if not delays:
        raise BenchError(f"none of {len(changes)} changes reached all {BROWSERS} browsers")
    section, goal = "browsers", case.goal
    raw = {f"{name} %": one for name, one in percent.items()}
    each = seen["bytes"] / BROWSERS / seconds
    raw |= {"bytes/s a browser": each, "messages/s a browser": seen["messages"] / BROWSERS / seconds}
    raw["bytes of the snapshot"] = seen["snapshot"]
    name = f"{BROWSERS} browsers, {case.name}"
    yield Figure(section, f"{name}: web server and Redis", "%", sum(percent.values()), None, goal, raw)
    spread = (min(delays), max(delays))
    yield Figure(section, f"{name}: a change of state, until seen", "ms", statistics.median(delays), spread)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            raise BenchError("the web server does not listen after 30 s")
        time.sleep(0.05)


@contextmanager
def _talking(place: Place, *module: str) -> Iterator[subprocess.Popen[str]]:
    """A program that is told and tells lines of JSON."""
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        env=place.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)


def _say(process: subprocess.Popen[str], what: object) -> None:
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str], seconds: float) -> Any:
    del seconds  # the program itself gives up in time
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    line = process.stdout.readline()
    if not line:
        raise BenchError("the browsers' program ended")
    return json.loads(line)
