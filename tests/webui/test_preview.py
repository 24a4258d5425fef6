"""What a monitor would say before it is bound: asked through Redis, checked for real, nothing recorded."""

from __future__ import annotations

import json
import socket
import threading
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError

from monitors import preview as running
from tests import factories
from tests.monitors.kinds.servers import LOOPBACK, by_hand, silent
from tests.ports import free_port
from webui import preview, queries
from webui.actions import services
from webui.celery import app
from webui.choices import PROBED, State
from webui.models import AuditEntry, HealthState, HealthTransition, Monitor, ProbeTarget, Service, VServer
from webui.preview import Preview
from webui.world import load_world

pytestmark = pytest.mark.django_db


class Memory:
    """As much of Redis as a preview needs."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing is held open."""

    def set(self, key: str, value: str, ex: int) -> None:
        assert 0 < ex <= 600
        self.held[key] = value

    def mget(self, *keys: str) -> list[str | None]:
        return [self.held.get(key) for key in keys]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    found = Memory()
    monkeypatch.setattr(redis.Redis, "from_url", lambda *_args, **_options: found)
    return found


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Messages to the worker."""
    found: list[tuple[Any, ...]] = []
    monkeypatch.setattr(app, "send_task", lambda _name, args, **_options: found.append(args))
    return found


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


@pytest.fixture
def farm() -> tuple[VServer, list[Service]]:
    bound = [factories.service(factories.server(number)) for number in (1, 2, 3)]
    made = factories.vserver(*bound)
    HealthState.objects.update(state=State.UP, response="echo", checked_at=timezone.now())
    return made, bound


def test_the_worker_checks_each_pair_once_and_records_nothing(farm: tuple[VServer, list[Service]]) -> None:
    _vserver, bound = farm
    for number, target in enumerate(ProbeTarget.objects.order_by("pk")):
        ProbeTarget.objects.filter(pk=target.pk).update(address=f"127.0.0.{number + 1}")
    before = list(HealthState.objects.order_by("pk").values())
    with by_hand(silent) as port:  # on 127.0.0.1 alone
        monitor = factories.monitor(dest_port=port)
        pairs = [[service.pk, "10.77.0.10"] for service in bound]
        first, second, third = running.preview(monitor.pk, [*pairs[:2], [bound[2].pk, "192.0.2.1"]])
    assert (first["state"], first["address"]) == ("UP", "127.0.0.1")
    assert (second["state"], second["message"]) == ("DOWN", "connection refused")
    assert (third["state"], third["message"]) == ("DOWN", "there is no probe address for it any more")
    assert list(HealthState.objects.order_by("pk").values()) == before
    assert not HealthTransition.objects.exists()


def test_a_reversed_monitor_says_so() -> None:
    service = factories.service()
    factories.vserver(service)
    ProbeTarget.objects.update(address=LOOPBACK)
    monitor = factories.monitor(dest_port=free_port(), reverse=True)
    (result,) = running.preview(monitor.pk, [[service.pk, "10.77.0.10"]])
    assert (result["state"], result["message"]) == ("UP", "connection refused, which passes a reversed monitor")


def ask(service: Service, monitor: Monitor) -> str:
    return preview.ask(load_world(), "services", service.pk, monitor)


def answered(scope: str, pk: int, monitor: Monitor, passed: dict[int, bool]) -> Preview:
    results = [
        {
            "service": key,
            "vip": "10.77.0.10",
            "address": "",
            "state": "UP" if value else "DOWN",
            "message": "seen",
            "seconds": 0.1,
        }
        for key, value in passed.items()
    ]
    return Preview(scope, pk, monitor.pk, 1, timezone.now(), results)


def test_it_says_how_many_services_would_be_up(farm: tuple[VServer, list[Service]]) -> None:
    vserver, bound = farm
    monitor = factories.monitor()
    told = preview.consequences(
        load_world(), answered("vservers", vserver.pk, monitor, {one.pk: one == bound[0] for one in bound}), monitor
    )
    assert told == ["vserver_DSR: 1 of 3 services would be UP (3 are now). Fail-open is off for it."]
    told = preview.consequences(load_world(), answered("services", bound[0].pk, monitor, {bound[0].pk: False}), monitor)
    assert told == ["vserver_DSR: 2 of 3 services would be UP (3 are now). Fail-open is off for it."]


def test_it_says_whether_fail_open_would_act(farm: tuple[VServer, list[Service]]) -> None:
    vserver, bound = farm
    VServer.objects.update(fail_open=50)
    monitor = factories.monitor()
    for failing, expected in ((2, "(above 50 %) would keep 2 failing services in use."), (1, "would not act.")):
        passed = {one.pk: number >= failing for number, one in enumerate(bound)}
        (told,) = preview.consequences(load_world(), answered("vservers", vserver.pk, monitor, passed), monitor)
        assert told.endswith(expected)


def test_the_default_monitor_gives_way_as_it_does_when_another_is_bound(farm: tuple[VServer, list[Service]]) -> None:
    _vserver, bound = farm
    HealthState.objects.filter(service=bound[0]).update(state=State.DOWN)
    monitor = factories.monitor()
    asked = answered("services", bound[0].pk, monitor, {bound[0].pk: True})
    (told,) = preview.consequences(load_world(), asked, monitor)
    assert "3 of 3 services would be UP (2 are now)" in told
    services.bind_monitor(factories.SYSTEM, bound[0], factories.monitor("second"))
    HealthState.objects.filter(service=bound[0]).update(state=State.DOWN)
    (told,) = preview.consequences(load_world(), asked, monitor)  # that one stays, and is DOWN
    assert "2 of 3 services would be UP (2 are now)" in told


def test_asking_changes_no_row(farm: tuple[VServer, list[Service]], memory: Memory, sent: list[Any]) -> None:
    _vserver, bound = farm
    monitor = factories.monitor()
    changes = AuditEntry.objects.count()
    token = ask(bound[0], monitor)
    assert sent == [(token, monitor.pk, [(bound[0].pk, "10.77.0.10")])]
    asked = preview.read(token)
    assert asked is not None
    assert (asked.results, asked.error) == (None, "")
    assert AuditEntry.objects.count() == changes
    assert preview.read("another") is None


def test_without_an_answer_it_says_that_no_worker_runs(
    farm: tuple[VServer, list[Service]], memory: Memory, sent: list[Any]
) -> None:
    token = ask(farm[1][0], factories.monitor())
    key = preview.key_of(token, preview.REQUEST)
    request = json.loads(memory.held[key])
    memory.held[key] = json.dumps(request | {"until": (timezone.now() - timedelta(seconds=1)).isoformat()})
    asked = preview.read(token)
    assert asked is not None
    assert asked.error.startswith("No worker answered")


def test_without_redis_it_says_so(farm: tuple[VServer, list[Service]]) -> None:
    with pytest.raises(preview.NoPreviewError, match="Redis does not answer"):
        ask(farm[1][0], factories.monitor())
    with pytest.raises(preview.NoPreviewError, match="Redis does not answer"):
        preview.read("token")


def test_a_broker_that_is_away_is_said(farm: tuple[VServer, list[Service]], memory: Memory, monkeypatch: Any) -> None:
    def away(*_args: Any, **_options: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(app, "send_task", away)
    with pytest.raises(preview.NoPreviewError, match="Redis does not answer"):
        ask(farm[1][0], factories.monitor())


def test_a_service_without_a_vip_has_nothing_to_check(memory: Memory, sent: list[Any]) -> None:
    with pytest.raises(preview.NoPreviewError, match="there is no VIP"):
        ask(factories.service(), factories.monitor())


@pytest.mark.django_db(transaction=True)
def test_the_page_waits_and_then_shows_what_was_found(
    farm: tuple[VServer, list[Service]], memory: Memory, sent: list[Any], owner: Client
) -> None:
    _vserver, bound = farm
    ProbeTarget.objects.filter(server=bound[0].server).update(address=LOOPBACK)
    monitor = factories.monitor(dest_port=free_port())
    form = {"monitor": monitor.pk, "weight": 1, "state": "ENABLED"}
    answer = owner.post(reverse("preview-service", args=[bound[0].pk]), form)
    waiting = owner.get(answer.headers["Location"])
    assert "hx-get" in waiting.content.decode()
    assert 'id="preview"' in waiting.content.decode()
    running.run(*sent[0])
    for thread in [one for one in threading.enumerate() if one.name == "preview"]:
        thread.join(10)
    page = owner.get(answer.headers["Location"]).content.decode()
    assert "connection refused" in page
    assert "2 of 3 services would be UP (3 are now)" in page
    assert 'id="preview" hx-get' not in page
    assert not Monitor.objects.get(pk=monitor.pk).service_bindings.exists()


def test_a_whole_virtual_server_is_previewed(
    farm: tuple[VServer, list[Service]], memory: Memory, sent: list[Any], owner: Client
) -> None:
    vserver, bound = farm
    address = reverse("preview-vserver", args=[vserver.pk])
    assert owner.get(address).status_code == 200
    assert owner.post(address, {"monitor": ""}).status_code == 422
    monitor = factories.monitor()
    services.bind_monitor(factories.SYSTEM, bound[2], monitor)
    answer = owner.post(address, {"monitor": monitor.pk})
    assert sent[0][2] == [(one.pk, "10.77.0.10") for one in bound[:2]]  # the third has it
    assert owner.get(answer.headers["Location"]).status_code == 200
    (entry,) = AuditEntry.objects.filter(verb=PROBED)
    assert (entry.object_name, entry.after) == (monitor.name, {"preview": vserver.name})
    assert f"preview for {vserver.name}" in {row["note"] for row in queries.change_rows("monitor", monitor.pk)}


def test_a_server_under_maintenance_is_neither_up_nor_failing(farm: tuple[VServer, list[Service]]) -> None:
    vserver, bound = farm
    VServer.objects.update(fail_open=50)
    monitor = factories.monitor()
    asked = answered("vservers", vserver.pk, monitor, {one.pk: True for one in bound})
    for row in asked.results or []:
        row["state"] = "GOING OUT OF SERVICE"
    (told,) = preview.consequences(load_world(), asked, monitor)
    assert told.startswith(f"{vserver.name}: 0 of 3 services would be UP (3 are now).")
    assert told.endswith("would not act.")


def test_who_may_not_bind_previews_nothing(
    farm: tuple[VServer, list[Service]], memory: Memory, sent: list[Any], client: Client
) -> None:
    vserver, bound = farm
    token = ask(bound[0], factories.monitor())
    client.force_login(factories.outsider())
    for address in (
        reverse("preview-service", args=[bound[0].pk]),
        reverse("preview-vserver", args=[vserver.pk]),
    ):
        assert client.post(address, {"monitor": 1}).status_code == 403
    assert client.get(reverse("preview", args=[token])).status_code == 403
    assert len(sent) == 1


def test_one_that_is_over_is_not_found(memory: Memory, owner: Client) -> None:
    assert owner.get(reverse("preview", args=["gone"])).status_code == 404


def test_a_silent_server_takes_no_longer_than_a_preview_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LONGEST_CHECK", 0.2)
    service = factories.service()
    factories.vserver(service)
    ProbeTarget.objects.update(address=LOOPBACK)
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        monitor = factories.monitor(monitor_type="HTTP", dest_port=port, interval=100, resp_timeout=90)
        (result,) = running.preview(monitor.pk, [[service.pk, "10.77.0.10"]])
    assert result["state"] == "DOWN"
    assert result["seconds"] < 5
