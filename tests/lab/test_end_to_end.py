"""The whole lab as a user starts it, from a copy of the checkout: real traffic, real checks, real worker.

One lab serves all tests of this file, in namespaces of its own; they run in the order in which they stand.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from dataplane.lab import netns, session
from dataplane.lab.paths import Paths
from dataplane.lab.processes import Processes
from dataplane.lab.session import Record
from dataplane.lab.topology import VIP4, VIP6, Topology
from tests.lab.capturing import captured
from tests.ports import free_port

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [IPv4Address("10.77.0.100") + number for number in range(60)]
INTERVAL = 5.0  # of the example's monitors
COPIED = ("webui", "monitors", "dataplane", "build", ".venv")
FRAME_HEADER = 14


@dataclass
class RunningLab:
    """A lab that said `ready`."""

    paths: Paths
    topology: Topology
    port: int
    process: subprocess.Popen[bytes]
    output: Path

    def namespace(self, node: str) -> str:
        return self.topology.namespace(node)

    def client_socket(self, source: str, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        opened = netns.open_socket(self.namespace("client"), family, socket.SOCK_STREAM)
        opened.settimeout(2)
        opened.bind((source, 0))
        return opened

    def get(self, source: str, path: str = "/", vip: str = str(VIP4)) -> bytes:
        """One HTTP request to the VIP from this source address. Raises OSError."""
        family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        with self.client_socket(source, family) as opened:
            opened.connect((vip, 80))
            connection = http.client.HTTPConnection("vip")
            connection.sock = opened
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (answer.status, body)
            return body

    def server_of(self, source: str) -> str:
        return self.get(source).decode().strip()

    def ip(self, node: str, *arguments: str) -> None:
        subprocess.run(["ip", "-n", self.namespace(node), *arguments], check=True, timeout=10)

    def manage(self, *arguments: str) -> str:
        """Output of a command of manage.py, run as the lab runs them."""
        made = Processes(self.paths, self.topology, self.port).manage(*arguments)
        done = subprocess.run(made.argv, env=made.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self.paths.data / 'db.sqlite3'}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def states(self) -> dict[tuple[str, str], str]:
        """State of each (server, monitor) at the IPv4 VIP."""
        query = """SELECT s.name, m.name, h.state FROM webui_healthstate h JOIN webui_probetarget t ON t.id = target_id
                   JOIN webui_server s ON s.id = t.server_id JOIN webui_monitor m ON m.id = monitor_id
                   WHERE t.vip = '10.77.0.10'"""
        return {(str(server), str(monitor)): str(state) for server, monitor, state in self.rows(query)}

    def wait_until_up(self) -> None:
        wait_for(lambda: set(self.states().values()) == {"UP"}, 20, "every check is UP")
        wait_for(self._three_servers_answer, 5, "three servers answer")

    def _three_servers_answer(self) -> bool:
        try:
            return len({self.server_of(str(source)) for source in SOURCES[:30]}) == 3
        except ConnectionError:  # sessionless: a request under way when its client moves back is reset
            return False

    def pids(self) -> dict[str, int]:
        """Running processes by name."""
        record = Record.load(self.paths.record)
        assert record is not None
        return {name: owner.pid for name, owner in record.processes.items()}


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Return how many seconds it took; fails when they are over."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - begun


def copy_checkout(target: Path) -> None:
    """A checkout with nothing kept from earlier labs; hard links where the file system allows them."""

    def link(source: str, destination: str) -> None:
        try:
            os.link(source, destination)
        except OSError:
            shutil.copy2(source, destination)

    target.mkdir()
    for name in COPIED:
        skipped = shutil.ignore_patterns("__pycache__") if name != ".venv" else None
        shutil.copytree(ROOT / name, target / name, symlinks=True, copy_function=link, ignore=skipped)
    shutil.copy2(ROOT / "manage.py", target)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces and eBPF")
    folder = tmp_path_factory.mktemp("lab")
    checkout = folder / "checkout"
    copy_checkout(checkout)
    paths = Paths(checkout, Path(f"/run/halfpipe-e2e-{os.getpid()}"))
    topology = Topology(f"e{os.getpid()}-")
    port = free_port()
    program = (
        "from pathlib import Path; from dataplane.lab.lab import Lab; from dataplane.lab.paths import Paths;"
        "from dataplane.lab.topology import Topology;"
        f"Lab(Paths(Path({str(checkout)!r}), Path({str(paths.run)!r})), Topology({topology.prefix!r}), {port}).up()"
    )
    output = folder / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            ["/usr/bin/python3", "-c", program], cwd=checkout, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    running = RunningLab(paths, topology, port, process, output)
    try:
        wait_for(lambda: "ready\n" in output.read_text() or process.poll() is not None, 90, output.read_text())
        assert process.poll() is None, output.read_text()
        for source in SOURCES:
            running.ip("client", "addr", "add", f"{source}/24", "dev", "eth0")
        running.wait_until_up()
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(60)
        if paths.run.exists():
            session.remove_everything(paths, Record.load(paths.record))


@contextmanager
def requests_running(lab: RunningLab) -> Iterator[Counter[str]]:
    """Requests from changing sources, one after the other, until the block ends; counts results by name."""
    results: Counter[str] = Counter()
    stop = threading.Event()

    def run() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                lab.get(str(SOURCES[number % len(SOURCES)]))
                results["good"] += 1
            except (OSError, http.client.HTTPException) as error:
                results[repr(error)] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        stop.set()
        thread.join()


def test_a_probe_by_hand_reaches_each_servers_vip_by_curl_and_by_the_command(lab: RunningLab) -> None:
    director = ["ip", "netns", "exec", lab.namespace("director")]
    rows = lab.rows("""SELECT s.name, t.address, p.mac FROM webui_probetarget t
                       JOIN webui_server s ON s.id = t.server_id JOIN webui_serverpath p ON p.server_id = s.id
                       WHERE t.vip = '10.77.0.10' ORDER BY s.name""")
    assert len(rows) == 3
    before = lab.rows("SELECT count(*) FROM webui_healthtransition")
    for server, address, mac in rows:
        curl = [*director, "curl", "--silent", "--max-time", "5", f"http://{address}/"]
        answer = subprocess.run(curl, capture_output=True, text=True, timeout=10, check=True).stdout
        assert answer.strip().lower() == str(server).lower()
        made = Processes(lab.paths, lab.topology, lab.port).manage("probe", "tcp-80", f"service_{server}_ANY")
        done = subprocess.run(
            [*director, *made.argv], env=made.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        steps = done.stdout.splitlines()
        assert f"resolve: 10.77.0.10 by way of {address}: frames go to MAC {mac} of {server}" in steps[0]
        assert f"connect: {address} port 80: TCP handshake done" in steps[1]
        assert "verdict: passed: connected in " in steps[2]
    assert lab.rows("SELECT count(*) FROM webui_healthtransition") == before


def test_200_requests_from_60_sources_reach_all_servers_and_each_source_always_the_same(lab: RunningLab) -> None:
    answers: dict[str, set[str]] = {}
    for number in range(200):
        source = str(SOURCES[number % len(SOURCES)])
        answers.setdefault(source, set()).add(lab.server_of(source))
    assert len(answers) == 60
    assert {len(servers) for servers in answers.values()} == {1}
    assert set.union(*answers.values()) == {"server1", "server2", "server3"}


def test_a_10_mb_download_and_a_tftp_transfer_arrive_whole(lab: RunningLab) -> None:
    body = lab.get(str(SOURCES[0]), "/10mb.bin")
    assert hashlib.sha256(body).digest() == hashlib.sha256((lab.paths.files / "10mb.bin").read_bytes()).digest()
    command = ["ip", "netns", "exec", lab.namespace("client"), "curl", "--silent", "--show-error"]
    done = subprocess.run([*command, f"tftp://{VIP4}/1mb.bin"], capture_output=True, timeout=60, check=True)
    assert done.stdout == (lab.paths.files / "1mb.bin").read_bytes()


def test_the_director_sees_requests_only(lab: RunningLab) -> None:
    source = str(SOURCES[1])
    with captured(lab.namespace("director")) as at_director, captured(lab.namespace("client")) as at_client:
        lab.get(source, "/10mb.bin")
    assert at_director.between(source, str(VIP4))
    assert at_director.between(str(VIP4), source) == []
    assert len(at_client.between(str(VIP4), source)) > 10  # the replies were there to be seen


def readme_table() -> list[tuple[str, str, str, str]]:
    """The README's frames: source IP, source MAC, destination IP, destination MAC."""
    rows = re.findall(r"^\| [①②③] [^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", (ROOT / "README.md").read_text(), re.M)
    return [(a.strip(), b.strip(), c.strip(), d.strip()) for a, b, c, d in rows]


