"""A lab from start to end, with stand-ins for Halfpipe itself: real namespaces, real Redis, real servers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataplane.lab import lab, procfs, readiness, session
from dataplane.lab.confine import confined
from dataplane.lab.errors import LabError
from dataplane.lab.netns import NETNS_DIR
from dataplane.lab.paths import UNPRIVILEGED, Paths
from dataplane.lab.processes import BASE_ENVIRONMENT
from dataplane.lab.procfs import ProcessId
from dataplane.lab.session import Record
from dataplane.lab.topology import Topology, ip
from tests.ports import free_port

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("needs_root")]

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in.py")


class Terminal:
    """A lab that somebody started, and what it has said so far."""

    def __init__(self, paths: Paths, prefix: str, port: int) -> None:
        self._output = paths.checkout.parent / f"terminal-{time.monotonic_ns()}"
        command = [sys.executable, str(STAND_IN), str(paths.checkout), str(paths.run), prefix, str(port)]
        with self._output.open("wb") as output:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            )

    @property
    def said(self) -> str:
        return self._output.read_text()

    def until(self, pattern: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.said, re.MULTILINE):
            assert time.monotonic() < deadline, f"not said in time: {pattern}\n{self.said}"
            assert self.popen.poll() is None, f"ended before saying {pattern}:\n{self.said}"
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(30)


@pytest.fixture
def port() -> int:
    """A port of the console."""
    return free_port()


@pytest.fixture
def start(paths: Paths, prefix: str, port: int) -> Iterator[Callable[[], Terminal]]:
    terminals: list[Terminal] = []

    def begin() -> Terminal:
        terminals.append(Terminal(paths, prefix, port))
        return terminals[-1]

    try:
        yield begin
    finally:
        for terminal in terminals:
            terminal.end()


def processes_of(paths: Paths) -> dict[str, ProcessId]:
    record = Record.load(paths.record)
    assert record is not None
    assert {"redis", "server1-http", "server1-tftp", "web", "dataplane"} <= set(record.processes)
    return record.processes


def assert_nothing_is_left(paths: Paths, prefix: str, processes: dict[str, ProcessId]) -> None:
    assert [name for name, one in processes.items() if procfs.session_of(one)] == []
    assert not paths.run.exists()
    assert not list(NETNS_DIR.glob(f"{prefix}*"))
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(paths.run) not in mounts
    assert prefix not in mounts


def test_a_lab_ends_with_ctrl_c_and_leaves_nothing_but_its_state(
    paths: Paths, prefix: str, start: Callable[[], Terminal]
) -> None:
    terminal = start()
    terminal.until("^ready$")
    processes = processes_of(paths)
    network = Topology(prefix)
    client = network.namespace("client")
    for address in ("10.77.0.11", "fd77::11"):
        assert readiness.http_answers(address, 80, "/10mb.bin", client) is None
        assert readiness.tftp_answers(address, "1mb.bin", client) is None
    assert readiness.redis_answers(paths.redis_socket) is None
    assert "no worker" in str(readiness.celery_consumes(paths.redis_socket))
    assert terminal.end() == 0
    assert "Ending the lab (SIGINT)." in terminal.said
    assert_nothing_is_left(paths, prefix, processes)
    assert (paths.data / "web-was-here").exists()


def test_the_console_is_nobody_and_sees_the_checkout_that_nobody_may_enter(
    paths: Paths, start: Callable[[], Terminal]
) -> None:
    assert paths.checkout.parent.stat().st_mode & 0o777 == 0o700
    start().until("^ready$")
    processes = processes_of(paths)
    for name, uid in (("web", UNPRIVILEGED), ("redis", UNPRIVILEGED), ("server1-http", UNPRIVILEGED), ("dataplane", 0)):
        status = Path(f"/proc/{processes[name].pid}/status").read_text()
        assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", status, re.MULTILINE), name
        if uid:
            assert re.search(r"^Groups:\t? *$", status, re.MULTILINE), name
            for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
                assert re.search(rf"^Cap{kind}:\t0+$", status, re.MULTILINE), (name, kind)
            assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE), name
    said = (paths.logs / "web.log").read_text().split("\n")
    assert said[:2] == [str(UNPRIVILEGED), str(paths.app)]
    assert "manage.py" in said
    assert list(paths.app.iterdir()) == []  # for everybody else there is nothing
    assert (paths.data / "web-was-here").stat().st_uid == UNPRIVILEGED


def test_redis_listens_on_no_port(paths: Paths, start: Callable[[], Terminal]) -> None:
    start().until("^ready$")
    pid = processes_of(paths)["redis"].pid
    listening = subprocess.run(["ss", "-Hltnup"], capture_output=True, text=True, timeout=10, check=True).stdout
    assert f"pid={pid}," not in listening
    assert "# Keyspace\r\n" in readiness.redis_command(paths.redis_socket, "INFO")


def test_a_second_lab_is_refused_and_the_first_goes_on(paths: Paths, start: Callable[[], Terminal]) -> None:
    first = start()
    first.until("^ready$")
    second = start()
    assert second.end(signal.SIGCONT) == 1
    assert f"A lab is already running, pid {first.popen.pid}, started from {paths.checkout}" in second.said
    assert "make lab-down" in second.said
    assert first.popen.poll() is None
    assert readiness.redis_answers(paths.redis_socket) is None
    assert lab.describe(paths) == f"A lab is already running, pid {first.popen.pid}, started from {paths.checkout}"


def test_lab_down_ends_the_lab_of_another_terminal_and_nothing_else(
    paths: Paths, prefix: str, start: Callable[[], Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = start()
    terminal.until("^ready$")
    processes = processes_of(paths)
    strange = f"{prefix}stranger"
    ip("netns", "add", strange)
    command = ["nsenter", f"--net={NETNS_DIR / f'{prefix}client'}", "sleep", "60"]
    stranger = subprocess.Popen(command, start_new_session=True)
    try:
        lab.down(paths)
        assert terminal.popen.wait(5) == 0
        assert stranger.poll() is None
        assert (NETNS_DIR / strange).exists()
    finally:
        stranger.kill()
        stranger.wait(5)
        ip("netns", "delete", strange)
    assert_nothing_is_left(paths, prefix, processes)
    assert f"Ending the lab, pid {terminal.popen.pid}" in capsys.readouterr().out
    lab.down(paths)
    assert "No lab is running." in capsys.readouterr().out


def test_a_killed_lab_takes_its_processes_along_and_the_next_start_repairs_the_rest(
    paths: Paths, prefix: str, start: Callable[[], Terminal]
) -> None:
    first = start()
    first.until("^ready$")
    processes = processes_of(paths)
    first.end(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(procfs.is_running(one) for one in processes.values()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [name for name, one in processes.items() if procfs.is_running(one)] == []
    assert Topology(prefix).existing() != []
    second = start()
    second.until("^ready$")
    assert "Repaired what an earlier lab left behind:" in second.said
    assert f"removed network namespace {prefix}director" in second.said
    processes |= processes_of(paths)
    assert second.end(signal.SIGTERM) == 0
    assert_nothing_is_left(paths, prefix, processes)


def test_lab_down_removes_what_a_killed_lab_left(
    paths: Paths, prefix: str, start: Callable[[], Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = start()
    terminal.until("^ready$")
    processes = processes_of(paths)
    terminal.end(signal.SIGKILL)
    lab.down(paths)
    assert f"unmounted {paths.bpf}" in capsys.readouterr().out
    assert_nothing_is_left(paths, prefix, processes)


def test_a_record_whose_pids_belong_to_others_by_now_ends_nobody(paths: Paths) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        identity = procfs.identify(stranger.pid)
        assert identity is not None
        old = ProcessId(identity.pid, identity.start_time - 100)
        paths.run.mkdir()
        Record(old, "/elsewhere", processes={"web": old}).save(paths.record)
        lab.down(paths)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(5)
    assert not paths.run.exists()


def test_a_damaged_record_is_told_and_nothing_is_touched(paths: Paths, start: Callable[[], Terminal]) -> None:
    paths.run.mkdir()
    paths.record.write_text("{}")
    terminal = start()
    assert terminal.end(signal.SIGCONT) == 1
    assert f"{paths.record} is damaged" in terminal.said
    with pytest.raises(LabError, match="is damaged"):
        lab.down(paths)
    paths.record.unlink()


def test_a_busy_port_is_told_with_who_has_it(
    paths: Paths, prefix: str, port: int, start: Callable[[], Terminal]
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        terminal = start()
        assert terminal.end(signal.SIGCONT) == 1
    assert f"Port {port} on 127.0.0.1 is in use by " in terminal.said
    assert f"(pid {os.getpid()})" in terminal.said
    assert "make lab PORT=" in terminal.said
    assert "Traceback" not in terminal.said
    assert_nothing_is_left(paths, prefix, {})


def test_a_namespace_of_somebody_else_is_told_and_kept(
    paths: Paths, prefix: str, start: Callable[[], Terminal]
) -> None:
    strange = f"{prefix}server2"
    ip("netns", "add", strange)
    try:
        terminal = start()
        assert terminal.end(signal.SIGCONT) == 1
        assert f"{strange} exists already and was not made by this lab" in terminal.said
        assert (NETNS_DIR / strange).exists()
    finally:
        ip("netns", "delete", strange)
    assert_nothing_is_left(paths, prefix, {})


def test_a_process_that_dies_is_told_and_started_again(paths: Paths, start: Callable[[], Terminal]) -> None:
    terminal = start()
    terminal.until("^ready$")
    web = processes_of(paths)["web"]
    procfs.send(web, signal.SIGKILL)
    terminal.until("^web was started again")
    assert "web ended with signal SIGKILL" in terminal.said
    assert processes_of(paths)["web"] != web


def test_a_checkout_that_nobody_may_read_is_told(paths: Paths, prefix: str, start: Callable[[], Terminal]) -> None:
    (paths.checkout / "manage.py").chmod(0o600)
    terminal = start()
    assert terminal.end(signal.SIGCONT) == 1
    assert f"chmod -R o+rX {paths.checkout}" in terminal.said
    assert_nothing_is_left(paths, prefix, {})


def test_a_link_in_place_of_the_state_is_refused(paths: Paths, tmp_path: Path, start: Callable[[], Terminal]) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (paths.checkout / ".lab").mkdir()
    paths.data.symlink_to(tmp_path / "elsewhere")
    terminal = start()
    assert terminal.end(signal.SIGCONT) == 1
    assert f"{paths.data} is not a directory" in terminal.said
    assert (tmp_path / "elsewhere").stat().st_uid == 0


@pytest.mark.parametrize("command", ["up", "down"])
def test_without_root_one_sentence_says_so(paths: Paths, command: str) -> None:
    paths.run.mkdir()
    paths.app.mkdir()
    arguments = ("/usr/bin/python3", "-m", "dataplane.lab", command)
    done = subprocess.run(
        confined(arguments, show=(paths.checkout, paths.app), unprivileged=True),
        env=BASE_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("lab: The lab needs root")
    assert "sudo make lab" in done.stderr


def test_the_lock_frees_itself_and_survives_its_directory(paths: Paths) -> None:
    first = session.acquire(paths)
    assert first is not None
    assert session.acquire(paths) is None
    session.release(paths, first)
    assert not paths.run.exists()
    again = session.wait_until_free(paths, 1)
    assert again is not None
    assert session.wait_until_free(paths, 0.2) is None
    session.release(paths, again)
