"""Start processes in order, notice when one dies, start it again, and end them all in reverse order."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from dataplane.lab import procfs
from dataplane.lab.errors import LabError
from dataplane.lab.procfs import ProcessId

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOG_LIMIT = 16 * 1024 * 1024  # bytes; a longer log is moved to NAME.log.1
SETTLED = 60.0  # seconds after which earlier deaths of a process no longer count
_libc = ctypes.CDLL(None, use_errno=True)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequestedError(Exception):
    """Somebody asked the lab to end; the text names the signal."""


@dataclass(frozen=True, slots=True)
class Process:
    """What to run, and how to tell that it does its work.

    ``ready`` returns None when the process is ready, else what is missing, as a phrase. A process that dies is
    started again at most ``restarts`` times in a row, after 1, 2, 4 ... ``max_delay`` seconds.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path("/")
    ready: Callable[[], str | None] | None = None
    ready_seconds: float = 30.0
    restarts: int = 5
    first_delay: float = 1.0
    max_delay: float = 16.0


@dataclass(slots=True)
class _Child:
    process: Process
    popen: subprocess.Popen[bytes]
    identity: ProcessId
    since: float
    deaths: int = 0
    retry_at: float | None = None
    given_up: bool = False


class Supervisor:
    """``say`` gets each line for the person at the terminal; ``record`` gets every change of the running processes."""

    def __init__(
        self,
        logs: Path,
        say: Callable[[str], None],
        record: Callable[[dict[str, ProcessId]], None],
    ) -> None:
        self._logs = logs
        self._say = say
        self._record = record
        self._children: dict[str, _Child] = {}
        self._stop: str | None = None
        self._ending = False
        self._wake, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake, False)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn INT, TERM and HUP into a request to stop, and adopt orphans of our processes, for the block."""
        _adopt_orphans(1)
        old = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        old_wake = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_wake)
            for number, handler in old.items():
                signal.signal(number, handler)
            _adopt_orphans(0)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._stop is None:
            self._stop = signal.Signals(number).name
        elif self._ending:
            self._say("Ending already; a few seconds more.")

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._logs / f"{name}.log"

    def running(self) -> dict[str, ProcessId]:
        """Return the processes that were started and have not ended, by name."""
        return {name: one.identity for name, one in self._children.items() if one.popen.poll() is None}

    def start(self, process: Process) -> float:
        """Start a process and wait until it is ready; return the seconds that took.

        Raises LabError, with the end of its log, when it dies first or is not ready in time.
        """
        begun = time.monotonic()
        child = self._spawn(process)
        while True:
            missing = process.ready() if process.ready else None
            if child.popen.poll() is not None:
                raise LabError(f"{process.name} ended with {_outcome(child.popen)} at once.{self._tail(process.name)}")
            if missing is None:
                return time.monotonic() - begun
            if time.monotonic() - begun > process.ready_seconds:
                reason = f"{process.name} is not ready after {process.ready_seconds:.0f} s: {missing}."
                raise LabError(reason + self._tail(process.name))
            self._sleep(0.05)

    def run(self, process: Process, *, may_fail: bool = False) -> str:
        """Run a process to its end, at most ``ready_seconds``; return what it wrote.

        Raises LabError when it fails (unless ``may_fail``) or takes longer.
        """
        offset = self.log(process.name).stat().st_size if self.log(process.name).exists() else 0
        child = self._spawn(process)
        deadline = time.monotonic() + process.ready_seconds
        while child.popen.poll() is None:
            if time.monotonic() > deadline:
                self._end(child)
                raise LabError(
                    f"{process.name} took longer than {process.ready_seconds:.0f} s.{self._tail(process.name)}"
                )
            self._sleep(0.05)
        del self._children[process.name]
        self._record(self.running())
        if child.popen.returncode != 0 and not may_fail:
            raise LabError(f"{process.name} failed with {_outcome(child.popen)}.{self._tail(process.name)}")
        with self.log(process.name).open(errors="replace") as log:
            log.seek(offset)
            return log.read()

    def watch(self) -> None:
        """Keep the processes running until somebody asks to stop: raises StopRequestedError."""
        while True:
            self._sleep(1.0)
            for child in list(self._children.values()):
                self._look_after(child)

    def stop_all(self) -> None:
        """End every process, the newest first: TERM, up to 5 s, KILL; then whatever they left behind."""
        self._ending = True
        for child in reversed(list(self._children.values())):
            self._end(child)
        self._children.clear()
        self._record({})

    def _spawn(self, process: Process) -> _Child:
        self._check_stop()
        with self.log(process.name).open("ab") as log:
            popen = subprocess.Popen(
                process.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=process.directory,
                env=dict(process.environment),
                start_new_session=True,  # Ctrl-C is for the lab, which then ends its processes in order
                preexec_fn=partial(_die_with, os.getpid()),  # noqa: PLW1509 - the lab has no threads
            )
        identity = procfs.identify(popen.pid)
        if identity is None:
            raise LabError(f"{process.name} could not be started.")
        child = _Child(process, popen, identity, time.monotonic())
        self._children[process.name] = child
        self._record(self.running())
        return child

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        name = child.process.name
        if child.given_up:
            return
        if child.retry_at is not None:
            if now >= child.retry_at:
                self._spawn(child.process).deaths = child.deaths
                self._say(f"{name} was started again.")
            return
        if child.popen.poll() is None:
            self._rotate(self.log(name))
            return
        child.deaths = 1 if now - child.since > SETTLED else child.deaths + 1
        self._record(self.running())
        told = f"{name} ended with {_outcome(child.popen)}"
        if child.deaths > child.process.restarts:
            child.given_up = True
            self._say(f"{told} for the {child.deaths}th time and is not started again.{self._tail(name)}")
            return
        delay = min(child.process.first_delay * 2 ** (child.deaths - 1), child.process.max_delay)
        child.retry_at = now + delay
        self._say(f"{told}; it is started again in {delay:g} s.{self._tail(name)}")

    def _end(self, child: _Child) -> None:
        if child.popen.poll() is None:
            child.popen.terminate()
            try:
                child.popen.wait(5)
            except subprocess.TimeoutExpired:
                self._say(f"{child.process.name} did not end within 5 s and was killed.")
        procfs.end([child.identity], grace=0)
        child.popen.wait(5)
        self._reap()

    def _sleep(self, seconds: float) -> None:
        """Wait until a signal or a child's end, or the time is over. Raises StopRequestedError."""
        self._check_stop()
        if select.select([self._wake], [], [], seconds)[0]:
            os.read(self._wake, 4096)
            self._reap()
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop is not None and not self._ending:
            raise StopRequestedError(self._stop)

    def _reap(self) -> None:
        """Collect ended processes: ours through their Popen, which must see them, adopted ones here."""
        ours = {child.popen.pid: child for child in self._children.values()}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            child = ours.get(ended.si_pid)
            if child is not None:
                child.popen.wait()
            else:
                os.waitpid(ended.si_pid, 0)

    def _rotate(self, log: Path) -> None:
        if log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)  # the process writes in append mode, so it goes on at the new end

    def _tail(self, name: str, lines: int = 15) -> str:
        log = self.log(name)
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - 8192))
            last = handle.read().decode(errors="replace").splitlines()[-lines:]
        return "".join(f"\n    {name} | {line}" for line in last) + f"\n    (all of it: {log})"


def _die_with(parent: int) -> None:
    """In a new child: be killed when the lab is, however early. setpriv renews this, as a change of user undoes it."""
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != parent:
        os._exit(1)


def _adopt_orphans(on: int) -> None:
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _outcome(popen: subprocess.Popen[bytes]) -> str:
    code = popen.returncode
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
