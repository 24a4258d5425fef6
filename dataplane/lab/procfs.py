"""Processes told apart by pid and start time, so that a reused pid is never mistaken for one of ours."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
STATE, SESSION, START_TIME = 0, 3, 19  # indexes into /proc/PID/stat after the command name, see proc(5)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process; ``start_time`` is in clock ticks since boot, field 22 of /proc/PID/stat."""

    pid: int
    start_time: int


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat after the command name; None when there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def identify(pid: int) -> ProcessId | None:
    """Return the identity of the process that has this pid now; None when there is none."""
    fields = _stat(pid)
    return None if fields is None else ProcessId(pid, int(fields[START_TIME]))


def is_running(process: ProcessId) -> bool:
    """Tell whether this very process exists and is not a zombie."""
    fields = _stat(process.pid)
    return fields is not None and int(fields[START_TIME]) == process.start_time and fields[STATE] != "Z"


def session_of(leader: ProcessId) -> list[ProcessId]:
    """Return the running members of the session that this process started with setsid(2).

    The kernel gives out no pid that is still in use as a session id, so a stranger can be in that session only when
    the pid now belongs to another leader: then nothing is returned.
    """
    now = identify(leader.pid)
    if now is not None and now != leader:
        return []
    members = []
    for entry in PROC.iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdecimal() else None
        if fields is not None and int(fields[SESSION]) == leader.pid and fields[STATE] != "Z":
            start = int(fields[START_TIME])
            if start >= leader.start_time:
                members.append(ProcessId(int(entry.name), start))
    return members


def send(process: ProcessId, number: signal.Signals) -> None:
    """Signal this very process; a process that is gone is left in peace."""
    try:
        handle = os.pidfd_open(process.pid)  # holds on to the process, so the check below stays true
    except ProcessLookupError:
        return
    try:
        if identify(process.pid) == process:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def end(leaders: Iterable[ProcessId], *, grace: float = 5.0) -> int:
    """End the sessions of these leaders: TERM, up to ``grace`` seconds, KILL. Return how many processes there were."""
    leaders = tuple(leaders)
    found = {member for leader in leaders for member in session_of(leader)}
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        alive = {member for leader in leaders for member in session_of(leader)}
        for process in alive:
            send(process, number)
        deadline = time.monotonic() + patience
        while any(is_running(process) for process in alive) and time.monotonic() < deadline:
            time.sleep(0.02)
    return len(found)
