"""Whatever is wrong with a form is told at once: each set of bad values gets an error at each of its fields, no other.

The bad values of a form are independent of each other; some are refused by the form's own fields, some by the rules of
the model or of the action.
"""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client

from tests import factories
from tests.webui.test_eventtargets import FORM as HOOK
from tests.webui.test_validating import _told
from tests.webui.test_wizard import HTTP, WEB
from webui.actions import vservers
from webui.models import AuditEntry, EventTarget, Installation, Monitor, Server, Service, VServer

pytestmark = pytest.mark.django_db

Values = dict[str, str]
ADDED = [Server, Service, VServer, EventTarget]

# kind: what is right, what is wrong
FORMS: dict[str, tuple[Values, Values]] = {
    "servers": (
        {"name": "web1", "address": "10.77.0.31", "state": "ENABLED", "comment": ""},
        {"name": "-bad", "address": "10.77.0.999", "state": "MAYBE", "comment": "x" * 300},
    ),
    "services": (
        {"name": "web1_tcp", "service_type": "TCP", "port": "80", "usip": "on", "state": "ENABLED"}
        | {"mon_threshold": "0", "down_state_flush": "ENABLED"},
        {"name": "-bad", "server": "98765", "port": "80 90", "mon_threshold": "x", "hash_id": "-1"},
    ),
    "vservers": (
        {"name": "web", "service_type": "TCP", "address": "10.77.0.10", "port": "80", "lb_method": "SOURCEIPHASH"}
        | {"netmask": "255.255.255.255", "v6_netmask_len": "128", "mode": "MAC", "sessionless": "ENABLED"}
        | {"conn_failover": "DISABLED", "persistence_type": "NONE", "timeout": "2", "state": "ENABLED"}
        | {"persist_mask": "255.255.255.255", "v6_persist_mask_len": "128", "clt_timeout": "9000"}
        | {"down_state_flush": "ENABLED", "syn_rate": "0", "syn_burst": "0", "source_syn_rate": "0"}
        | {"source_syn_burst": "0", "source_syn_mask": "255.255.255.255", "v6_source_syn_mask_len": "128"}
        | {"ping": "AUTO", "when_down": "DROP", "fail_open": "0", "backup_vserver": ""},
        {"name": "-bad", "address": "10.77.0.999", "port": "99999", "timeout": "x", "backup_vserver": "98765"},
    ),
    "monitors": (
        {name.removeprefix("monitor-"): value for name, value in HTTP.items() if name.startswith("monitor-")}
        | {"name": "check", "monitor_type": "HTTP", "retries": "3", "failure_retries": "0", "success_retries": "1"}
        | {"alert_retries": "0", "resp_timeout_thresh": "0", "retry_interval": "0", "retry_interval_unit": "SEC"}
        | {"down_time": "30", "down_time_unit": "SEC", "deviation": "0", "deviation_unit": "SEC", "state": "ENABLED"},
        {"name": "-bad", "interval": "x", "resp_code": "nonsense", "dest_ip": "x", "dest_port": "99999"},
    ),
    "eventtargets": (
        HOOK,
        {"name": "-bad", "url": "nonsense", "signing_secret": "short", "give_up_hours": "x", "ca_certificates": "x"},
    ),
}
WIZARD: Values = {
    "name": "-bad",
    "address": "10.77.0.999",
    "port": "80 90",
    "row1-name": "-worse",
    "row2-address": "fd77::zz",
    "monitor-interval": "x",
    "monitor-resp_code": "nonsense",
}


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _subsets(values: Values) -> list[Values]:
    """All of it, and each one and two of it."""
    items = list(values.items())
    some = chain(combinations(items, 1), combinations(items, 2), [tuple(items)])
    return [dict(one) for one in some]