def test_the_frames_are_those_of_the_readme(lab: RunningLab) -> None:
    source = str(SOURCES[2])
    server = lab.server_of(source)
    with captured(lab.namespace("director")) as at_director, captured(lab.namespace("client")) as at_client:
        lab.get(source)
    macs = {node.mac: node.name for node in lab.topology.nodes}
    names = {socket.inet_aton(source): "client", VIP4.packed: "VIP"}

    def told(frame: bytes) -> tuple[str, str, str, str]:
        made = macs[frame[6:12].hex(":")], macs[frame[0:6].hex(":")]
        return names[frame[26:30]], made[0].rstrip("123"), names[frame[30:34]], made[1].rstrip("123")

    through = at_director.between(source, str(VIP4))
    came = [frame for frame in through if macs[frame[0:6].hex(":")] == "director"]
    went = [frame for frame in through if macs[frame[6:12].hex(":")] == "director"]
    replies = at_client.between(str(VIP4), source)
    expected = [(a, b, c, d.split(" (")[0]) for a, b, c, d in readme_table()]
    assert [{told(frame) for frame in group} for group in (came, went, replies)] == [{row} for row in expected]
    assert (
        {macs[frame[0:6].hex(":")] for frame in went} == {macs[frame[6:12].hex(":")] for frame in replies} == {server}
    )
    # Nothing above the MAC addresses is touched.
    assert [frame[12:] for frame in came] == [frame[12:] for frame in went]


