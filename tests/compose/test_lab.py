"""The lab in containers, as a user starts it. The tests run in the order in which they stand."""

from __future__ import annotations

import re
import shutil
import time
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.compose.compose import COUNT, Project, run, wait_for
from tests.compose.console import states
from tests.lab.capturing import captured

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

OURS = ("web", "worker", "beat", "dataplane")
NON_ROOT = ("settings", "setup", "example", "web", "worker", "beat", "lbnet", "redis", "postgres")
UP = {f"service_Server{number}_ANY": "UP" for number in (1, 2, 3)}
SECRETS = ("secret-key", "pgpass", "admin-password")
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"


def wait_until_up(lab: Project) -> None:
    wait_for(lambda: states(lab) == UP, 40, "every service is UP")


def all_servers_answer(lab: Project) -> bool:
    found = lab.ask(COUNT)
    return not found["failures"] and len({name for answers in found["answers"].values() for name in answers}) == 3


def test_the_log_tells_the_address_and_the_password(lab: Project) -> None:
    log = lab.logs("example")
    assert f"Console:  {lab.url}" in log
    assert re.search(r"User:     admin, password \S{20}", log)
    assert log.rstrip().endswith("ready")


def test_every_process_is_healthy_by_its_own_check(lab: Project) -> None:
    for service in OURS:
        assert lab.exec(service, "python", "manage.py", "healthy", service) == ""
        wait_for(partial(lab.healthy, service), 40, f"Docker says that {service} is healthy")


def test_nothing_runs_with_more_than_it_needs(lab: Project) -> None:
    for service in (*NON_ROOT, "dataplane", "server1", "client"):
        host = lab.inspect(service)["HostConfig"]
        assert not host["Privileged"], service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
    for service in NON_ROOT:
        found = lab.inspect(service)
        assert found["Config"]["User"] == "999:999", service
        assert not found["HostConfig"]["CapAdd"], service
    capabilities = {name.removeprefix("CAP_") for name in lab.inspect("dataplane")["HostConfig"]["CapAdd"]}
    assert capabilities == {"NET_ADMIN", "NET_RAW", "DAC_OVERRIDE", "SYS_ADMIN"}


def test_secrets_are_in_files_of_their_owner_alone_and_in_no_environment(lab: Project) -> None:
    folder = "/var/lib/halfpipe/secrets"
    listing = lab.exec("web", "stat", "--format", "%a %u %n", folder, *(f"{folder}/{name}" for name in SECRETS))
    assert listing.split("\n")[:-1] == [
        f"700 999 {folder}",
        *(f"600 999 {folder}/{name}" for name in SECRETS),
    ]
    password = lab.exec("web", "cat", f"{folder}/pgpass").strip().rpartition(":")[2]
    assert len(password) == 48
    told = run("docker", "inspect", *(lab.container(name) for name in (*NON_ROOT, *OURS)))
    assert password not in told


def test_every_module_can_be_imported_with_the_packages_of_the_image(lab: Project) -> None:
    code = """
import django, importlib, pathlib
django.setup()
skipped = ("migrations", "bench")
for top in ("webui", "monitors", "dataplane"):
    for path in sorted(pathlib.Path(top).rglob("*.py")):
        if not set(path.parts) & set(skipped) and path.name not in ("__main__.py", "runtime_lock.py"):
            importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
"""
    lab.exec("dataplane", "python", "-W", "ignore", "-", text=code)


def test_200_requests_from_60_addresses_reach_all_servers_and_each_address_always_the_same(lab: Project) -> None:
    found = lab.ask(200)
    assert found["failures"] == {}
    assert len(found["answers"]) == COUNT
    assert {len(answers) for answers in found["answers"].values()} == {1}
    assert {name for answers in found["answers"].values() for name in answers} == {"server1", "server2", "server3"}


def test_a_large_download_arrives_whole_and_its_frames_pass_the_director_by(lab: Project) -> None:
    kept = lab.exec("server1", "sha256sum", "/tmp/10mb.bin").split()[0]  # noqa: S108 - a path in a container
    client = f"{lab.prefix}.1"

    def sent() -> tuple[int, int]:
        read = lab.exec("lbnet", "cat", *(f"/sys/class/net/eth0/statistics/{way}_bytes" for way in ("rx", "tx")))
        received, transmitted = (int(line) for line in read.split())
        return received, transmitted

    before = sent()
    with captured(lab.namespace("lbnet")) as at_director:
        got = lab.exec("client", "sh", "-c", f"curl -sS http://{lab.vip}/10mb.bin | sha256sum").split()[0]
    after = sent()
    assert got == kept
    assert at_director.between(client, lab.vip)  # the requests were there to be seen
    assert at_director.between(lab.vip, client) == []
    # What passed the director is acknowledgements and checks: far less than the 10 MiB.
    assert max(after[0] - before[0], after[1] - before[1]) < 2**20


