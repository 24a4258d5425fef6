"""Previews on pages, and the page of weights."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests import factories
from tests.webui import reports
from tests.webui.test_dryrun import checked, content
from webui.actions import vservers
from webui.choices import AuditVerb
from webui.models import (
    AuditEntry,
    ConfigurationRevision,
    Installation,
    Monitor,
    Service,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)
from webui.views import bulk

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def bound() -> list[Service]:
    return [factories.service(factories.server(number)) for number in (1, 2, 3)]


@pytest.fixture
def web(bound: list[Service]) -> VServer:
    found = factories.vserver(*bound, name="web")
    checked()
    reports.director()
    return found


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def form_values(answer: Any) -> dict[str, Any]:
    """What a browser would send of the form as it is shown."""
    form = answer.context["form"]
    values = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def text(answer: Any) -> str:
    return str(answer.content.decode())


def test_a_form_shows_what_it_would_do_keeps_what_was_typed_and_changes_nothing(owner: Client, web: VServer) -> None:
    address = reverse("edit", args=["vservers", web.pk])
    values = form_values(owner.get(address)) | {
        "lb_method": "SRCIPDESTIPHASH",
        "version": web.version,
        "comment": "new",
    }
    before = content()
    answer = owner.post(address, values | {"preview": "1"})
    assert answer.status_code == 200
    assert content() == before
    page = text(answer)
    for part in ("web: 66.7 % of the clients will move", "Director director1: ", "SRCIPDESTIPHASH", 'value="new"'):
        assert part in page
    assert "<!doctype html>" in page
    fragment = text(owner.post(address, values | {"preview": "1"}, headers=HTMX))
    assert "web: 66.7 % of the clients will move" in fragment
    assert "<!doctype html>" not in fragment
    assert owner.post(address, values).status_code == 302
    web.refresh_from_db()
    assert web.lb_method == "SRCIPDESTIPHASH"


def test_a_preview_refuses_with_the_words_of_the_change(owner: Client, web: VServer) -> None:
    values = {"name": "Server1", "address": "10.77.0.99", "state": "ENABLED", "preview": "1"}
    answer = owner.post(reverse("add", args=["servers"]), values)
    assert (answer.status_code, "name" in answer.context["form"].errors) == (422, True)
    fragment = owner.post(reverse("add", args=["servers"]), values, headers=HTMX)
    assert fragment.status_code == 200  # htmx shows no other
    assert "Not saved" in text(fragment)
    stale = {"name": "x", "address": "10.77.0.11", "state": "ENABLED", "version": "99", "preview": "1"}
    pk = Service.objects.earliest("pk").server_id
    assert owner.post(reverse("edit", args=["servers", pk]), stale).status_code == 409


def test_a_preview_of_someone_without_rights_is_refused_and_leaves_no_trace(client: Client, web: VServer) -> None:
    client.force_login(factories.outsider())
    entries = AuditEntry.objects.count()
    answer = client.post(
        reverse("add", args=["servers"]), {"name": "s", "address": "10.77.0.99", "state": "ENABLED", "preview": "1"}
    )
    assert answer.status_code == 403
    assert AuditEntry.objects.count() == entries


@pytest.mark.parametrize(("name", "of"), [("delete", "vservers"), ("disable", "vservers"), ("disable", "services")])
def test_pages_that_ask_tell_whose_clients_move(
    owner: Client, web: VServer, bound: list[Service], name: str, of: str
) -> None:
    pk = web.pk if of == "vservers" else bound[0].pk
    before = content()
    answer = owner.get(reverse(name, args=[of, pk]))
    told = "web: 100 % of the clients will get no answer any more" if of == "vservers" else "of the clients will move"
    assert told in text(answer)
    assert "What happens" in text(answer)
    assert content() == before


def test_unbinding_asks_first(owner: Client, web: VServer, bound: list[Service]) -> None:
    address = reverse("unbind-service", args=[web.pk, bound[0].pk])
    assert "of the clients will move" in text(owner.get(address))
    assert VServerServiceBinding.objects.count() == 3
    assert owner.post(address).status_code == 302
    assert VServerServiceBinding.objects.count() == 2
    monitor = Monitor.objects.get(name="ping-default")
    asked = owner.get(reverse("unbind-monitor", args=[bound[1].pk, monitor.pk]))
    assert "This will be refused" in text(asked)
    assert "is the default monitor" in text(asked)


def test_deeds_on_many_are_worked_out_together(owner: Client, web: VServer, bound: list[Service]) -> None:
    given = "&".join(f"pk={one.pk}" for one in bound)
    page = text(owner.get(f"{reverse('bulk', args=['services'])}?do=disable&{given}"))
    assert "web: 100 % of the clients will get no answer any more" in page


def test_a_preview_of_too_many_gives_up(owner: Client, web: VServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PATIENCE", -1.0)
    before = content()
    page = text(owner.get(f"{reverse('bulk', args=['vservers'])}?do=delete&pk={web.pk}"))
    assert "too much to be worked out beforehand" in page
    assert content() == before


def test_binding_is_previewed_beside_its_form(owner: Client, web: VServer) -> None:
    new = factories.service(factories.server(4), health_monitor=False)
    address, values = reverse("bind-service", args=[web.pk]), {"service": new.pk, "weight": "3", "preview": "1"}
    page = owner.post(address, values)
    assert "Once service_Server4_ANY is checked and UP" in text(page)
    assert 'value="3"' in text(page)
    assert "<!doctype html>" not in text(owner.post(address, values, headers=HTMX))
    monitor = factories.monitor()
    given = {"monitor": monitor.pk, "weight": "1", "state": "ENABLED", "preview": "1"}
    service = web.service_bindings.earliest("pk").service
    answer = owner.post(reverse("bind-monitor", args=[service.pk]), given)
    assert f"Once {service.name} is checked and UP" in text(answer)
    assert not ServiceMonitorBinding.objects.filter(monitor=monitor).exists()
    assert VServerServiceBinding.objects.count() == 3


def test_settings_and_delayed_disabling_are_previewed(owner: Client, web: VServer, bound: list[Service]) -> None:
    answer = owner.post(reverse("settings"), {"ttl_rule": "on", "forwarding_mode": "TC", "preview": "1"})
    assert "~ settings hash key" in text(answer)
    assert "change between tc and XDP" in text(answer)
    assert not Installation.objects.get(pk=1).ttl_rule
    address = reverse("disable-after", args=["services", bound[0].pk])
    answer = owner.post(address, {"delay": "60", "preview": "1"})
    assert "web: No client moves" in text(answer)  # it keeps its clients for so long
    answer = owner.post(address, {"delay": "0", "preview": "1"}, headers=HTMX)
    assert "of the clients will move" in text(answer)
    assert Service.objects.get(pk=bound[0].pk).state == "ENABLED"


# Weights -------------------------------------------------------------------------------------------------------------


def weights_of(web: VServer) -> list[int]:
    return list(web.service_bindings.order_by("pk").values_list("weight", flat=True))


def typed(bound: list[Service], *weights: Any) -> dict[str, Any]:
    return {f"weight-{one.pk}": weight for one, weight in zip(bound, weights, strict=True)}


def test_all_weights_are_one_change(owner: Client, web: VServer, bound: list[Service]) -> None:
    address, revisions = reverse("weights", args=[web.pk]), ConfigurationRevision.objects.count()
    assert text(owner.get(address)).count('type="range"') == 3
    given = typed(bound, 4, 1, 7) | {"version": web.version}
    fragment = text(owner.post(address, given | {"preview": "1"}, headers=HTMX))
    assert "of the clients will move" in fragment
    assert weights_of(web) == [1, 1, 1]
    assert owner.post(address, given).status_code == 302
    assert weights_of(web) == [4, 1, 7]
    assert ConfigurationRevision.objects.count() == revisions + 1
    entry = AuditEntry.objects.latest("pk")
    names = [f"weight of {one.name}" for one in (bound[0], bound[2])]
    assert (entry.verb, entry.before, entry.after) == (
        AuditVerb.UPDATE,
        dict.fromkeys(names, 1),
        dict(zip(names, (4, 7), strict=True)),
    )


def test_a_weight_that_is_none_is_told_at_its_field_and_nothing_is_saved(
    owner: Client, web: VServer, bound: list[Service]
) -> None:
    given = typed(bound, 4, "heavy", 101) | {"version": web.version}
    answer = owner.post(reverse("weights", args=[web.pk]), given)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [f"weight-{bound[1].pk}", f"weight-{bound[2].pk}"]
    assert 'value="heavy"' in text(answer)
    assert weights_of(web) == [1, 1, 1]


def test_the_second_of_two_is_told_what_the_first_one_did(owner: Client, web: VServer, bound: list[Service]) -> None:
    seen = web.version
    vservers.set_weight(factories.SYSTEM, web, bound[0], 9)
    answer = owner.post(reverse("weights", args=[web.pk]), typed(bound, 1, 5, 5) | {"version": seen})
    assert answer.status_code == 409
    assert "Save all the same" in text(answer)
    assert weights_of(web) == [9, 1, 1]
    again = typed(bound, 1, 5, 5) | {"version": answer.context["version"]}
    assert owner.post(reverse("weights", args=[web.pk]), again).status_code == 302
    assert weights_of(web) == [1, 5, 5]


def test_without_rights_there_are_no_weights_to_be_set(client: Client, web: VServer, bound: list[Service]) -> None:
    client.force_login(factories.outsider())
    address = reverse("weights", args=[web.pk])
    assert client.get(address).status_code == 403
    assert client.post(address, typed(bound, 2, 2, 2) | {"version": web.version}).status_code == 403
    assert weights_of(web) == [1, 1, 1]


def test_a_service_that_takes_no_clients_has_no_share(owner: Client, web: VServer, bound: list[Service]) -> None:
    Service.objects.filter(pk=bound[0].pk).update(state="DISABLED")
    rows = owner.get(reverse("weights", args=[web.pk])).context["rows"]
    assert [(row.takes, row.share) for row in rows] == [(False, 0), (True, 50), (True, 50)]


def test_without_services_the_page_says_what_to_do(owner: Client) -> None:
    empty = factories.vserver(name="empty")
    assert "No service is bound" in text(owner.get(reverse("weights", args=[empty.pk])))


def test_the_same_weights_change_nothing(web: VServer, bound: list[Service]) -> None:
    revision = Installation.objects.get(pk=1).revision
    vservers.set_weights(factories.SYSTEM, web, {one.name: 1 for one in bound})
    assert Installation.objects.get(pk=1).revision == revision