def test_a_removed_vip_takes_out_that_server_alone_within_one_check_interval(
    lab: RunningLab, record_property: Callable[[str, object], None]
) -> None:
    before = {str(source): lab.server_of(str(source)) for source in SOURCES}
    hit = [source for source, server in before.items() if server == "server1"]
    lab.ip("server1", "addr", "del", f"{VIP4}/32", "dev", "lo")
    try:

        def served() -> bool:
            with lab.client_socket(hit[0]) as opened:
                opened.settimeout(0.2)
                try:
                    opened.connect((str(VIP4), 80))
                except OSError:
                    return False
            return True

        seconds = wait_for(served, 30, "requests succeed again")
        record_property("seconds until requests succeeded again", round(seconds, 2))
        # The two monitors take turns in the interval, so that even the time-out of the first failed check fits in.
        assert seconds <= INTERVAL
        after = {source: lab.server_of(source) for source in before}
        assert {after[source] for source in hit} <= {"server2", "server3"}
        moved = [source for source in before if source not in hit and after[source] != before[source]]
        # Maglev keeps nearly all others; of 60 clients at most two may move along.
        assert len(moved) <= 2, moved
        wait_for(lambda: lab.states()["Server1", "ping"] == "DOWN", 5, "the console's row says DOWN")
        assert lab.states()["Server2", "ping"] == lab.states()["Server3", "tcp-80"] == "UP"
        assert lab.get(str(SOURCES[0]), vip="10.77.0.11") == b"server1\n"  # its own address still answers
        reason = lab.rows("SELECT reason FROM webui_healthtransition ORDER BY id DESC LIMIT 1")[0][0]
        assert "no answer" in str(reason)
    finally:
        lab.ip("server1", "addr", "add", f"{VIP4}/32", "dev", "lo")
    lab.wait_until_up()
    assert {str(source): lab.server_of(str(source)) for source in SOURCES} == before


def test_no_request_fails_when_the_worker_is_killed_under_load(lab: RunningLab) -> None:
    pid = lab.pids()["dataplane"]
    count = (
        "SELECT packets FROM (SELECT json_extract(payload, '$.vservers.\"1\".packets') AS packets "
        "FROM webui_directorcounters)"
    )
    packets = int(str(lab.rows(count)[0][0]))
    with requests_running(lab) as results:
        time.sleep(1)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: lab.pids().get("dataplane", pid) != pid, 20, "the worker is started again")
        time.sleep(3)
    assert set(results) == {"good"}, results
    assert results["good"] > 100
    # The new worker took over what ran: the counters went on instead of starting anew.
    wait_for(lambda: int(str(lab.rows(count)[0][0])) > packets + results["good"], 10, "the counters go on")


