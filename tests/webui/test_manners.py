from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.db import OperationalError
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from tests.redis_server import RedisServer
from tests.webui.test_consumer import _connected
from webui import consumers, live, queries
from webui.actions import eventtargets, monitors, renaming, servers, vservers
from webui.actions.base import ConflictError, PermissionRefused
from webui.models import AuditEntry, HealthState, Monitor, Server, VServer
from webui.narrow import LONGEST, SOURCES, Wish, wish_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _page(answer: Any) -> str:
    return str(answer.content.decode())


# Add like this


def test_a_copy_has_the_values_but_not_what_only_one_can_have(owner: Client) -> None:
    vserver = factories.vserver(lb_method="ROUNDROBIN", syn_rate=1000, comment="rack 7", fail_open=40)
    answer = owner.get(f"/vservers/add/?like={vserver.pk}")
    form = answer.context["form"]
    initial = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    assert initial["name"] == "vserver_DSR_copy"
    assert (initial["lb_method"], initial["syn_rate"], initial["fail_open"]) == ("ROUNDROBIN", 1000, 40)
    assert (initial["comment"], initial["address"]) == ("rack 7", None)
    assert "Filled in like vserver_DSR." in _page(answer)
    assert VServer.objects.count() == 1


def test_a_second_copy_has_another_free_name(owner: Client) -> None:
    one = factories.server(1)
    factories.server(2, name="server1_COPY")
    assert 'value="Server1_copy2"' in _page(owner.get(f"/servers/add/?like={one.pk}"))


def test_a_copy_of_a_built_in_monitor_is_its_own(owner: Client) -> None:
    built_in = Monitor.objects.get(name="ping-default")
    page = _page(owner.get(f"/monitors/add/?like={built_in.pk}"))
    assert 'value="ping-default_copy"' in page
    assert 'value="PING" selected' in page


def test_secrets_are_not_copied(owner: Client) -> None:
    given = {"name": "ftp", "monitor_type": "FTP", "user_name": "probe", "password": "very secret"}
    monitor = monitors.create(factories.SYSTEM, given)
    page = _page(owner.get(f"/monitors/add/?like={monitor.pk}"))
    assert 'value="probe"' in page
    assert "very secret" not in page
    target = {"name": "log", "target_type": "SYSLOG", "host": "log.example"}
    made = eventtargets.create(factories.SYSTEM, target)
    assert 'value="log.example"' in _page(owner.get(f"/eventtargets/add/?like={made.pk}"))


@pytest.mark.parametrize("like", ["99", "x", "-1", "9" * 30, "١"])
def test_a_copy_of_what_is_not_there_is_not_found(owner: Client, like: str) -> None:
    assert owner.get("/servers/add/", {"like": like}).status_code == 404


# Rename


def test_a_rename_keeps_number_bindings_and_health_and_is_in_the_audit(owner: Client) -> None:
    vserver = factories.vserver(factories.service())
    health = list(HealthState.objects.values())
    answer = owner.post(f"/vservers/{vserver.pk}/rename/", {"name": "web", "version": vserver.version})
    assert answer.headers["Location"] == f"/vservers/{vserver.pk}/"
    renamed = VServer.objects.get()
    assert (renamed.pk, renamed.name, renamed.service_bindings.count()) == (vserver.pk, "web", 1)
    assert list(HealthState.objects.values()) == health
    entry = AuditEntry.objects.filter(verb="update", object_id=vserver.pk).first()
    assert entry is not None
    assert (entry.before, entry.after) == ({"name": "vserver_DSR"}, {"name": "web"})
    assert [row["key"] for row in queries.overview()["vservers"]] == [str(vserver.pk)]


@pytest.mark.parametrize("name", ["", "Server2", "server2", "Server1", "-x", " "])
def test_a_name_that_cannot_be_is_refused_and_kept_in_the_form(owner: Client, name: str) -> None:
    server = factories.server(1)
    factories.server(2)
    answer = owner.post(f"/servers/{server.pk}/rename/", {"name": name, "version": server.version})
    assert answer.status_code == 422
    assert "name" in answer.context["form"].errors
    assert answer.context["form"]["name"].value() == name
    assert sorted(Server.objects.values_list("name", flat=True)) == ["Server1", "Server2"]


