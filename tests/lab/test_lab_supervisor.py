"""Processes that start, die, hang and leave children behind; small stand-ins, no root."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane.lab import procfs, supervisor
from dataplane.lab.errors import LabError
from dataplane.lab.procfs import ProcessId
from dataplane.lab.supervisor import Process, StopRequestedError, Supervisor


class Heard:
    """What the supervisor said, and the running processes as it recorded them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.records: list[dict[str, ProcessId]] = []

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def keeper(tmp_path: Path, heard: Heard) -> Iterator[Supervisor]:
    one = Supervisor(tmp_path, heard.lines.append, heard.records.append)
    with one.signals():
        try:
            yield one
        finally:
            one.stop_all()


def python(name: str, program: str, **rest: Any) -> Process:
    """A process that runs a Python program."""
    return Process(name, (sys.executable, "-u", "-c", program), {"PATH": os.environ["PATH"]}, **rest)


def sleeper(name: str = "sleeper", **rest: Any) -> Process:
    return Process(name, ("sleep", "60"), {"PATH": os.environ["PATH"]}, **rest)


def watch_until(keeper: Supervisor, done: Callable[[], bool], seconds: float = 15.0) -> None:
    """Watch, and ask to stop as soon as ``done`` (or the time) is up."""

    def ask() -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with pytest.raises(StopRequestedError, match="SIGTERM"):
            keeper.watch()
    finally:
        thread.join(seconds + 5)
    assert done()


def test_a_process_is_started_once_it_is_ready_and_is_on_record(
    keeper: Supervisor, heard: Heard, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    program = f"import pathlib, time; time.sleep(.3); pathlib.Path({str(flag)!r}).touch(); time.sleep(60)"
    keeper.start(python("late", program, ready=lambda: None if flag.exists() else "no flag"))
    assert flag.exists()
    assert procfs.is_running(heard.records[-1]["late"])
    assert keeper.running() == heard.records[-1]


def test_a_process_that_dies_at_once_is_reported_with_the_end_of_its_log(keeper: Supervisor) -> None:
    program = "import sys; [print('line', n) for n in range(40)]; sys.exit('cannot open the door')"
    with pytest.raises(LabError) as error:
        keeper.start(python("porter", program, ready=lambda: "no answer"))
    told = str(error.value)
    assert "porter ended with exit code 1 at once." in told
    assert "porter | cannot open the door" in told
    assert "porter | line 39" in told
    assert "porter | line 20\n" not in told


def test_a_process_that_never_gets_ready_is_reported_with_what_is_missing(keeper: Supervisor) -> None:
    with pytest.raises(LabError, match=r"sleeper is not ready after 0 s: no answer on port 1\."):
        keeper.start(sleeper(ready=lambda: "no answer on port 1", ready_seconds=0.2))


def test_a_process_that_dies_is_reported_and_started_again(keeper: Supervisor, heard: Heard) -> None:
    keeper.start(sleeper(first_delay=0.1))
    before = keeper.running()["sleeper"]
    os.kill(before.pid, signal.SIGKILL)
    watch_until(keeper, lambda: "sleeper was started again." in heard.lines)
    assert "sleeper ended with signal SIGKILL; it is started again in 0.1 s." in heard.text
    after = keeper.running()["sleeper"]
    assert after != before
    assert heard.records[-1] == {"sleeper": after}


def test_a_process_that_dies_too_often_is_given_up_with_longer_and_longer_delays(
    keeper: Supervisor, heard: Heard, tmp_path: Path
) -> None:
    program = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); import time; time.sleep(.1); raise SystemExit(7)"
    keeper.start(python("moth", program, restarts=3, first_delay=0.1, max_delay=0.2))
    watch_until(keeper, lambda: "not started again" in heard.text)
    told = [line.splitlines()[0] for line in heard.lines if "ended" in line]
    assert told == [
        "moth ended with exit code 7; it is started again in 0.1 s.",
        "moth ended with exit code 7; it is started again in 0.2 s.",
        "moth ended with exit code 7; it is started again in 0.2 s.",
        "moth ended with exit code 7 for the 4th time and is not started again.",
    ]
    assert (tmp_path / "starts").read_text() == "xxxx"
    assert keeper.running() == {}


