"""Bring the lab up, keep it, and take it down."""

from __future__ import annotations

import compileall
import contextlib
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

from dataplane.lab import host, procfs, session
from dataplane.lab.confine import confined
from dataplane.lab.errors import LabError
from dataplane.lab.netns import NETNS_DIR
from dataplane.lab.paths import UNPRIVILEGED, Paths
from dataplane.lab.processes import ADDRESS, Processes
from dataplane.lab.procfs import ProcessId
from dataplane.lab.server import write_files
from dataplane.lab.session import Record
from dataplane.lab.supervisor import Process, StopRequestedError, Supervisor
from dataplane.lab.topology import VIP4, Topology, quietly

STOP_SECONDS = 60.0  # all processes may take their 5 s
PACKAGES = ("webui", "monitors", "dataplane")


def say(line: str) -> None:
    """Show a line now; a terminal that is gone must not keep the lab from ending."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


class Lab:
    """One lab. ``bring_up`` starts its processes and raises LabError if one does not come up."""

    def __init__(
        self,
        paths: Paths,
        topology: Topology,
        port: int = 8000,
        bring_up: Callable[[Lab, Supervisor], None] | None = None,
    ) -> None:
        self.paths = paths
        self.topology = topology
        self.port = port
        self.record = Record(ProcessId(0, 0), str(paths.checkout))
        self._bring_up = bring_up or start_halfpipe

    def up(self) -> None:
        """Start, say `ready`, and stay until INT, TERM or HUP; then remove everything that was made.

        Raises LabError when the lab cannot start or a lab is running already; then, too, nothing is left.
        """
        host.require_root()
        host.require_tools()
        handle = session.acquire(self.paths)
        if handle is None:
            raise LabError(_already_running(self.paths))
        supervisor = Supervisor(self.paths.logs, say, self._record_processes)
        with handle, supervisor.signals():
            self._repair()
            try:
                host.require_port(ADDRESS, self.port)
                self._prepare()
                self._bring_up(self, supervisor)
                say("ready")
                supervisor.watch()
            except StopRequestedError as request:
                say(f"Ending the lab ({request}).")
            finally:
                supervisor.stop_all()
                session.remove_everything(self.paths, self.record)
                session.release(self.paths, handle)
        say("The lab has ended: no process, namespace, pin or interface of it is left.")

    def _repair(self) -> None:
        left = Record.load(self.paths.record)
        done = session.remove_everything(self.paths, left)
        if done:
            say(f"Repaired what an earlier lab left behind: {', '.join(done)}.")

    def _prepare(self) -> None:
        os.umask(0o022)
        _make_directory(self.paths.state, 0o755)
        _make_directory(self.paths.logs, 0o755)
        _make_directory(self.paths.data, 0o700, UNPRIVILEGED)
        _make_directory(self.paths.app, 0o755)
        _make_directory(self.paths.redis, 0o700, UNPRIVILEGED)
        _make_directory(self.paths.files, 0o755)
        owner = procfs.identify(os.getpid())
        if owner is None:
            raise LabError("/proc is not mounted, or not this pid namespace's: the lab cannot tell processes apart.")
        scratch = f"{self.topology.prefix}check"
        if taken := [name for name in (scratch, *self.topology.existing()) if (NETNS_DIR / name).exists()]:
            raise LabError(
                f"Network namespace {', '.join(taken)} exists already and was not made by this lab: "
                f"remove it with `ip netns delete {taken[0]}`."
            )
        self.record.owner = owner
        self.record.made_netns_dir = NETNS_DIR not in session.mounts_below(NETNS_DIR)
        self.record.namespaces = [scratch, *self.topology.namespaces]
        self.record.save(self.paths.record)
        host.mount_bpffs(self.paths.bpf)
        host.require_kernel_features(self.paths.bpf, scratch)
        self._require_readable()
        self.topology.up()
        write_files(self.paths.files)
        say(f"network: {', '.join(self.topology.namespaces)}")

    def _require_readable(self) -> None:
        test = ("sh", "-c", "test -r manage.py && test -r webui/settings.py && test -x .venv/bin/python")
        command = confined(test, show=(self.paths.checkout, self.paths.app), unprivileged=True)
        done = quietly(command)
        if done.returncode != 0:
            reason = " ".join(done.stderr.split())
            raise LabError(
                f"User nobody, who runs the console, cannot read {self.paths.checkout}: run `make setup` there, "
                f"and `chmod -R o+rX {self.paths.checkout}` if that does not help.{' ' if reason else ''}{reason}"
            )

    def _record_processes(self, running: dict[str, ProcessId]) -> None:
        self.record.processes = running
        self.record.save(self.paths.record)


def start_halfpipe(lab: Lab, supervisor: Supervisor) -> None:
    """Start all of Halfpipe, load the example and show how to get in."""
    for package in PACKAGES:  # the unprivileged processes cannot write their own
        compileall.compile_dir(lab.paths.checkout / package, quiet=2)
    make = Processes(lab.paths, lab.topology, lab.port)
    password_file = lab.paths.seen_by_processes(lab.paths.password_file)
    _start(supervisor, make.redis())
    for node in lab.topology.servers:
        for process in make.server(node):
            _start(supervisor, process)
    _run(supervisor, make.manage("migrate", "--no-input", "--verbosity", "0"))
    _run(supervisor, make.manage("load_example"))
    _run(supervisor, make.manage("ensure_admin", "--password-file", str(password_file)))
    for process in (make.web(), make.dataplane(), make.celery(), make.beat()):
        _start(supervisor, process)
    _run(supervisor, make.manage("halfpipe_status", "--wait-applied", "20", seconds=60), show=True)
    client = lab.topology.namespace("client")
    say("")
    say(f"Console:  http://{ADDRESS}:{lab.port}")
    say(f"User:     admin, {_password(lab.paths.password_file)}")
    say(f"Try:      ip netns exec {client} curl http://{VIP4}/")
    say(f"Logs:     {lab.paths.logs}")
    say("Stop:     Ctrl-C here, or `make lab-down` elsewhere")


def down(paths: Paths) -> None:
    """Stop a running lab and wait for it, or remove what a crashed one left. Raises LabError."""
    host.require_root()
    record = session.running(paths) if paths.run.exists() else None
    if record is not None:
        say(f"Ending the lab, pid {record.owner.pid}, started from {record.checkout}.")
        procfs.send(record.owner, signal.SIGTERM)
    elif not paths.run.exists():
        say("No lab is running.")
        return
    handle = session.wait_until_free(paths, STOP_SECONDS)
    if handle is None:
        raise LabError(f"The lab did not end within {STOP_SECONDS:.0f} s; its terminal or .lab/logs may tell why.")
    with handle:
        done = session.remove_everything(paths, Record.load(paths.record))
        session.release(paths, handle)
    if done:
        say(f"Removed what was left: {', '.join(done)}.")
    say("The lab is down.")


def describe(paths: Paths) -> str | None:
    """Return a sentence about the lab that runs; None when there is none."""
    record = session.running(paths)
    return None if record is None else _describe(record)


def _describe(record: Record) -> str:
    return f"A lab is already running, pid {record.owner.pid}, started from {record.checkout}"


def _already_running(paths: Paths) -> str:
    record = session.running(paths)
    if record is None:
        return "A lab was just ending: try again."
    return f"{_describe(record)}: stop it with `make lab-down`."


def _start(supervisor: Supervisor, process: Process) -> None:
    seconds = supervisor.start(process)
    say(f"{process.name}: running, {seconds:.1f} s")


def _run(supervisor: Supervisor, process: Process, *, show: bool = False) -> None:
    begun = time.monotonic()
    output = supervisor.run(process, may_fail=show)
    say(f"{process.name}: done, {time.monotonic() - begun:.1f} s")
    for line in output.splitlines() if show else ():
        say(f"    {line}")


def _make_directory(path: Path, mode: int, owner: int = 0) -> None:
    """Make a directory, or give the existing one this mode and owner; a link in its place is refused."""
    path.mkdir(mode=mode, exist_ok=True)
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise LabError(f"{path} is not a directory: move it away.")
    os.chown(path, owner, owner)
    path.chmod(mode)


def _password(path: Path) -> str:
    """Tell the generated password; the directory is the unprivileged processes', so no link in there is followed."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW)) as file:
            return f"password {file.read().strip()}"
    except FileNotFoundError:
        return f"with the password that was set before {path} was removed"
    except OSError as error:
        raise LabError(f"The password file {path} cannot be read: {error.strerror}.") from error