def test_a_rename_after_someone_elses_is_told_and_can_be_repeated(owner: Client) -> None:
    server = factories.server()
    servers.update(factories.SYSTEM, server, {"name": "theirs"})
    answer = owner.post(f"/servers/{server.pk}/rename/", {"name": "ours", "version": server.version})
    assert answer.status_code == 409
    assert "name Server1 → theirs" in _page(answer)
    again = {"name": "ours", "version": answer.context["version"]}
    assert owner.post(f"/servers/{server.pk}/rename/", again).status_code == 302
    assert Server.objects.get().name == "ours"


def test_a_rename_takes_the_permission_to_change() -> None:
    server = factories.server()
    with pytest.raises(PermissionRefused):
        renaming.rename(factories.actor(factories.outsider()), server, "Server1")
    assert renaming.rename(factories.actor(factories.member()), server, "x").name == "x"


# Two people edit one object


def test_a_conflict_tells_for_each_field_who_changed_it(owner: Client) -> None:
    backup = factories.vserver(name="backup", address="10.77.0.30")
    vserver = factories.vserver()
    address = f"/vservers/{vserver.pk}/edit/"
    form = owner.get(address).context["form"]
    opened = {name: form[name].value() for name in form.fields}
    sent = {name: value for name, value in opened.items() if value is not None}
    vservers.update(factories.SYSTEM, vserver, {"timeout": 9, "syn_rate": 100})
    vservers.update(factories.SYSTEM, vserver, {"syn_rate": 200, "backup_vserver": backup})
    mine = sent | {"comment": "mine", "syn_rate": 300, "version": vserver.version}
    answer = owner.post(address, mine)
    assert answer.status_code == 409
    told = {one.label: (one.before, one.now, one.typed, one.by) for one in answer.context["differences"]}
    assert told == {
        "Comment": ("–", "–", "mine", "you"),
        "SYN limit (per s)": ("0", "200", "300", "both"),
        "Persistence timeout (min)": ("2", "9", "2", "the other"),
        "Backup virtual server": ("–", "backup", "–", "the other"),
    }
    assert "Save all the same" in _page(answer)
    assert VServer.objects.get(pk=vserver.pk).comment == ""


def test_the_values_before_a_conflict_are_the_oldest_since() -> None:
    server = factories.server(comment="first")
    for text in ("second", "third"):
        servers.update(factories.SYSTEM, server, {"comment": text})
    with pytest.raises(ConflictError) as caught:
        servers.update(factories.SYSTEM, server, {"comment": "mine"}, server.version)
    assert caught.value.before == {"comment": "first"}


# Pages of errors


def test_a_page_that_was_never_there_and_an_object_that_is_gone_are_told_apart(owner: Client) -> None:
    nowhere = owner.get("/nowhere/")
    assert nowhere.status_code == 404
    assert "There is nothing at this address" in _page(nowhere)
    assert "nowhere" not in _page(nowhere), "no list of addresses is shown"
    gone = owner.get("/servers/987/")
    assert "There is no server with number 987; it may have been deleted." in _page(gone)


