"""/metrics, read by a parser of the format."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from tests import factories
from tests.redis_server import RedisServer
from webui import freshness
from webui.models import DataplaneStatus, DirectorCounters, HealthState, Service, VServer

pytestmark = pytest.mark.django_db

TOKEN = "a-token-of-sixteen"
ROOT = Path(__file__).resolve().parents[2]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(settings, "METRICS_TOKEN", TOKEN)
    return TOKEN


def scrape(client: Client) -> Samples:
    answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is told twice"
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def reports(director: str, packets: int, seconds_ago: float = 0) -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    DataplaneStatus.objects.create(
        director=director, heartbeat_at=at, wanted_revision=7, applied_revision=6, round_ms=12, drift=2, mode="xdp"
    )
    pk = str(VServer.objects.get().pk)
    drops = {"dropped": 5, "drops": {"DROP_NO_SERVICE": 5}}
    payload = {
        "vservers": {pk: {"packets": packets, "bytes": packets * 100} | drops, "999": {"packets": 1, "bytes": 1}},
        "services": {},
        "reasons": {"FORWARDED": {"packets": packets}, "DROP_LOOP": {"packets": 3}},
    }
    DirectorCounters.objects.create(director=director, taken_at=at, payload=payload)


def checked(service: Service) -> None:
    HealthState.objects.filter(service=service).update(state="UP", probes=9, failures=2, checked_at=timezone.now())
    row = HealthState.objects.get(service=service)
    figures = freshness.Figures(row.edition, timezone.now(), "PP", "echo", 0.002, None, 40, 3)
    freshness.save({row.pk: figures})


def test_checks_of_long_ago_do_not_look_like_counters_that_were_reset(
    client: Client, token: str, redis_server: RedisServer
) -> None:
    service = factories.service()
    factories.vserver(service)
    checked(service)
    check = {"monitor": "ping-default", "service": service.name, "vip": "10.77.0.10"}
    assert value(scrape(client), "halfpipe_monitor_probes_total", **check) == 40
    redis_server.kill()
    found = scrape(client)
    assert value(found, "halfpipe_monitor_probes_total", **check) is None
    assert value(found, "halfpipe_monitor_up", **check) == 1


def test_states_counters_and_checks_are_told(client: Client, token: str, redis_server: RedisServer) -> None:
    service = factories.service()
    factories.vserver(service, factories.service(factories.server(2)), name='odd "name" #1'.replace('"', "="))
    checked(service)
    reports("lb1", 100)
    reports("lb2", 50)
    found = scrape(client)
    vserver = "odd =name= #1"
    assert value(found, "halfpipe_vserver_packets_total", vserver=vserver, director="lb1") == 100
    assert value(found, "halfpipe_vserver_packets_total", vserver=vserver, director="lb2") == 50
    assert value(found, "halfpipe_vserver_bytes_total", vserver=vserver, director="lb1") == 10_000
    assert value(found, "halfpipe_vserver_up", vserver=vserver) == 1
    assert value(found, "halfpipe_vserver_services", vserver=vserver) == 2
    assert value(found, "halfpipe_vserver_effective_services", vserver=vserver) == 1
    drop = {"vserver": vserver, "director": "lb1", "reason": "drop_no_service"}
    assert value(found, "halfpipe_vserver_dropped_packets_total", **drop) == 5
    assert value(found, "halfpipe_packets_total", director="lb1", outcome="drop_loop") == 3
    check = {"monitor": "ping-default", "service": service.name, "vip": "10.77.0.10"}
    assert value(found, "halfpipe_monitor_probes_total", **check) == 40
    assert value(found, "halfpipe_monitor_probe_failures_total", **check) == 3
    assert value(found, "halfpipe_monitor_response_seconds", **check) == 0.002
    assert value(found, "halfpipe_director_up", director="lb1") == 1
    assert value(found, "halfpipe_director_applied_revision", director="lb1") == 6
    assert value(found, "halfpipe_director_round_seconds", director="lb1") == 0.012
    assert value(found, "halfpipe_director_repairs_total", director="lb1") == 2
    assert value(found, "halfpipe_director_info", director="lb1", mode="xdp") == 1
    assert value(found, "halfpipe_build_info", version="0.1.0") == 1
    assert value(found, "halfpipe_service_up", service=service.name, server="Server1") == 1


def test_what_was_deleted_and_who_is_silent_has_no_counters(client: Client, token: str) -> None:
    factories.vserver(factories.service())
    reports("lb1", 100, seconds_ago=60)
    found = scrape(client)
    assert value(found, "halfpipe_director_up", director="lb1") == 0
    assert not [name for name, _labels in found if name.endswith("packets_total")]
    reports("lb2", 100)
    assert {dict(labels)["vserver"] for name, labels in scrape(client) if name == "halfpipe_vserver_packets_total"} == {
        "vserver_DSR"
    }


def test_names_and_types_are_as_prometheus_wants_them(client: Client, token: str) -> None:
    factories.vserver(factories.service())
    text = client.get("/metrics", headers={"authorization": f"bearer {TOKEN}"}).content.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {"halfpipe_vserver_packets", "halfpipe_monitor_probes"} <= families.keys()
    for name, family in families.items():
        assert name.startswith("halfpipe_")
        assert family.type in {"counter", "gauge"}
        assert all(sample.name.endswith("_total") for sample in family.samples if family.type == "counter")


@pytest.mark.parametrize("size", [1, 5])
def test_a_scrape_takes_as_many_queries_for_many_objects(
    client: Client, token: str, size: int, django_assert_num_queries: Callable[[int], Any]
) -> None:
    for number in range(1, size + 1):
        made = factories.service(factories.server(number))
        factories.vserver(made, name=f"v{number}", address=f"10.77.1.{number}")
    with django_assert_num_queries(11):
        scrape(client)


def test_metrics_are_off_until_there_is_a_token(client: Client) -> None:
    assert settings.METRICS_TOKEN == ""
    for header in ("", "Bearer ", "Bearer x"):
        answer = client.get("/metrics", headers={"authorization": header})
        assert answer.status_code == 404
        assert b"HALFPIPE_METRICS_TOKEN_FILE" in answer.content


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer ü"])
def test_without_the_token_nothing_is_told(client: Client, token: str, header: str) -> None:
    client.force_login(factories.owner())  # a session opens nothing
    answer = client.get("/metrics", headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert b"halfpipe_" not in answer.content


@pytest.mark.parametrize(
    ("content", "expected"),
    [("short", "16 ASCII characters at least"), ("two words are no token", "no space"), (None, "cannot be read")],
)
def test_a_token_that_protects_nothing_stops_the_start(tmp_path: Path, content: str | None, expected: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    environment = {
        "DJANGO_SETTINGS_MODULE": "webui.settings",
        "HALFPIPE_METRICS_TOKEN_FILE": str(path),
        "HALFPIPE_SECRET_KEY_FILE": str(tmp_path / "key"),
    }
    command = [sys.executable, "-c", "import webui.settings"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert expected in done.stderr
    path.write_text(f"{TOKEN}\n")
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=60, check=False).returncode == 0
