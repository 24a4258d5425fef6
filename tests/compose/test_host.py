"""The default profile: a director on this machine's network, here with an interface that the test makes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.compose.compose import Project, run, wait_for
from tests.compose.conftest import project

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]


@pytest.fixture
def interface() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes an interface")
    name = f"hpx{os.getpid()}"
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        run("ip", "address", "add", "203.0.113.1/30", "dev", name)  # TEST-NET-3, RFC 5737
        for end in (name, f"{name}p"):
            run("ip", "link", "set", end, "up")
        yield name
    finally:
        run("ip", "link", "del", name)


@pytest.fixture
def host(images: None) -> Iterator[Project]:
    made = project("host", "host")
    try:
        yield made
    finally:
        made.down()
        assert made.remains() == []


def up(host: Project) -> int:
    command = host.command("up", "--detach")
    done = subprocess.run(command, capture_output=True, timeout=180, env=host.environment, check=False)
    return done.returncode


def test_a_director_on_the_hosts_network_comes_and_goes(host: Project, interface: str) -> None:
    host.settings |= {"HALFPIPE_INTERFACES": interface, "COMPOSE_PROFILES": "host"}
    assert up(host) == 0, host.logs()
    for service, process in (("host-dataplane", "dataplane"), ("host-worker", "worker"), ("web", "web")):
        wait_for(partial(host.well, service, process), 40, f"{service} is well")
    assert "hp_ingress" in run("tc", "filter", "show", "dev", interface, "ingress")
    host.compose("kill", "host-dataplane")
    assert "hp_ingress" in run("tc", "filter", "show", "dev", interface, "ingress")  # forwarding needs no process
    host.down()
    assert run("tc", "filter", "show", "dev", interface, "ingress") == ""
    assert "clsact" not in run("tc", "qdisc", "show", "dev", interface)
    assert host.name not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize(
    ("settings", "service", "sentence"),
    [
        ({"COMPOSE_PROFILES": "host"}, "settings", "HALFPIPE_INTERFACES is not set: name in .env the interface"),
        ({"HALFPIPE_TLS": "perhaps"}, "settings", "HALFPIPE_TLS='perhaps' is neither on nor off"),
        ({"HALFPIPE_INTERFACES": "nosuch0"}, "hostnet", "HALFPIPE_INTERFACES names nosuch0, which this machine does"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_sentence(
    host: Project, settings: dict[str, str], service: str, sentence: str
) -> None:
    host.settings |= settings
    assert up(host) != 0
    assert sentence in host.logs(service)
    assert host.container("host-dataplane") == "" or host.inspect("host-dataplane")["State"]["Status"] == "created"
