"""USER with the Monitoring Plugins of Debian against real servers, and with programs that misbehave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from monitors.kind import ANY
from monitors.kinds.user import folder as folders
from monitors.kinds.user.kind import Parameters
from monitors.kinds.user.output import read_output
from monitors.kinds.user.probe import arguments, environment
from monitors.parameters import read
from monitors.registry import KINDS
from monitors.spec import ProbeResult
from monitors.trace import as_text
from tests.monitors.kinds.places import public_folder
from tests.monitors.kinds.servers import VIP, by_hand, failed, passed, probe, says, spec, trace
from tests.monitors.kinds.tracing import steps, texts
from tests.ports import free_port

PLUGINS = Path("/usr/lib/nagios/plugins")
Write = Callable[..., str]


@pytest.fixture
def folder() -> Iterator[Path]:
    with public_folder() as one:
        yield one


@pytest.fixture
def script(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a program into the allowed folder; returns its name."""
    monkeypatch.setenv("HALFPIPE_MONITOR_SCRIPTS", str(folder))

    def write(body: str, name: str = "check.sh", mode: int = 0o755) -> str:
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(mode)
        return name

    return write


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (PLUGINS / "check_tcp").exists():
        pytest.skip("monitoring-plugins-basic is not installed (`make test` installs it)")
    monkeypatch.setenv("HALFPIPE_MONITOR_SCRIPTS", f"/nonexistent:{PLUGINS}")


def run(name: str, timeout: float = 3, port: int = 80, **given: Any) -> ProbeResult:
    return probe("USER", port, timeout, script_name=name, **given)


@pytest.mark.usefixtures("plugins")
def test_a_plugin_checks_a_server_and_its_performance_data_is_kept() -> None:
    with by_hand(says(first=b"+OK ready\r\n")) as port:
        words = passed(run("check_tcp", port=port, script_args="-H %a -p %p -e +OK -t %t"))
        assert words.startswith("check_tcp: TCP OK - 0.0")
        assert f"port {port} [+OK ready] [time 0.0" in words
        words = failed(run("check_tcp", port=port, script_args="-H %a -p %p -e HELLO -M crit"))
        assert words.startswith("check_tcp: TCP CRITICAL - Unexpected response from host/socket")
        words = passed(run("check_tcp", port=port, script_args="-H %a -p %p -e HELLO -M warn"))
        assert words.startswith("check_tcp: TCP WARNING - Unexpected response")


@pytest.mark.usefixtures("plugins")
def test_a_plugin_tells_that_a_port_is_refused() -> None:
    words = failed(run("check_tcp", port=free_port(), script_args="-H %a -p %p"))
    assert words.startswith("check_tcp: connect to address 127.0.0.1 and port ") or "exit code 2" in words
    assert "Connection refused" in words


@pytest.mark.usefixtures("plugins")
def test_a_plugin_without_a_port_needs_none() -> None:
    assert passed(run("check_dummy", port=0, script_args="0 %v")) == f"check_dummy: OK: {VIP}"
    assert KINDS["USER"].port(wanted=0, service_port=0, service_type=ANY, secure=False) == 0
    assert KINDS["USER"].port(wanted=0, service_port=53, service_type="UDP", secure=False) == 53


@pytest.mark.usefixtures("plugins")
def test_links_of_multi_call_plugins_are_programs_of_the_folder() -> None:
    assert (PLUGINS / "check_ftp").is_symlink()
    with by_hand(says(b"221 bye\r\n", first=b"220 ready\r\n")) as port:
        assert passed(run("check_ftp", port=port, script_args="-H %a -p %p")).startswith("check_ftp: FTP OK")


def test_exit_codes_mean_what_the_guidelines_say(script: Write) -> None:
    assert passed(run(script("exit 0"))) == "check.sh: exit code 0"
    assert passed(run(script("echo fine"))) == "check.sh: fine"
    assert passed(run(script("echo 'DISK WARNING - 81 %'; exit 1"))) == "check.sh: DISK WARNING - 81 %"
    assert failed(run(script("echo lost; exit 1"))) == "check.sh: exit code 1: lost"
    assert failed(run(script("echo 'Traceback: WARNING' >&2; exit 1"))).startswith("check.sh: exit code 1: Traceback")
    assert failed(run(script("echo 'X CRITICAL'; exit 2"))) == "check.sh: X CRITICAL"
    assert failed(run(script("exit 2"))) == "check.sh: exit code 2 (CRITICAL)"
    assert failed(run(script("exit 7"))) == "check.sh: exit code 7"
    assert failed(run(script("kill -SEGV $$"))) == "check.sh: ended by SIGSEGV"


