"""From a server's failure to the kernel's table without it: worker, beat, Redis and data plane, all of them real.

The server is in a namespace of its own behind a veth; it is checked through the forwarder, at its VIP. It fails by
losing the VIP, as silently as a server can: each check then takes its whole response timeout.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from dataplane.bench.probes import Place, celery_of, every_cpu, running
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import FAR, BenchError, Sandbox, run
from dataplane.lab.netns import NETNS_DIR

TRIES = 5
VIP, DIRECTOR, SERVER = "10.90.200.1", "10.90.0.1", "10.90.1.1"
INTERVAL, RESPONSE_TIMEOUT, RETRIES = 2, 1, 1  # of the monitor that dataplane.bench.probe_rows makes


def measure(sandbox: Sandbox, forwarder: Path) -> Iterator[Figure]:
    """Three figures. Raises BenchError when the server does not come up, or its failure is not seen."""
    with every_cpu(), TemporaryDirectory(prefix="halfpipe-bench") as folder, ExitStack() as stack:
        more = {
            "HALFPIPE_INTERFACES": "egress",
            "HALFPIPE_PIN_DIR": str(sandbox.bpffs / "halfpipe"),
            "HALFPIPE_BPF_OBJECT": str(forwarder.resolve()),
        }
        place = Place(Path(folder), more)
        _network()
        listen = ["nsenter", f"--net={NETNS_DIR / FAR}", sys.executable, "-m", "http.server", "80"]
        stack.enter_context(running(listen))
        place.python("manage.py", "migrate", "--verbosity", "0")
        place.rows("--reaction", VIP, SERVER)
        stack.enter_context(running(place.redis()))
        stack.callback(_remove, place)
        stack.enter_context(running([sys.executable, "-m", "dataplane.worker"], place))
        for command in celery_of(place):
            stack.enter_context(running(command, place))
        follower = stack.enter_context(_follower(place))
        tries = [_try(follower) for _ in range(TRIES)]
    failure, check, verdict = ([one[n] for one in tries] for n in range(3))
    how = f"interval {INTERVAL} s, response timeout {RESPONSE_TIMEOUT} s, retries {RETRIES}"
    section = f"a server falls silent ({how})"
    goal = Goal("≤", RESPONSE_TIMEOUT * RETRIES + 1.0)
    yield Figure(section, "first failed check → table, slowest", "s", max(check), (min(check), max(check)), goal)
    spread = (min(verdict) * 1e3, max(verdict) * 1e3)
    yield Figure(section, "verdict → table, slowest", "ms", max(verdict) * 1e3, spread, Goal("≤", 200.0))
    yield Figure(section, "server's failure → table, median", "s", median(failure), (min(failure), max(failure)))


def _network() -> None:
    run("ip", "address", "add", f"{DIRECTOR}/16", "dev", "egress")
    run("ip", "-n", FAR, "link", "set", "lo", "up")
    run("ip", "-n", FAR, "address", "add", f"{SERVER}/16", "dev", "server")
    run("ip", "-n", FAR, "address", "add", f"{VIP}/32", "dev", "lo")


def _remove(place: Place) -> None:
    """Take the forwarder off the interface: other parts of the benchmark put theirs there."""
    place.python("-m", "dataplane.worker", "--remove")
    run("ip", "address", "flush", "dev", "egress")


@contextmanager
def _follower(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A process that knows the rows; starting one for each question would take the CPU that is measured with."""
    command = [sys.executable, "-m", "dataplane.bench.probe_rows", "--follow"]
    environment = place.environment()
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _try(follower: subprocess.Popen[str]) -> tuple[float, float, float]:
    """Seconds from the failure, from the beginning of the check that told, and from its end, to the table."""
    _wait(follower, "UP")
    time.sleep(INTERVAL * 1.37)  # not in step with the checks
    failed = time.time()
    run("ip", "-n", FAR, "address", "del", f"{VIP}/32", "dev", "lo")
    found = _wait(follower, "DOWN")
    run("ip", "-n", FAR, "address", "add", f"{VIP}/32", "dev", "lo")
    table = found["applied at"]
    return table - failed, table - found["verdict at"] + found["took"], table - found["verdict at"]


def _wait(follower: subprocess.Popen[str], state: str) -> dict[str, float]:
    """The times at which check and table came to be UP or DOWN."""
    if follower.stdin is None or follower.stdout is None or follower.stderr is None:
        raise BenchError("the rows cannot be followed without pipes")
    follower.stdin.write(f"{state}\n")
    follower.stdin.flush()
    answer = follower.stdout.readline()
    if not answer:
        raise BenchError(follower.stderr.read()[-400:])
    found: dict[str, float] = json.loads(answer)
    return found
