"""The review: what it finds, in which order, and how far one page looks."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.http import QueryDict
from django.test import AsyncClient, Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import factories
from tests.audit.samples import entries, sql, without_triggers
from tests.examples import examples
from tests.factories import SYSTEM
from webui import auditing
from webui.actions import servers, vservers
from webui.actions.base import Actor
from webui.audit import asked, commands, search
from webui.audit.search import Row, position
from webui.choices import AuditVerb, Interface, State
from webui.models import AuditEntry, HealthTransition, Service

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(minute: float = 0, actor: str = "tests", **details: Any) -> AuditEntry:
    """An entry so many minutes after noon."""
    made = auditing.draft(Actor.system(actor), details.pop("verb", AuditVerb.UPDATE), **details)
    made.at = NOON + timedelta(minutes=minute)
    auditing.append([made])
    return made


def transition(minute: float = 0, service: str = "web1", row: Service | None = None) -> HealthTransition:
    return HealthTransition.objects.create(
        at=NOON + timedelta(minutes=minute),
        service=row,
        service_name=service,
        monitor_name="tcp",
        vip="10.77.0.10",
        old=State.UP,
        new=State.DOWN,
        reason="connection refused",
    )


def found(query: str, size: int = 50, window: int = search.CHUNK) -> list[Row]:
    """All pages, one after the other."""
    wanted = asked.parse(QueryDict(query))
    assert wanted.ignored == ()
    rows: list[Row] = []
    for _ in range(200):
        page = search.search(wanted, size, window, seconds=0)
        assert len(page.rows) <= size
        rows += page.rows
        if page.older is None:
            return rows
        wanted = asked.parse(QueryDict(wanted.query(page.older)[1:]))
    pytest.fail("the pages do not end")


def test_entries_and_changes_of_state_are_in_one_order() -> None:
    rows: list[Row] = [entry(1), transition(2), entry(3), transition(3), entry(2)]
    wanted = sorted(rows, key=position, reverse=True)
    for size in (1, 2, 3, 50):
        assert found("", size) == wanted


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("kind=server", [5, 2, 1]),
        ("kind=server&id=7", [2, 1]),
        ("id=8", [5]),
        ("object=WEB1", [2, 1]),
        ("actor=bob", [4, 2]),
        ("verb=delete", [4, 2]),
        ("outcome=refused", [3]),
        ("interface=system", [5, 4, 3, 2, 1]),
        ("kind=server&actor=bob", [2]),
        ("kind=server&actor=bob&verb=delete&outcome=success&interface=system", [2]),
        ("kind=server&actor=nobody", []),
        ("from=2026-03-01T12:02&to=2026-03-01T12:03", [3, 2]),
        ("from=2026-03-02", []),
        ("to=2026-03-01&kind=server", [5, 2, 1]),
        ("q=rack", [2]),
        ("q=RACK 4", [2]),
        ("q=rack 5", []),
        ("q=Tür", [5]),
        ("q=100%25", [1]),
        ("q=1_0", []),
        ("q=!", [4]),
        ("revision=12", [5]),
        ("correlation=c0ffee", [4]),
        ("q=bob&verb=delete", [4, 2]),
    ],
)
@pytest.mark.parametrize("window", [1, 2, 1000])
def test_filters_find_what_they_say(query: str, numbers: list[int], window: int) -> None:
    about: dict[str, Any] = {"kind": "server", "object_id": 7, "object_name": "Web1"}
    entry(1, **about, after={"load": "100%"})
    entry(2, "bob", verb=AuditVerb.DELETE, **about, before={"comment": "rack 4"})
    entry(3, verb=AuditVerb.REFUSE, kind="vserver", object_id=7)
    entry(4, "bob", verb=AuditVerb.DELETE, kind="monitor", correlation="c0ffee", reason="gone!")
    entry(5, kind="server", object_id=8, object_name="web2", revision=12, after={"comment": "Tür"})
    assert [row.pk for row in found(query, 2, window)] == numbers


def test_changes_of_state_appear_under_what_they_are() -> None:
    service = factories.service()
    rows = [transition(1, service.name, service), transition(2, "other")]
    first = rows[:1]
    for query, wanted in (
        ("verb=state", rows[::-1]),
        (f"object={service.name.upper()}&verb=state", first),
        (f"kind=service&id={service.pk}&verb=state", first),
        ("q=refused", rows[::-1]),
        ("verb=state&q=other", rows[1:]),
        ("verb=state&actor=bob", []),
        ("verb=state&interface=page", []),
        ("verb=state&outcome=refused", []),
    ):
        assert found(query) == wanted, query
    assert not any(isinstance(row, HealthTransition) for row in found(f"id={service.pk}"))


def test_a_page_says_how_far_it_has_searched() -> None:
    for minute in range(30):
        entry(minute, object_name="needle" if minute == 2 else "hay")
    page = search.search(asked.parse(QueryDict("q=needle")), 5, 10, seconds=0)
    assert (list(page.rows), page.back_to) == ([], NOON + timedelta(minutes=20))
    assert [row.pk for row in found("q=needle", 5, 10)] == [3]
    whole = search.search(asked.parse(QueryDict("q=needle")), 5, 7, seconds=60)
    assert (whole.back_to, whole.older) == (None, None)


moments = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from(["alpha", "beta"])), max_size=14)


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=moments,
    size=st.integers(1, 5),
    window=st.integers(1, 6),
    query=st.sampled_from(["", "q=alpha", "object=beta"]),
)
def test_pages_together_have_every_row_once(
    db: None, rows: list[tuple[bool, int, str]], size: int, window: int, query: str
) -> None:
    with without_triggers():
        sql("DELETE FROM webui_auditentry")
        sql("DELETE FROM webui_healthtransition")
        sql("UPDATE webui_audithead SET sequence = 0")
    made = [
        entry(minute, "x", object_name=name, kind="server") if is_entry else transition(minute, name)
        for is_entry, minute, name in rows
    ]
    name = query.partition("=")[2]
    wanted = [position(row) for row, given in zip(made, rows, strict=True) if name in {"", given[2]}]
    assert [position(row) for row in found(query, size, window)] == sorted(wanted, reverse=True)


@pytest.mark.parametrize(
    "query",
    ["verb=nothing", "interface=x", "outcome=x", "id=x", "revision=-1", "from=soon", "to=2026-99-01", "older=x"],
)
def test_what_is_no_filter_is_left_out_and_told(query: str) -> None:
    entries(1)
    wanted = asked.parse(QueryDict(query))
    assert len(wanted.ignored) == 1
    assert len(search.search(wanted).rows) == 1


@given(st.text(max_size=60))
def test_no_query_breaks_the_parser(text: str) -> None:
    for name in ("older", "from", "to", "id", "q"):
        asked.parse({name: text})


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def test_the_page_shows_entries_filters_and_links(owner: Client) -> None:
    server = servers.create(SYSTEM, {"name": "S1", "address": "10.77.0.11"})
    servers.update(SYSTEM, server, {"comment": "<b>rack 4</b>"})
    page = owner.get(reverse("audit"), {"kind": "server"}).content.decode()
    assert "comment: &lt;b&gt;rack 4&lt;/b&gt;" in page
    assert reverse("detail", args=["servers", server.pk]) in page
    servers.delete(SYSTEM, server)
    assert reverse("detail", args=["servers", server.pk]) not in owner.get(reverse("audit")).content.decode()
    assert "Left out: verb=x" in owner.get(reverse("audit"), {"verb": "x"}).content.decode()


def test_an_entry_has_its_difference_and_what_belongs_to_it(owner: Client) -> None:
    actor = factories.actor(User.objects.get())
    server = servers.create(actor, {"name": "S", "address": "10.77.0.11"})
    servers.update(actor, server, {"comment": "rack 4"})
    row = AuditEntry.objects.first()
    assert row is not None
    auditing.note(SYSTEM, AuditVerb.APPLY, kind="director", object_name="d1", revision=(row.revision or 0) + 1)
    page = owner.get(reverse("audit-entry", args=[row.pk])).content.decode()
    assert "<ins>rack 4</ins>" in page
    assert "set server S -comment &quot;rack 4&quot;" in page
    assert "created" in page  # the same request
    assert "applied revision" in page
    assert "Altered" not in page
    with without_triggers():
        sql("UPDATE webui_auditentry SET reason = 'x' WHERE id = %s", row.pk)
    assert "<strong>Altered:</strong>" in owner.get(reverse("audit-entry", args=[row.pk])).content.decode()
    assert owner.get(reverse("audit-entry", args=[4711])).status_code == 404


def test_who_may_not_read_the_audit_is_refused_and_recorded(client: Client) -> None:
    client.force_login(factories.outsider())
    for address in (
        reverse("audit"),
        reverse("audit-chain"),
        reverse("audit-entry", args=[1]),
        reverse("audit-export", args=["csv"]),
    ):
        assert client.get(address).status_code == 403
    assert "/audit/" not in client.get(reverse("dashboard")).content.decode().split("<main")[0]
    refused = AuditEntry.objects.filter(verb="refuse", actor_name="outsider", kind="page")
    assert refused.count() == 4


def streamed(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def test_exports_have_what_the_filters_leave(owner: Client) -> None:
    server = servers.create(SYSTEM, {"name": "S", "address": "10.77.0.11", "comment": "=1+1"})
    transition()
    wanted = {"kind": "server"}
    (row,) = csv.DictReader(io.StringIO(streamed(owner.get(reverse("audit-export", args=["csv"]), wanted))))
    assert (row["object_name"], row["verb"], row["object_id"]) == ("S", "create", str(server.pk))
    (line,) = streamed(owner.get(reverse("audit-export", args=["json"]), wanted)).splitlines()
    stored = AuditEntry.objects.get(kind="server")
    assert json.loads(line)["hash"] == stored.hash
    lines = streamed(owner.get(reverse("audit-export", args=["json"]))).splitlines()
    assert "state" in {json.loads(one)["verb"] for one in lines}
    assert owner.get(reverse("audit-export", args=["xml"])).status_code == 404


def test_a_netscaler_log_line_is_as_its_documentation_has_it() -> None:
    user = factories.owner()
    actor = Actor(user, Interface.CLI, "192.168.0.1", "save ns config")
    made = auditing.note(actor, AuditVerb.CALL)
    made.at = datetime(2020, 8, 2, 14, 53, 24, tzinfo=UTC)
    assert commands.line(made, "vpx") == (
        "<134> 08/02/2020:14:53:24 GMT vpx 0-PPE-0 : default CLI CMD_EXECUTED 1 0 :  User owner - "
        'Remote_ip 192.168.0.1 - Command "save ns config" - Status "Success"'
    )
    forged = 'x" - Status "Success"\n<134> forged'
    made = auditing.note(Actor(user, Interface.API, None, forged), AuditVerb.REFUSE, reason='no "right"')
    line = commands.line(made, "vpx")
    assert "\n" not in line
    assert line.endswith('Command "x\\" - Status \\"Success\\" <134> forged" - Status "ERROR: no \\"right\\""')


def test_changes_without_a_command_have_one_that_says_the_same() -> None:
    service = factories.service()
    vserver = factories.vserver(service)
    vservers.unbind_service(SYSTEM, vserver, service)
    servers.disable(SYSTEM, service.server)
    found = [commands.command(row) for row in AuditEntry.objects.order_by("pk")]
    assert found[0].startswith("add server Server1 10.77.0.11 ")
    assert any(text.startswith("add service service_Server1_ANY Server1 ANY 0") for text in found)
    assert any(text.startswith("add lb vserver vserver_DSR ANY 10.77.0.10") for text in found)
    assert "bind lb vserver vserver_DSR service_Server1_ANY -weight 1" in found
    assert found[-2:] == ["unbind lb vserver vserver_DSR service_Server1_ANY", "disable server Server1"]


def test_the_command_exports_what_a_filter_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    servers.create(SYSTEM, {"name": "S", "address": "10.77.0.11"})
    factories.vserver()
    call_command("audit", "export", "--format", "ns", "--filter", "kind=server")
    (line,) = capsys.readouterr().out.splitlines()
    assert 'Command "add server S 10.77.0.11 -state ENABLED' in line
    with pytest.raises(CommandError, match="verb=x"):
        call_command("audit", "export", "--filter", "verb=x")


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.views.audit.STEP", 4)


@pytest.mark.usefixtures("small_steps")
def test_the_page_verifies_the_chain_step_by_step(owner: Client) -> None:
    entries(9)
    page = owner.get(reverse("audit-chain"))
    assert "Whole up to" not in page.content.decode()
    address = f"{reverse('audit-chain')}?after=0&hash={'0' * 64}"
    for _ in range(10):
        page = owner.get(address)
        if page.context["done"]:
            break
        assert 'hx-trigger="load"' in page.content.decode()
        address = page.context["next"]
    assert "The chain is whole up to entry 10, its head." in page.content.decode()
    with without_triggers():
        sql("UPDATE webui_auditentry SET reason = 'x' WHERE id = 6")
    before = AuditEntry.objects.get(pk=4)
    page = owner.get(f"{reverse('audit-chain')}?after=4&hash={before.hash}")
    assert "<strong>Broken at entry 6:</strong>" in page.content.decode()
    for query in ("after=x", "after=1&hash=zz", "after="):
        assert owner.get(f"{reverse('audit-chain')}?{query}").status_code == 404


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_server_gets_an_export_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.views.audit.LINES_AT_ONCE", 2)
    user = await sync_to_async(factories.owner)()
    client = AsyncClient()
    await client.aforce_login(user)
    await sync_to_async(entries)(5)
    answer: Any = await client.get(reverse("audit-export", args=["json"]))
    parts = [part async for part in answer.streaming_content]
    assert [part.count(b"\n") for part in parts] == [2, 2, 2]  # the login as well