def test_the_trace_shows_command_output_and_exit_code_without_secrets(script: Write) -> None:
    body = 'echo "OK $PROBE_SECURE_ARGS| load=0.5;1;2 users=3"; echo "token=$PROBE_SECURE_ARGS" >&2; exit 2'
    found = trace("USER", 80, script_name=script(body), script_args="-H %a", secure_args="--token 'top secret'")
    assert steps(found) == ["program", "environment", "output", "errors", "performance data", "exit", "verdict"]
    assert texts(found, "program").endswith("/check.sh -H 127.0.0.1")
    assert "PROBE_SECURE_ARGS=•••" in texts(found, "environment")
    assert "top" not in as_text(found)
    assert texts(found, "performance data") == "load=0.5;1;2\\n\nusers=3"
    assert texts(found, "exit") == "exit code 2"
    late = trace("USER", 80, 0.3, script_name=script("echo started; sleep 5"))
    assert texts(late, "output") == "started\\n\n"
    assert texts(late, "exit") == "killed: the time is over"


def test_unknown_says_nothing_about_the_server(script: Write) -> None:
    result = run(script("echo 'UNKNOWN: no such option'; exit 3"))
    assert (result.success, result.sent) == (False, False)
    assert result.message == "check.sh: UNKNOWN: no such option"


def test_address_and_port_come_first_unless_a_macro_is_used(script: Write) -> None:
    name = script('for one in "$@"; do printf "<%s>" "$one"; done')
    assert passed(run(name)) == "check.sh: <127.0.0.1><80>"
    assert passed(run(name, script_args="a 'b c' ''")) == "check.sh: <127.0.0.1><80><a><b c><>"
    assert passed(run(name, script_args="-H%a:%p '%v' %t 100%% %%a $HOME;x")) == (
        f"check.sh: <-H127.0.0.1:80><{VIP}><3><100%><%a><$HOME;x>"
    )


