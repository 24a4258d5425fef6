"""One lab a machine: the lock, the record of what it made, and the removal of it all."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from dataplane.lab import procfs
from dataplane.lab.errors import LabError
from dataplane.lab.netns import NETNS_DIR
from dataplane.lab.paths import Paths
from dataplane.lab.procfs import ProcessId
from dataplane.lab.topology import ip, quietly


@dataclass(slots=True)
class Record:
    """What a lab writes down before or as soon as it makes it."""

    owner: ProcessId
    checkout: str
    namespaces: list[str] = field(default_factory=list)
    processes: dict[str, ProcessId] = field(default_factory=dict)
    made_netns_dir: bool = False

    def save(self, path: Path) -> None:
        """Replace the file in one step, readable by root alone."""
        document = {
            "pid": self.owner.pid,
            "start_time": self.owner.start_time,
            "checkout": self.checkout,
            "namespaces": self.namespaces,
            "processes": {name: [one.pid, one.start_time] for name, one in self.processes.items()},
            "made_netns_dir": self.made_netns_dir,
        }
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(document, indent=1))
        draft.chmod(0o600)
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> Record | None:
        """Read the file; None when there is none. Raises LabError when it is not one of ours."""
        try:
            document = json.loads(path.read_text())
            return cls(
                owner=ProcessId(document["pid"], document["start_time"]),
                checkout=document["checkout"],
                namespaces=list(document["namespaces"]),
                processes={name: ProcessId(*pair) for name, pair in document["processes"].items()},
                made_netns_dir=document["made_netns_dir"],
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(f"{path} is damaged ({error!r}): remove {path.parent} by hand, then try again.") from error


def acquire(paths: Paths) -> IO[str] | None:
    """Take the machine's lab lock; None when a lab holds it. It is freed with the process, however that ends."""
    while True:
        paths.run.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = paths.lock.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        try:
            if os.fstat(handle.fileno()).st_ino == paths.lock.stat().st_ino:
                return handle
        except FileNotFoundError:
            pass  # a lab that ended removed the file between our open and our lock: this lock guards nothing
        handle.close()


def running(paths: Paths) -> Record | None:
    """Return the record of the lab that runs now; None when there is none."""
    if not paths.lock.exists():
        return None
    with paths.lock.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            record = Record.load(paths.record)
            if record is None or not procfs.is_running(record.owner):
                raise LabError("A lab is just starting or ending: try again in a moment.") from None
            return record
    return None


def mounts_below(directory: Path) -> list[Path]:
    """Return the mount points at or below a directory, innermost (and newest) first."""
    points = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if point == directory or directory in point.parents]


def remove_everything(paths: Paths, record: Record | None) -> list[str]:
    """Remove what the record names and what lies under ``paths.run`` (except the lock); return a line for each thing.

    Every path is named here one by one: nothing is removed recursively, so no mount can lead astray.
    """
    done: list[str] = []
    if record is not None:
        ended = procfs.end(record.processes.values())
        done += [f"ended {ended} processes"] if ended else []
        done += _remove_namespaces(record.namespaces)
        if record.made_netns_dir:
            _remove_netns_dir()
    for point in mounts_below(paths.run):
        _unmount(point)
        done.append(f"unmounted {point}")
    for directory in (paths.redis, paths.files):
        for file in directory.iterdir() if directory.is_dir() else ():
            file.unlink()
    for directory in (paths.app, paths.bpf, paths.redis, paths.files):
        if directory.is_dir():
            directory.rmdir()
    for file in (paths.record, paths.record.with_suffix(".new")):
        file.unlink(missing_ok=True)
    return done


def _unmount(point: Path) -> None:
    # Lazy: a shell that stands in there keeps its view, but does not keep the lab from ending.
    done = quietly(["umount", "--lazy", str(point)])
    if done.returncode != 0:
        raise LabError(f"{point} could not be unmounted: {done.stderr.strip()}.")


def _remove_namespaces(names: Iterable[str]) -> list[str]:
    present = [name for name in names if (NETNS_DIR / name).exists()]
    for name in present:
        ip("netns", "delete", name)
    return [f"removed network namespace {name}" for name in present]


def _remove_netns_dir() -> None:
    """Undo the first `ip netns add`, which made /run/netns a mount point, unless somebody has a namespace there."""
    if NETNS_DIR.is_dir() and not any(NETNS_DIR.iterdir()):
        while NETNS_DIR in mounts_below(NETNS_DIR):
            _unmount(NETNS_DIR)
        NETNS_DIR.rmdir()


def release(paths: Paths, handle: IO[str]) -> None:
    """Remove the lock and its directory, then let go."""
    paths.lock.unlink(missing_ok=True)
    if not any(paths.run.iterdir()):
        paths.run.rmdir()
    handle.close()


def wait_until_free(paths: Paths, seconds: float) -> IO[str] | None:
    """Take the lock as soon as it is free; None when it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while (handle := acquire(paths)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return handle
