from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests import factories
from tests.webui.test_consumer import _browser, _session_of
from webui import consumers, live
from webui.actions import flow_watch
from webui.actions.base import PermissionRefused
from webui.choices import AuditVerb
from webui.models import AuditEntry, DirectorCounters, FlowWatch, Installation, VServer

pytestmark = pytest.mark.django_db(transaction=True)

WAKE = "webui.wake.wake_dataplane"


@pytest.fixture
def vserver() -> VServer:
    return factories.vserver(factories.service())


def watcher() -> User:
    """May watch flows and nothing else."""
    user = factories.outsider()
    user.user_permissions.set(Permission.objects.filter(codename="watch_vserver"))
    return user


def test_a_wish_wakes_the_worker_once_and_is_renewed(vserver: VServer, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    monkeypatch.setattr(WAKE, lambda: woken.append(1))
    actor = factories.actor(watcher())
    revision = Installation.objects.get().revision
    first = flow_watch.renew(actor, vserver)
    again = flow_watch.renew(actor, vserver)
    assert (first.pk, len(woken)) == (again.pk, 1)
    assert first.started_at == again.started_at
    assert timedelta(0) < again.until - timezone.now() <= timedelta(seconds=flow_watch.WATCH_SECONDS)
    assert Installation.objects.get().revision == revision  # no change of configuration


def test_a_wish_that_was_over_begins_anew_and_old_ones_go(vserver: VServer) -> None:
    user = watcher()
    owner = factories.owner()
    long_ago = timezone.now() - timedelta(hours=1)
    FlowWatch.objects.create(vserver=vserver, requested_by=owner, until=long_ago, started_at=long_ago)
    FlowWatch.objects.create(
        vserver=vserver, requested_by=user, until=timezone.now() - timedelta(seconds=20), started_at=long_ago
    )
    flow_watch.renew(factories.actor(user), vserver)
    found = FlowWatch.objects.get()
    assert (found.requested_by, found.started_at > long_ago) == (user, True)


def test_who_may_not_watch_is_refused_and_recorded(vserver: VServer, client: Client) -> None:
    user = factories.member()
    with pytest.raises(PermissionRefused, match=r"webui\.watch_vserver is missing"):
        flow_watch.renew(factories.actor(user), vserver)
    entry = AuditEntry.objects.latest("pk")
    assert (entry.verb, entry.object_id) == (AuditVerb.REFUSE, vserver.pk)
    client.force_login(user)
    answer = client.post(reverse("watch-flows", args=[vserver.pk]))
    assert (answer.status_code, "watch_vserver" in answer.json()["error"]) == (403, True)
    assert b"may not watch" in client.get(reverse("flows", args=[vserver.pk])).content
    assert not FlowWatch.objects.exists()


def test_a_command_has_no_page_to_show_flows_on(vserver: VServer) -> None:
    with pytest.raises(ValidationError, match=r"manage\.py flows"):
        flow_watch.renew(factories.SYSTEM, vserver)


def test_the_page_asks_for_flows_by_a_post(vserver: VServer, client: Client) -> None:
    client.force_login(watcher())
    page = client.get(reverse("flows", args=[vserver.pk]))
    assert reverse("watch-flows", args=[vserver.pk]) in page.content.decode()
    assert not FlowWatch.objects.exists()  # looking it up asks for nothing
    assert client.get(reverse("watch-flows", args=[vserver.pk])).status_code == 405
    assert client.post(reverse("watch-flows", args=[vserver.pk])).status_code == 204
    assert FlowWatch.objects.get().vserver == vserver
    assert client.post(reverse("watch-flows", args=[vserver.pk + 1])).status_code == 404


def test_the_page_of_a_vserver_shows_its_drops(vserver: VServer, client: Client) -> None:
    counted = {"packets": 9, "dropped": 7, "dropped_per_second": 1.0, "drops": {"DROP_SYN_RATE": 4, "DROP_TTL": 3}}
    DirectorCounters.objects.create(
        director="director1", taken_at=timezone.now(), payload={"vservers": {str(vserver.pk): counted}}
    )
    client.force_login(factories.outsider())
    page = client.get(reverse("detail", args=["vservers", vserver.pk])).content.decode()
    assert "more SYNs than the virtual server takes" in page
    assert page.index("more SYNs than") < page.index("its time to live is used up")
    assert 'data-field="dropped"' in page


async def test_flows_reach_those_who_look_at_this_vserver() -> None:
    session = await _session_of(watcher)
    browser = _browser(session, path="/ws/flows/7/")
    assert await browser.connect() == 0
    event: live.FlowsEvent = {"type": "live.flows", "director": "d", "vserver": 8, "rows": [], "withheld": 0}
    await live.apublish(event)
    await live.apublish({**event, "vserver": 7, "withheld": 2})
    message = await browser.message()
    assert (message["type"], message["seq"], message["withheld"]) == ("flows", 1, 2)
    await browser.disconnect()


@pytest.mark.parametrize("make_user", [factories.outsider, factories.member])
async def test_who_may_not_watch_gets_no_websocket(make_user: Any) -> None:
    browser = _browser(await _session_of(make_user), path="/ws/flows/7/")
    assert await browser.connect() == consumers.NOT_ALLOWED


def _take_permissions() -> None:
    User.objects.get().user_permissions.clear()


async def test_who_loses_the_permission_is_told_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "SESSION_SECONDS", 0.0)
    browser = _browser(await _session_of(watcher), path="/ws/flows/7/")
    assert await browser.connect() == 0
    await database_sync_to_async(_take_permissions)()
    await live.apublish({"type": "live.flows", "director": "d", "vserver": 7, "rows": [], "withheld": 0})
    output = await browser.wire.receive_output(3)
    assert (output["type"], output["code"]) == ("websocket.close", consumers.NOT_ALLOWED)