def _made() -> list[int]:
    return [model._default_manager.count() for model in (Server, Service, VServer, EventTarget, Monitor)]


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_each_bad_field_of_a_form_is_told_and_no_other(kind: str, owner: Client) -> None:
    right, wrong = FORMS[kind]
    if kind == "services":
        right = right | {"server": str(factories.server().pk)}
    before, revision = _made(), Installation.objects.get().revision
    for bad in _subsets(wrong):
        answer = owner.post(f"/{kind}/add/", right | bad)
        assert answer.status_code == 422
        assert set(answer.context["form"].errors) == set(bad), answer.context["form"].errors
        assert all(len(texts) == 1 for texts in answer.context["form"].errors.values())
        preview = owner.post(f"/{kind}/add/", right | bad | {"preview": "1"})
        assert set(preview.context["form"].errors) == set(bad)
        assert "Nothing changes" not in preview.content.decode()
    assert (_made(), Installation.objects.get().revision) == (before, revision)
    assert not AuditEntry.objects.filter(kind=kind.removesuffix("s"), verb="create", object_name="-bad").exists()
    assert owner.post(f"/{kind}/add/", right).status_code == 302


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_each_bad_field_is_told_on_editing_too(kind: str, owner: Client) -> None:
    right, wrong = FORMS[kind]
    if kind == "services":
        right = right | {"server": str(factories.server().pk)}
    assert owner.post(f"/{kind}/add/", right).status_code == 302
    model: Any = {"monitors": Monitor}.get(kind) or next(one for one in ADDED if f"{one._meta.model_name}s" == kind)
    row = model._default_manager.get(name=right["name"])
    fixed = {"services": {"server", "port"}, "vservers": {"port"}}.get(kind, set())
    bad = {name: value for name, value in wrong.items() if name not in fixed}
    answer = owner.post(f"/{kind}/{row.pk}/edit/", right | bad | {"version": str(row.version)})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == set(bad), answer.context["form"].errors
    row.refresh_from_db()
    assert (row.name, row.version) == (right["name"], 1)


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_each_bad_field_is_told_while_the_form_is_filled_in(kind: str, owner: Client) -> None:
    right, wrong = FORMS[kind]
    if kind == "services":
        right = right | {"server": str(factories.server().pk)}
    told = _told(owner.post(f"/{kind}/validate/?field=name", right | wrong))
    assert {name for name, text in told.items() if text} == set(wrong)


def test_each_bad_field_of_the_wizard_is_told_and_no_other(owner: Client) -> None:
    for bad in _subsets(WIZARD):
        for button in ({}, {"show": "1"}):
            answer = owner.post("/new/", WEB | HTTP | bad | button)
            assert answer.status_code == 422
            found = {form.add_prefix(name) for form in answer.context["wizard"].forms for name in form.errors}
            assert found == set(bad)
        told = _told(owner.post("/new/validate/?field=name", WEB | HTTP | bad))
        assert {name for name, text in told.items() if text} == set(bad)
    assert _made()[:4] == [0, 0, 0, 0]


def test_fields_that_were_not_even_sent_are_told_as_well(owner: Client) -> None:
    answer = owner.post("/new/", {"monitor": "new:HTTP", "monitor-shown": "HTTP", "port": "80 90"})
    assert answer.status_code == 422
    found = {form.add_prefix(name) for form in answer.context["wizard"].forms for name in form.errors}
    assert {"name", "address", "port"} <= found
    for kind in FORMS:
        assert owner.post(f"/{kind}/add/", {"monitor_type": "HTTP", "target_type": "WEBHOOK"}).status_code == 422


def test_a_rule_about_two_fields_is_not_asked_while_one_of_them_is_wrong(owner: Client) -> None:
    right, _wrong = FORMS["vservers"]
    both = {"lb_method": "LEASTCONNECTION", "sessionless": "ENABLED"}
    answer = owner.post("/vservers/add/", right | both | {"name": "-bad"})
    assert set(answer.context["form"].errors) == {"name", "lb_method"}
    answer = owner.post("/vservers/add/", right | both | {"name": "-bad", "sessionless": "MAYBE"})
    assert set(answer.context["form"].errors) == {"name", "sessionless"}


def test_a_new_user_hears_of_name_password_and_repetition_at_once(owner: Client) -> None:
    given = {"username": "a b", "role": "king", "password": "12345", "again": "1234"}
    answer = owner.post("/users/add/", given)
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {"username", "role", "password", "again"}
    assert "12345" not in answer.content.decode()
    assert User.objects.count() == 1


def test_actions_tell_a_bad_port_and_a_bad_name_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        vservers.create(factories.SYSTEM, {"name": "-bad", "address": "x", "port": "80 90", "timeout": 1.5})
    assert set(caught.value.message_dict) == {"name", "address", "port", "timeout"}