@contextmanager
def stopped(lab: RunningLab, pid: int) -> Iterator[sqlite3.Connection]:
    """The process stands still, and not while it writes to the database, for which a connection is given."""
    with closing(sqlite3.connect(lab.paths.data / "db.sqlite3", timeout=0.2, isolation_level=None)) as database:
        for _attempt in range(50):
            os.kill(pid, signal.SIGSTOP)
            try:
                database.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
        database.execute("ROLLBACK")
        try:
            yield database
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_an_applied_revision_gets_its_audit_entry_although_the_worker_is_killed_before_it_can_write(
    lab: RunningLab,
) -> None:
    count = "SELECT count(*) FROM webui_auditentry WHERE verb = 'apply'"
    wait_for(lambda: lab.rows("SELECT count(*) FROM webui_dataplanestatus WHERE last_error = ''") == [(1,)], 10, "well")
    kept = lab.paths.kept / f"applied-{lab.namespace('director')}.jsonl"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_uid == 0
    (before,) = lab.rows(count)[0]
    pid = lab.pids()["dataplane"]
    with stopped(lab, pid) as database:
        lab.manage(
            "shell",
            "-c",
            "from webui.actions import servers; from webui.actions.base import Actor; from webui.models import Server;"
            "servers.update(Actor.system('test'), Server.objects.get(name='Server1'), {'comment': 'rack 4'})",
        )
        (revision, correlation) = lab.rows(
            "SELECT revision, correlation FROM webui_auditentry WHERE verb = 'update' ORDER BY id DESC LIMIT 1"
        )[0]
        database.execute("BEGIN IMMEDIATE")  # nobody else can write now; reading goes on
        os.kill(pid, signal.SIGCONT)
        # It may have stood still just before it reports, which waits 20 s for the lock.
        wait_for(lambda: kept.stat().st_size > 0, 45, "the revision is applied and noted")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: lab.pids().get("dataplane", pid) != pid, 20, "the worker is started again")
        assert lab.rows(count) == [(before,)]
        database.execute("ROLLBACK")
    wait_for(lambda: lab.rows(count) != [(before,)], 30, "the entry is written")
    wait_for(lambda: kept.stat().st_size == 0, 10, "it waits no more")
    time.sleep(2)  # more rounds
    found = lab.rows("SELECT revision, correlation FROM webui_auditentry WHERE verb = 'apply' ORDER BY id DESC LIMIT 1")
    assert found == [(revision, correlation)]
    assert lab.rows(count) == [(int(str(before)) + 1,)]


def upgraded_object(target: Path) -> Path:
    """The forwarder as another version might be: its maps have another shape, so they cannot be taken over."""
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    flags = ["-O2", "-g", "-target", "bpf", include, "-DMAX_VIPS=2048"]
    subprocess.run(["clang", *flags, "-c", ROOT / "dataplane/bpf/forward.bpf.c", "-o", target], check=True, timeout=60)
    return target


def test_no_request_fails_when_the_forwarder_is_upgraded_under_load(lab: RunningLab) -> None:
    pin_dir = lab.paths.bpf / "halfpipe"
    before = {folder.name for folder in pin_dir.iterdir()}
    # Moved into place: the file it replaces may be a link to the one that other tests use.
    upgraded_object(lab.paths.checkout / "upgraded.o").replace(lab.paths.checkout / "build" / "forward.bpf.o")
    with requests_running(lab) as results:
        time.sleep(0.5)
        pid = lab.pids()["dataplane"]
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: {folder.name for folder in pin_dir.iterdir()}.isdisjoint(before), 30, "old maps are gone")
        time.sleep(2)
    assert set(results) == {"good"}, results
    assert len(list(pin_dir.iterdir())) == 1
    assert lab.pids()["dataplane"] != pid


def test_an_ipv6_vserver_made_while_it_runs_works_and_is_checked(lab: RunningLab) -> None:
    code = f"""
from webui.actions import vservers
from webui.actions.base import Actor
from webui.models import Service
actor = Actor.system("test")
made = vservers.create(actor, {{"name": "six", "service_type": "TCP", "address": "{VIP6}", "port": "*"}})
for service in Service.objects.all():
    vservers.bind_service(actor, made, service)
"""
    lab.manage("shell", "-c", code)

    def served() -> bool:
        try:
            return lab.get("fd77::1", vip=str(VIP6)).startswith(b"server")
        except OSError:
            return False

    wait_for(served, 15, "the IPv6 VIP is served")
    asked = "FROM webui_healthstate h JOIN webui_probetarget t ON t.id = target_id WHERE t.vip = 'fd77::10'"

    def all_up() -> bool:
        # The first check may be on its way before the director knows the probe address: the next one finds it UP
        return [state for (state,) in lab.rows(f"SELECT h.state {asked}")] == ["UP"] * 6

    wait_for(all_up, 15, "each service is UP at the IPv6 VIP")


def test_status_says_that_all_is_well(lab: RunningLab) -> None:
    said = lab.manage("halfpipe_status", "--wait-applied", "20")
    director = re.escape(lab.namespace("director"))
    assert re.fullmatch(
        rf"{director}: revision \d+ applied, mode tc\n{director}: eth0 tc: veth is a virtual device: .*\n", said
    )


def test_unprivileged_processes_have_no_capability(lab: RunningLab) -> None:
    for name in ("web", "celery", "beat", "redis"):
        pid = lab.pids()[name]
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Uid:\s+65534\s+65534", status, re.M), name
        assert re.search(r"^Cap(Eff|Prm):\s+0+$", status, re.M), name


def test_nothing_is_left_behind(lab: RunningLab) -> None:
    pids = lab.pids().values()
    lab.process.send_signal(signal.SIGINT)
    assert lab.process.wait(60) == 0, lab.output.read_text()
    assert not lab.topology.existing()
    assert str(lab.paths.run) not in Path("/proc/self/mounts").read_text()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not lab.paths.run.exists()
