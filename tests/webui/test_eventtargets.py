"""Targets of events: their actions, and their pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests import factories
from webui import queries
from webui.actions import eventtargets
from webui.actions.base import PermissionRefused
from webui.actions.errors import ConflictError
from webui.models import AuditEntry, EventDelivery, EventTarget, Installation
from webui.models.sealed import opened

pytestmark = pytest.mark.django_db

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = "whsec_HxwdHhsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="
HOOK = {"name": "hook", "target_type": "WEBHOOK", "url": "https://host/hook", "signing_secret": SECRET}
FORM = HOOK | {
    "transitions": "on",
    "alerts": "on",
    "alarms": "on",
    "give_up_hours": "24",
    "state": "ENABLED",
    "ca_certificates": "",
}


def make(**values: Any) -> EventTarget:
    return eventtargets.create(factories.SYSTEM, HOOK | values)


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def page(answer: Any) -> str:
    return str(answer.content.decode())


def test_its_parameters_are_stored_by_name_and_its_secret_sealed() -> None:
    made = make()
    assert made.params == {"url": "https://host/hook", "ca_certificates": ""}
    assert opened(made.secrets) == {"signing_secret": SECRET}
    entry = AuditEntry.objects.get(kind="eventtarget")
    assert entry.after is not None
    assert (entry.after["url"], entry.after["signing_secret"]) == ("https://host/hook", "•••")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"target_type": "PIGEON"}, "target_type"),
        ({"url": "gopher://host/"}, "url"),
        ({"signing_secret": ""}, "signing_secret"),
        ({"give_up_hours": 0}, "give_up_hours"),
        ({"host": "x"}, "host"),
        ({"name": "-"}, "name"),
    ],
)
def test_bad_input_is_refused_by_field_and_changes_nothing(values: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError) as told:
        make(**values)
    assert name in told.value.message_dict
    assert not EventTarget.objects.exists()
    assert not AuditEntry.objects.filter(kind="eventtarget").exists()


def test_a_change_leaves_the_secret_that_is_not_given_and_tries_again_at_once() -> None:
    made = make()
    EventDelivery.objects.update(retry_at=timezone.now() + timedelta(hours=1), health_upto=7)
    eventtargets.update(factories.SYSTEM, made, {"url": "https://new/"}, made.version)
    made.refresh_from_db()
    assert (made.params["url"], opened(made.secrets)) == ("https://new/", {"signing_secret": SECRET})
    delivery = EventDelivery.objects.get()
    assert (delivery.retry_at, delivery.health_upto) == (None, 7)
    eventtargets.update(factories.SYSTEM, made, {"signing_secret": OTHER})
    entry = AuditEntry.objects.filter(kind="eventtarget").first()
    assert entry is not None
    assert entry.after == {"signing_secret": "changed"}


def test_its_type_is_fixed_and_an_old_version_is_refused() -> None:
    made = make()
    with pytest.raises(ValidationError, match="fixed when it is made"):
        eventtargets.update(factories.SYSTEM, made, {"target_type": "SYSLOG", "host": "h"})
    eventtargets.disable(factories.SYSTEM, made)
    with pytest.raises(ConflictError):
        eventtargets.update(factories.SYSTEM, made, {"comment": "x"}, 1)


@pytest.mark.parametrize("deed", ["update", "enable", "disable", "delete", "send_test", "create"])
def test_who_may_not_is_refused_and_recorded(deed: str) -> None:
    made, outsider = make(), factories.actor(factories.outsider())
    revision = Installation.objects.get().revision
    arguments = {"update": (made, {"comment": "x"}), "create": (HOOK | {"name": "second"},)}.get(deed, (made,))
    with pytest.raises(PermissionRefused, match="permission webui"):
        getattr(eventtargets, deed)(outsider, *arguments)
    assert AuditEntry.objects.filter(kind="eventtarget", verb="refuse", actor_name="outsider").count() == 1
    assert Installation.objects.get().revision == revision
    assert EventDelivery.objects.get().test_asked_at is None


def test_deleting_it_takes_its_delivery_along() -> None:
    eventtargets.delete(factories.SYSTEM, make())
    assert not EventTarget.objects.exists()
    assert not EventDelivery.objects.exists()


# Pages


@pytest.mark.parametrize(("kind", "field"), [("SYSLOG", "facility"), ("EMAIL", "recipients"), ("WEBHOOK", "url")])
def test_the_form_asks_for_the_type_first_and_then_for_its_parameters(kind: str, field: str, owner: Client) -> None:
    first = owner.get(reverse("add", args=["eventtargets"]))
    assert list(first.context["form"].fields) == ["target_type"]
    second = owner.get(reverse("add", args=["eventtargets"]), {"target_type": kind})
    names = list(second.context["form"].fields)
    assert names[:2] == ["name", "target_type"]
    assert {field, "transitions", "give_up_hours"} <= set(names)


def test_a_target_is_added_shown_edited_tested_and_deleted(owner: Client) -> None:
    answer = owner.post(reverse("add", args=["eventtargets"]), FORM)
    made = EventTarget.objects.get()
    assert answer.headers["Location"] == reverse("detail", args=["eventtargets", made.pk])
    assert not made.director_events  # the box was not ticked
    shown = owner.get(answer.headers["Location"])
    assert "••• set" in page(shown)
    listed = owner.get(reverse("list", args=["eventtargets"]), {"q": "hook", "state": "ENABLED"})
    assert "https://host/hook" in page(listed)
    edit = owner.get(reverse("edit", args=["eventtargets", made.pk]))
    saved = owner.post(
        reverse("edit", args=["eventtargets", made.pk]),
        FORM | {"signing_secret": "", "comment": "pager", "version": made.version},
    )
    assert saved.status_code == 302
    made.refresh_from_db()
    assert (made.comment, opened(made.secrets)) == ("pager", {"signing_secret": SECRET})
    owner.post(reverse("send-test", args=[made.pk]))
    tested = owner.get(reverse("detail", args=["eventtargets", made.pk]))
    assert "not sent yet" in page(tested)
    for answer in (shown, listed, edit, tested):
        assert SECRET not in page(answer)
        assert "AAECAwQF" not in page(answer)
    assert "no further events" in page(owner.get(reverse("delete", args=["eventtargets", made.pk])))
    owner.post(reverse("delete", args=["eventtargets", made.pk]))
    assert not EventTarget.objects.exists()


def test_errors_land_on_their_fields(owner: Client) -> None:
    answer = owner.post(reverse("add", args=["eventtargets"]), FORM | {"url": "nonsense", "signing_secret": "short"})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {"url", "signing_secret"}
    assert "short" not in page(answer).replace("shorter", "")


def test_a_target_that_fails_is_a_problem_and_says_when_it_is_tried_again(owner: Client) -> None:
    made = make()
    soon = timezone.now() + timedelta(minutes=3)
    EventDelivery.objects.update(failures=4, last_error="https://host answered 500", retry_at=soon)
    (problem,) = [one for one in queries.overview()["problems"] if one["what"] == "event target hook"]
    assert problem["text"] == f"failed 4 times in a row, next try at {soon:%H:%M:%S} UTC: https://host answered 500"
    assert "state-error" in page(owner.get(reverse("detail", args=["eventtargets", made.pk])))


def test_an_outsider_sees_no_way_to_change_one(client: Client) -> None:
    made = make()
    client.force_login(factories.outsider())
    assert "Send a test event" not in page(client.get(reverse("detail", args=["eventtargets", made.pk])))
    client.post(reverse("send-test", args=[made.pk]))
    assert EventDelivery.objects.get().test_asked_at is None


def test_the_query_of_an_url_is_on_no_page_but_the_form(owner: Client) -> None:
    owner.post(reverse("add", args=["eventtargets"]), FORM | {"url": "https://hooks.example/a?token=first"})
    made = EventTarget.objects.get()
    with_other = FORM | {"url": "https://hooks.example/a?token=second", "version": made.version}
    assert owner.post(reverse("edit", args=["eventtargets", made.pk]), with_other).status_code == 302
    made.refresh_from_db()
    assert made.params["url"].endswith("token=second")
    for page in (reverse("dashboard"), reverse("list", args=["eventtargets"]), made_url(made)):
        shown = owner.get(page).content.decode()
        assert "token=" not in shown
    assert "https://hooks.example/a?•••" in owner.get(made_url(made)).content.decode()
    assert "token=second" in owner.get(reverse("edit", args=["eventtargets", made.pk])).content.decode()


def made_url(target: EventTarget) -> str:
    return reverse("detail", args=["eventtargets", target.pk])