def test_the_others_go_on_while_one_is_started_again(keeper: Supervisor, heard: Heard) -> None:
    keeper.start(sleeper("steady"))
    steady = keeper.running()["steady"]
    keeper.start(sleeper("shaky", first_delay=0.05))
    os.kill(keeper.running()["shaky"].pid, signal.SIGTERM)
    watch_until(keeper, lambda: "shaky was started again." in heard.lines)
    assert keeper.running()["steady"] == steady


def test_processes_end_in_reverse_order(keeper: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    for name in ("first", "second", "third"):
        program = (
            "import signal, sys\n"
            f"signal.signal(15, lambda *_: (open({str(order)!r}, 'a').write('{name} '), sys.exit()))\n"
            f"open({str(tmp_path / name)!r}, 'w').close()\n"
            "signal.pause()"
        )
        flag = tmp_path / name
        keeper.start(python(name, program, ready=lambda flag=flag: None if flag.exists() else "no flag"))
    keeper.stop_all()
    assert order.read_text() == "third second first "


def test_what_a_process_leaves_behind_ends_with_it(keeper: Supervisor, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import pathlib, signal, subprocess\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=lambda: signal.signal(15, signal.SIG_IGN))\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "signal.pause()"
    )
    keeper.start(python("parent", program, ready=lambda: None if note.exists() and note.read_text() else "no note"))
    orphan = procfs.identify(int(note.read_text()))
    assert orphan is not None
    assert procfs.is_running(orphan)
    keeper.stop_all()
    assert not procfs.is_running(orphan)


def test_a_process_that_ignores_term_is_killed(keeper: Supervisor, heard: Heard, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    program = (
        f"import signal; signal.signal(15, signal.SIG_IGN); open({str(flag)!r}, 'w'); signal.pause(); signal.pause()"
    )
    keeper.start(python("deaf", program, ready=lambda: None if flag.exists() else "no flag"))
    deaf = keeper.running()["deaf"]
    keeper.stop_all()
    assert not procfs.is_running(deaf)
    assert "deaf did not end within 5 s and was killed." in heard.lines


def test_a_command_gives_back_what_it_wrote_this_time(keeper: Supervisor) -> None:
    keeper.run(python("teller", "print('yesterday')"))
    assert keeper.run(python("teller", "print('today')")) == "today\n"
    assert keeper.running() == {}


def test_a_command_that_fails_or_hangs_is_an_error(keeper: Supervisor) -> None:
    with pytest.raises(LabError, match=r"(?s)teller failed with exit code 3\..*teller \| no such table"):
        keeper.run(python("teller", "print('no such table'); raise SystemExit(3)"))
    assert keeper.run(python("asker", "print('not yet'); raise SystemExit(1)"), may_fail=True) == "not yet\n"
    with pytest.raises(LabError, match="sleeper took longer than 0 s"):
        keeper.run(sleeper(ready_seconds=0.2))
    assert keeper.running() == {}


def test_a_request_to_stop_breaks_off_the_start(keeper: Supervisor) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    with pytest.raises(StopRequestedError, match="SIGINT"):
        keeper.start(sleeper(ready=lambda: "never", ready_seconds=30))
    assert time.monotonic() - begun < 10
    with pytest.raises(StopRequestedError):
        keeper.start(sleeper("another"))
    assert list(keeper.running()) == ["sleeper"]


def test_a_long_log_is_moved_away_and_the_process_goes_on_writing(
    keeper: Supervisor, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT", 1000)
    keeper.start(python("chatty", "import time\nwhile True: print('word ' * 20); time.sleep(.02)"))
    moved = tmp_path / "chatty.log.1"
    watch_until(keeper, moved.exists)
    size = keeper.log("chatty").stat().st_size
    time.sleep(0.3)
    assert keeper.log("chatty").stat().st_size > size
    assert b"\0" not in keeper.log("chatty").read_bytes()


def test_a_reused_pid_is_nobody_of_ours(keeper: Supervisor) -> None:
    keeper.start(sleeper())
    ours = keeper.running()["sleeper"]
    earlier = ProcessId(ours.pid, ours.start_time - 1)
    assert not procfs.is_running(earlier)
    assert procfs.session_of(earlier) == []
    procfs.send(earlier, signal.SIGKILL)
    assert procfs.end([earlier]) == 0
    assert procfs.is_running(ours)