def test_a_host_that_is_not_ours_gets_a_plain_400(client: Client) -> None:
    answer = client.get("/login/", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "<h1>Not understood</h1>" in _page(answer)
    assert "ALLOWED_HOSTS" not in _page(answer)


def test_the_address_of_a_button_has_a_page(owner: Client) -> None:
    answer = owner.get(f"/servers/{factories.server().pk}/enable/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "This address takes what a button sends" in _page(answer)


@pytest.mark.parametrize("address", ["/", "/services/", "/login/"])
def test_a_database_that_is_away_is_said_plainly(owner: Client, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    def away(*_args: Any, **_more: Any) -> None:
        raise OperationalError("connection to 192.0.2.1 refused: password is hunter2")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", away)
    owner.raise_request_exception = False
    answer = owner.get(address)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "<h1>The database does not answer</h1>" in _page(answer)
    assert "hunter2" not in _page(answer)


def test_every_page_is_there_while_redis_is_away(owner: Client) -> None:
    vserver = factories.vserver(factories.service())
    for address in ("/", "/vservers/", "/services/?sort=state", f"/vservers/{vserver.pk}/", "/services/export.csv"):
        assert owner.get(address).status_code == 200, address


@pytest.fixture
def redis_layer(redis_server: RedisServer, settings: Any) -> RedisServer:
    """The channel layer of a real installation."""
    config = {"hosts": [{"address": redis_server.url, "socket_timeout": None}]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config}}
    return redis_server


async def _close_code(browser: Any) -> int:
    while True:
        output = await browser.wire.receive_output(5)
        if output["type"] == "websocket.close":
            return int(output["code"])


async def test_a_websocket_is_told_to_try_again_while_redis_is_away(
    redis_layer: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_layer.kill()
    browser = await _connected()
    assert await _close_code(browser) == consumers.TRY_AGAIN
    await browser.wire.wait(3)  # raises what the application raised
    assert [record for record in caplog.records if record.exc_info or record.levelno > logging.WARNING] == []
    assert "since Redis is away" in caplog.text


async def test_a_websocket_is_told_so_too_when_redis_goes_away_later(redis_layer: RedisServer) -> None:
    browser = await _connected()
    assert (await browser.message())["type"] == "snapshot"
    await asyncio.to_thread(redis_layer.kill)
    assert await _close_code(browser) == consumers.TRY_AGAIN
    await browser.wire.wait(3)


async def test_a_websocket_is_told_to_try_again_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_key: Any) -> bool:
        raise OperationalError("connection refused")

    monkeypatch.setattr(consumers.LiveConsumer, "session_check", staticmethod(away))
    browser = await _connected()
    assert await _close_code(browser) == consumers.TRY_AGAIN
    await browser.wire.wait(3)


# What of the live snapshot a page gets


async def test_a_browser_gets_only_the_rows_that_it_shows() -> None:
    made = [await database_sync_to_async(factories.server)(number) for number in (1, 2, 3)]
    browser = await _connected(query=f"servers={made[0].pk},{made[2].pk}")
    message = await browser.message()
    assert [row["name"] for row in message["servers"]] == ["Server1", "Server3"]
    assert "services" not in message
    assert message["problem_count"] == 0
    await browser.wire.send_input({"type": "websocket.receive", "text": f"servers={made[1].pk}&problems=*"})
    message = await browser.message()
    assert [row["name"] for row in message["servers"]] == ["Server2"]
    assert message["problems"] == []
    await browser.disconnect()


async def test_counters_are_narrowed_too() -> None:
    browser = await _connected(query="vservers=1")
    await browser.message()
    payload = {"vservers": {"1": {"packets": 7}, "2": {"packets": 8}}, "services": {"1": {"packets": 9}}}
    event: live.CountersEvent = {"type": "live.counters", "director": "d", "taken_at": "2026-01-01", "payload": payload}
    await live.apublish(event)
    assert (await browser.message())["counters"][0]["payload"] == {"vservers": {"1": {"packets": 7}}}
    await browser.disconnect()


@pytest.mark.parametrize(
    "text", ["", "{not json", "hash_key=*", "services", "services=1&secrets=*", "a=" + "1" * LONGEST]
)
def test_what_is_no_wish_changes_nothing(text: str) -> None:
    assert wish_of(text) is None


def test_many_keys_are_all_of_them() -> None:
    wish = wish_of("services=" + ",".join(str(one) for one in range(2000)))
    assert wish == Wish({"services": None})
    assert wish_of("none=1") == Wish({})


@given(st.text(max_size=80))
def test_any_text_is_a_wish_or_none(text: str) -> None:
    wish = wish_of(text)
    assert wish is None or wish.keys.keys() <= SOURCES
    if wish is not None:
        assert wish_of(wish.text or "none=1") == wish
