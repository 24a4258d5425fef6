"""From a server's failure to the kernel's table without it: worker, beat, Redis and data plane, all of them real.

The server is in a namespace of its own behind a veth; it is checked through the forwarder, at its VIP. It fails by
losing the VIP, as silently as a server can: each check then takes its whole response timeout.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.bench.probes import Place, celery_of, every_cpu, running
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import FAR, BenchError, Sandbox, run
from dataplane.lab.netns import NETNS_DIR

VIP, DIRECTOR, SERVER = "10.90.200.1", "10.90.0.1", "10.90.1.1"


@dataclass(frozen=True, slots=True)
class Case:
    """Times of the monitor in milliseconds; how often the server fails."""

    interval: int
    resp_timeout: int
    retries: int
    retry_interval: int
    tries: int

    @property
    def limit(self) -> float:
        """Seconds that it may take: the checks that are needed, and one more second."""
        return self.resp_timeout * self.retries / 1e3 + 1.0

    def __str__(self) -> str:
        times = f"interval {self.interval / 1e3:g} s, response timeout {self.resp_timeout / 1e3:g} s"
        retries = f", retry interval {self.retry_interval / 1e3:g} s" if self.retries > 1 else ""
        return f"a server falls silent ({times}, retries {self.retries}{retries})"


# NetScaler's defaults but for the retry interval; one check; and one so often that the wait for it fits in as well.
OFTEN = Case(600, 500, 3, 500, 5)
CASES = (Case(5000, 2000, 3, 2000, 3), Case(2000, 1000, 1, 0, 5), OFTEN)


def measure(sandbox: Sandbox, forwarder: Path) -> Iterator[Figure]:
    """Three figures a case. Raises BenchError when the server does not come up, or its failure is not seen."""
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
        arrivals = stack.enter_context(_arrivals())
        for case in CASES:
            _ask(follower, f"TIMES {case.interval} {case.resp_timeout} {case.retries} {case.retry_interval}")
            yield from _figures(case, [_try(follower, arrivals, case) for _ in range(case.tries)])


def _figures(case: Case, tries: Sequence[tuple[float, float, float]]) -> Iterator[Figure]:
    failure, check, verdict = ([one[n] for one in tries] for n in range(3))
    goal = Goal("≤", case.limit)
    section = str(case)
    yield Figure(section, "first failed check → table, slowest", "s", max(check), (min(check), max(check)), goal)
    # The time until the first check that can fail is no check's own; where checks are made often it fits in as well.
    own = goal if case is OFTEN else None
    yield Figure(section, "server's failure → table, slowest", "s", max(failure), (min(failure), max(failure)), own)
    spread = (min(verdict) * 1e3, max(verdict) * 1e3)
    yield Figure(section, "verdict → table, slowest", "ms", max(verdict) * 1e3, spread, Goal("≤", 200.0))


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


@contextmanager
def _arrivals() -> Iterator[list[float]]:
    """When SYNs for the VIP came to the server, Unix time; grows from another thread."""
    seen: list[float] = []
    wanted = f"dst host {VIP} and tcp[tcpflags] & tcp-syn != 0"
    command = ["tcpdump", "-i", "server", "-ntt", "-l", "--immediate-mode", "-s", "64", wanted]
    with subprocess.Popen(
        ["nsenter", f"--net={NETNS_DIR / FAR}", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        lines = process.stdout or ()
        reader = threading.Thread(
            target=lambda: seen.extend(float(line.split()[0]) for line in lines), name="arrivals", daemon=True
        )
        reader.start()
        try:
            yield seen
        finally:
            process.kill()
            reader.join()


def _try(follower: subprocess.Popen[str], arrivals: list[float], case: Case) -> tuple[float, float, float]:
    """Seconds from the failure, from the first check after it, and from the verdict, to the table."""
    _wait(follower, "UP")
    time.sleep(case.interval / 1e3 * 1.37)  # not in step with the checks
    failed = time.time()
    run("ip", "-n", FAR, "address", "del", f"{VIP}/32", "dev", "lo")
    found = _wait(follower, "DOWN")
    run("ip", "-n", FAR, "address", "add", f"{VIP}/32", "dev", "lo")
    table = found["applied at"]
    first = next((at for at in arrivals if at > failed), None)
    if first is None:
        raise BenchError("the server turned DOWN without a check that reached it")
    return table - failed, table - first, table - found["verdict at"]


def _wait(follower: subprocess.Popen[str], state: str) -> dict[str, float]:
    """The times at which check and table came to be UP or DOWN."""
    found: dict[str, float] = json.loads(_ask(follower, state))
    return found


def _ask(follower: subprocess.Popen[str], line: str) -> str:
    if follower.stdin is None or follower.stdout is None or follower.stderr is None:
        raise BenchError("the rows cannot be followed without pipes")
    follower.stdin.write(f"{line}\n")
    follower.stdin.flush()
    answer = follower.stdout.readline()
    if not answer:
        raise BenchError(follower.stderr.read()[-400:])
    return answer