def test_the_environment_is_clean(script: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFPIPE_SECRET_KEY_FILE", "/etc/s3cret")
    name = script("env | cut -d= -f1 | sort | tr '\\n' ' '")
    words = passed(run(name))
    assert words == ("check.sh: HOME LANG PATH PROBE_ADDRESS PROBE_PORT PROBE_TIMEOUT PROBE_VIP PWD")


def test_secret_arguments_are_for_the_program_alone(script: Write) -> None:
    given: dict[str, Any] = {"secure_args": "s3cret-one two", "script_args": "open"}
    name = script('echo "$PROBE_SECURE_ARGS $@ and s3cret-one" | tr o o; cat /proc/self/cmdline >&2')
    result = run(name, **given)
    assert passed(result) == "check.sh: ••• 127.0.0.1 80 open and •••"
    one = spec("USER", 80, script_name=name, secure_args="s3cret-one")
    assert "s3cret" not in repr(one)
    assert "s3cret" not in repr(result)


def test_programs_run_without_privileges(script: Write) -> None:
    words = passed(run(script("id -u; id -G >&2")))
    assert words == f"check.sh: {os.getuid() if os.getuid() else 65534}"
    assert passed(run(script("id -G"))) == f"check.sh: {os.getgid() if os.getuid() else 65534}"


def test_a_program_that_does_not_end_is_killed_with_all_its_children(script: Write, folder: Path) -> None:
    (folder / "pids").touch()
    (folder / "pids").chmod(0o666)
    name = script(f"sleep 60 & echo $! >{folder}/pids; echo half; trap '' TERM INT HUP; sleep 60")
    start = perf_counter()
    words = failed(run(name, 0.5))
    assert words == "check.sh did not end within 0.5 s: half"
    assert perf_counter() - start < 4
    child = int((folder / "pids").read_text())
    assert gone(child)


def test_a_child_left_behind_neither_delays_the_verdict_nor_lives_on(script: Write, folder: Path) -> None:
    (folder / "pids").touch()
    (folder / "pids").chmod(0o666)
    start = perf_counter()
    assert passed(run(script(f"sleep 60 & echo $! >{folder}/pids; echo done"))) == "check.sh: done"
    assert perf_counter() - start < 4
    assert gone(int((folder / "pids").read_text()))


def gone(pid: int) -> bool:
    """Whether a process has ended, or ends within half a minute (it may be a zombie of init)."""
    for _ in range(1500):
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_flood_of_output_ends_the_program(script: Write) -> None:
    for where in ("", ">&2"):
        result = run(script(f"yes{where}"), 10)
        assert failed(result).startswith("check.sh was ended: it wrote more than 65536 bytes")
        assert result.duration < 8


def test_no_zombie_and_no_descriptor_is_left(script: Write) -> None:
    before = {one.name for one in Path("/proc/self/fd").iterdir()}
    name = script("exit 0")
    for _ in range(20):
        passed(run(name))
    assert {one.name for one in Path("/proc/self/fd").iterdir()} == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [pid for pid in children if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()] == []


def refused(result: ProbeResult) -> str:
    assert (result.success, result.sent) == (False, False)
    return result.message


def test_only_proper_programs_of_the_folder_are_run(script: Write, folder: Path) -> None:
    assert refused(run("nothing.sh")) == f"there is no nothing.sh in {folder} (HALFPIPE_MONITOR_SCRIPTS)"
    (folder / "directory").mkdir()
    assert refused(run("directory")) == "directory is not a regular file"
    (folder / "true").symlink_to("/bin/true")
    assert "is a link to /" in refused(run("true"))
    (folder / "self").symlink_to(folder / "self")
    assert "cannot be looked at" in refused(run("self"))
    (folder / "dangling").symlink_to(folder / "gone")
    assert "cannot be looked at" in refused(run("dangling"))
    assert refused(run(script("exit 0", "open.sh", 0o757))).endswith(f"everyone may write to {folder}/open.sh")
    assert refused(run(script("exit 0", "plain.sh", 0o644))) == "plain.sh is not executable (chmod 755)"
    script("exit 0", "good.sh")
    folder.chmod(0o777)
    assert refused(run("good.sh")).endswith(f"everyone may write to {folder}")


def test_a_program_that_cannot_be_started_is_told(script: Write, folder: Path) -> None:
    script("", "bad")
    (folder / "bad").write_text("#!/nonexistent/interpreter\n")
    assert refused(run("bad")) == "bad cannot be started: No such file or directory"


@pytest.mark.parametrize("name", ["", "../x", "/bin/true", "a/b", "-x", ".hidden", "x" * 64, "a b", "a;b"])
def test_names_that_are_paths_or_worse_are_refused(name: str) -> None:
    assert "script_name" in KINDS["USER"].clean({"script_name": name})[1]
    with pytest.raises(folders.RefusedError):
        folders.find(name or "..")


def test_arguments_that_no_shell_could_read_are_refused() -> None:
    problems = KINDS["USER"].clean({"script_name": "a", "script_args": "'open"})[1]
    assert problems == {"script_args": "The arguments cannot be taken apart: no closing quotation."}


def test_performance_data_of_the_guidelines_is_read() -> None:
    said = read_output("PING ok - 0 % loss | 'round trip'=0.5ms;1;2;0 loss=0%;;;0;100 junk x=U\nlong\nmore | a=1B\n")
    assert said == "PING ok - 0 % loss [round trip 0.5ms, loss 0%, x U, a 1B]"
    assert read_output("") == ""
    assert read_output("no data | nothing here") == "no data"
    assert len(read_output("x" * 500 + "|" + " ".join(f"a{n}=1" for n in range(99)))) < 200


def test_nothing_of_the_parameters_reaches_a_shell() -> None:
    one = spec("USER", 80, script_name="a", script_args="%a; $(id) `id`")
    assert arguments(one, read(Parameters, one)) == ["127.0.0.1;", "$(id)", "`id`"]
    assert "PROBE_SECURE_ARGS" not in environment(one, read(Parameters, one))
