"""Ranges of ports and what a vserver does when it is down: from what is typed to rows, lists and the data plane."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from dataplane import snapshot
from dataplane.tables import WhenDown
from webui.actions import servers, services, vservers
from webui.actions.base import Actor
from webui.choices import Interface
from webui.details import detail
from webui.models import AuditEntry, VServer
from webui.models.fields import parse_ports, port_text
from webui.rows import endpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor() -> Actor:
    return Actor(User.objects.create_superuser("owner"), Interface.API)


def make(actor: Actor, port: Any, name: str = "v1", **more: Any) -> VServer:
    return vservers.create(actor, {"name": name, "service_type": "TCP", "address": "10.77.0.10", "port": port} | more)


@pytest.mark.parametrize(
    ("typed", "ports"),
    [
        ("80-90", (80, 90)),
        (" 80 - 90 ", (80, 90)),
        ("80", (80, 0)),
        ("*", (0, 0)),
        ("", (0, 0)),
        ("80-80", (80, 0)),
        (443, (443, 0)),
        ("1-65535", (1, 65535)),
        (None, (0, 0)),
        ("0", (0, 0)),
    ],
)
def test_a_port_is_one_a_range_or_any(typed: object, ports: tuple[int, int]) -> None:
    assert parse_ports(typed) == ports
    assert parse_ports(port_text(*ports)) == ports


@pytest.mark.parametrize(
    ("typed", "rule"),
    [
        ("90-80", "“90-80” is not a range of ports: the first is the lower one, as in 80-90."),
        ("80-", "neither a port nor a range"),
        ("-80", "neither a port nor a range"),
        ("80-90-95", "neither a port"),
        ("80-65536", "use 1 to 65535"),
        ("0-90", "begins at 1 or later"),
        ("*-90", "neither a port"),
        ("http", "“http” is neither a port nor a range of ports"),
        ("8０", "neither a port"),
        ("80,90", "neither a port"),
    ],
)
def test_other_ports_are_refused_by_value_and_rule_and_nothing_changes(actor: Actor, typed: str, rule: str) -> None:
    with pytest.raises(ValidationError) as refused:
        make(actor, typed)
    assert rule in refused.value.message_dict["port"][0]
    assert not VServer.objects.exists()


def test_ranges_may_overlap_but_not_be_the_same(actor: Actor) -> None:
    for number, port in enumerate(("80-90", "80-91", "85-95", "80", "*", "1-65535")):
        make(actor, port, f"v{number}")
    with pytest.raises(ValidationError) as refused:
        make(actor, "80-90", "twin")
    assert refused.value.message_dict["address"] == ["Vserver “v0” has TCP 10.77.0.10 port 80-90 already."]
    make(actor, "80-90", "udp", service_type="UDP")
    with pytest.raises(IntegrityError):
        VServer.objects.create(name="raw", service_type="TCP", address="10.77.0.10", port=80, port_end=90)


def test_ends_given_apart_must_be_a_range_too(actor: Actor) -> None:
    for port, port_end in ((0, 90), (90, 80), (80, 80)):
        with pytest.raises(ValidationError, match="is not a range of ports"):
            make(actor, port, port_end=port_end)
    assert make(actor, 80, port_end=90).ports == "80-90"


def test_the_range_is_fixed_when_it_is_made(actor: Actor) -> None:
    made = make(actor, "80-90")
    for port in ("80", "80-91", "*"):
        with pytest.raises(ValidationError, match="The port of a vserver is fixed when it is made"):
            vservers.update(actor, made, {"port": port})
    assert vservers.update(actor, made, {"port": "80-90", "comment": "x"}).ports == "80-90"


def test_services_of_any_port_or_one_of_the_range_fit(actor: Actor) -> None:
    made = make(actor, "80-90")
    for number, port in enumerate((80, 90, "*", 91, 79)):
        server = servers.create(actor, {"name": f"h{number}", "address": f"10.77.0.{21 + number}"})
        services.create(actor, {"name": f"s{number}", "server": server, "service_type": "TCP", "port": port})
    for number in range(3):
        vservers.bind_service(actor, made, f"s{number}")
    for number in (3, 4):
        with pytest.raises(ValidationError, match="The service needs a port of that range or"):
            vservers.bind_service(actor, made, f"s{number}")


def test_a_backup_has_the_whole_range(actor: Actor) -> None:
    for name, port in (("same", "80-90"), ("wider", "70-100"), ("any", "*")):
        make(actor, port, f"b-{name}", address="10.77.0.11")
        make(actor, "80-90", name, address=f"10.77.0.{100 + len(name)}", backup_vserver=f"b-{name}")
    make(actor, "85-95", "part", address="10.77.0.12")
    with pytest.raises(ValidationError, match="a range with it or"):
        make(actor, "80-90", backup_vserver="part")


def test_the_data_plane_gets_range_and_what_to_do_when_down(actor: Actor) -> None:
    assert make(actor, "80-90", "first").when_down == "DROP"
    make(actor, "80", "second", when_down="reject")
    found = {one.name: one for one in snapshot.read(datetime.now(UTC))[1].vservers}
    assert (found["first"].port, found["first"].port_end) == (80, 90)
    assert found["first"].options.when_down is WhenDown.DROP
    assert (found["second"].port, found["second"].port_end) == (80, 0)
    assert found["second"].options.when_down is WhenDown.REJECT
    with pytest.raises(ValidationError, match="“TARPIT” is none of DROP, REJECT"):
        make(actor, "81", "third", when_down="tarpit")


def test_pages_take_and_show_the_range_in_one_box(client: Client, actor: Actor) -> None:
    client.force_login(User.objects.get(username="owner"))
    page = client.get(reverse("add", args=["vservers"]))
    initial = page.context["form"]
    values = {name: field.initial if field.initial is not None else "" for name, field in initial.fields.items()}
    values |= {name: value for name, value in initial.initial.items() if value is not None}
    values |= {"name": "web", "service_type": "TCP", "address": "10.77.0.10", "port": "80 - 90", "when_down": "REJECT"}
    done = client.post(reverse("add", args=["vservers"]), values)
    made = VServer.objects.get()
    assert done.status_code == 302
    assert (made.port, made.port_end, made.when_down) == (80, 90, "REJECT")
    edit = client.get(reverse("edit", args=["vservers", made.pk])).content.decode()
    assert 'value="80-90"' in edit
    values |= {"version": made.version, "comment": "changed"}
    assert client.post(reverse("edit", args=["vservers", made.pk]), values).status_code == 302
    assert VServer.objects.get().comment == "changed"
    assert ("Port", "80-90") in detail("vservers", made.pk).facts
    assert "10.77.0.10:80-90" in client.get(reverse("list", args=["vservers"])).content.decode()
    entry = AuditEntry.objects.filter(verb="create").get()
    assert entry.after is not None
    assert (entry.after["port"], entry.after["port_end"]) == (80, 90)
    refused = client.post(reverse("add", args=["vservers"]), values | {"name": "x", "port": "90-80"})
    assert "the first is the lower one" in refused.content.decode()


def test_an_endpoint_shows_the_range() -> None:
    assert endpoint("fd77::10", 80, 90) == "[fd77::10]:80-90"