def test_a_removed_vip_turns_that_server_down_and_its_clients_are_served_by_the_others(lab: Project) -> None:
    before = lab.servers()
    hit = {source for source, server in before.items() if server == "server1"}
    assert hit
    lab.exec("server1", "ip", "address", "del", f"{lab.vip}/32", "dev", "lo")
    try:
        wait_for(lambda: states(lab) == UP | {"service_Server1_ANY": "DOWN"}, 20, "the console says DOWN")
        after = lab.servers()
        assert {after[source] for source in hit} <= {"server2", "server3"}
        assert lab.exec("client", "curl", "-sS", f"http://{lab.prefix}.11/") == "server1\n"  # its own address answers
    finally:
        lab.exec("server1", "ip", "address", "add", f"{lab.vip}/32", "dev", "lo")
    wait_until_up(lab)
    assert lab.servers() == before


@pytest.mark.parametrize("service", OURS)
def test_no_request_fails_while_a_container_restarts(lab: Project, service: str) -> None:
    with lab.load() as result:
        time.sleep(1)
        lab.compose("restart", service)
        wait_for(lambda: lab.well(service), 60, f"{service} is well again")
        time.sleep(2)
    assert result["failures"] == {}
    assert result["requests"] > 200
    wait_until_up(lab)


def test_no_request_fails_while_the_dataplane_is_killed_and_recreated(lab: Project) -> None:
    with lab.load() as result:
        lab.compose("kill", "dataplane")
        status = ("web", "python", "manage.py", "halfpipe_status")
        wait_for(lambda: "no report since" in lab.tried(*status)[1], 20, "the console notices")
        lab.compose("up", "--detach", "--no-deps", "--force-recreate", "dataplane")
        wait_for(lambda: lab.well("dataplane"), 60, "it is well again")
    assert result["failures"] == {}
    wait_until_up(lab)


def test_forwarding_goes_on_without_redis_and_postgres_and_everything_recovers(lab: Project) -> None:
    transitions = "select count(*) from webui_healthtransition"
    before = _count(lab, transitions)
    with lab.load() as result:
        lab.compose("stop", "redis", "postgres")
        gone = {"web": "503", "dataplane": "The database", "worker": "The database", "beat": "Redis"}
        for service, away in gone.items():
            code, said = lab.tried(service, "python", "manage.py", "healthy", service)
            assert code == 1
            assert away in said
            assert "does not answer" in said
        time.sleep(20)
        lab.compose("start", "redis", "postgres")
        for service in OURS:
            wait_for(partial(lab.well, service), 60, f"{service} recovers")
        wait_until_up(lab)
    assert result["failures"] == {}
    assert result["requests"] > 1000
    assert _count(lab, transitions) == before  # nobody was thought to be DOWN meanwhile
    # And it works as before: a change is seen, checked and applied.
    lab.exec("server2", "ip", "address", "del", f"{lab.vip}/32", "dev", "lo")
    try:
        wait_for(lambda: states(lab).get("service_Server2_ANY") == "DOWN", 20, "the console says DOWN")
        wait_for(lambda: set(lab.servers().values()) == {"server1", "server3"}, 10, "the others serve")
    finally:
        lab.exec("server2", "ip", "address", "add", f"{lab.vip}/32", "dev", "lo")
    wait_until_up(lab)


def _count(lab: Project, query: str) -> int:
    code = f"from django.db import connection as c; k = c.cursor(); k.execute({query!r}); print(k.fetchone()[0])"
    return int(lab.exec("web", "python", "manage.py", "shell", "--no-imports", "-c", code))


def test_the_console_shows_the_lab_in_a_browser_and_follows_it(lab: Project) -> None:
    password = lab.exec("web", "cat", "/var/lib/halfpipe/secrets/admin-password").strip()
    complaints: list[str] = []
    with sync_playwright() as playwright:
        arguments: list[str] = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{lab.url}/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{lab.url}/")
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="service_Server3_ANY"))
        expect(row.first).to_contain_text("UP")
        lab.exec("server3", "ip", "address", "del", f"{lab.vip}/32", "dev", "lo")
        try:  # by the websocket: nobody loads the page again
            expect(row.first).to_contain_text("DOWN", timeout=20_000)
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=SCREENSHOTS / "compose-dashboard.png", full_page=True)
        finally:
            lab.exec("server3", "ip", "address", "add", f"{lab.vip}/32", "dev", "lo")
        expect(row.first).to_contain_text("UP", timeout=30_000)
        browser.close()
    assert complaints == []


def test_everything_ends_in_order_within_ten_seconds(lab: Project) -> None:
    """Twice at most: on a machine whose CPUs are busy with other work a process may not even be told in time."""
    services = (*NON_ROOT, *OURS, "client", "server1")
    for attempt in (1, 2):
        begun = time.monotonic()
        lab.compose("stop")
        took = time.monotonic() - begun
        ended = {service: lab.inspect(service)["State"]["ExitCode"] for service in services}
        killed = [service for service, code in ended.items() if code == 137]  # 128 and SIGKILL
        if (took < 10 and not killed) or attempt == 2:
            break
        lab.compose("start")
        wait_until_up(lab)
    assert killed == []
    assert took < 10


def test_down_leaves_nothing(lab: Project) -> None:
    lab.down()
    assert lab.remains() == []
    assert lab.name not in Path("/proc/self/mounts").read_text()
    assert f"{lab.prefix}." not in run("ip", "-4", "address") + run("ip", "-4", "route")
