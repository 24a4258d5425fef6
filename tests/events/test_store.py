"""Targets get every event at least once: whatever fails, and whoever is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from tests import factories
from webui.actions import eventtargets
from webui.choices import EventKind, State
from webui.events import deliver, standby, store, tasks
from webui.events.deliver import Couriers
from webui.events.kind import DeliveryError
from webui.events.kinds import KINDS
from webui.events.message import Event
from webui.models import AuditEntry, DirectorEvent, EventDelivery, EventTarget, HealthTransition

pytestmark = pytest.mark.django_db

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Post:
    """Stands in for the network: takes events until it is told to fail after some."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.fails_after: int | None = None
        self.given: Any = None

    def send(self, given: Any, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
        self.given = given
        for number, event in enumerate(events):
            if self.fails_after is not None and number >= self.fails_after:
                raise DeliveryError("https://host answered 500")
            self.got.append(event.id)
            yield [event]


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    found = Post()
    for name, kind in list(KINDS.items()):
        monkeypatch.setitem(KINDS, name, replace(kind, send=found.send))
    return found


def target(**values: Any) -> EventTarget:
    given = {"name": "hook", "target_type": "WEBHOOK", "url": "https://host/", "signing_secret": SECRET}
    return eventtargets.create(factories.SYSTEM, given | values)


def transition(at: datetime | None = None, old: str = State.UP, new: str = State.DOWN) -> str:
    row = HealthTransition.objects.create(
        at=at or timezone.now(), service_name="web1", monitor_name="tcp", vip="10.77.0.10", old=old, new=new, reason="r"
    )
    return f"transition-{row.pk}"


def director(raised: bool | None = None, kind: str = EventKind.DIRECTOR) -> str:
    row = DirectorEvent.objects.create(director="director1", text="something", raised=raised, kind=kind)
    return f"director-{row.pk}"


def run(now: datetime | None = None) -> int:
    """What a tick does, without its threads."""
    batches = store.claim(now or timezone.now(), 10)
    for batch in batches:
        deliver.deliver(batch)
    return len(batches)


def row() -> EventDelivery:
    return EventDelivery.objects.get()


def test_a_target_gets_what_happens_after_it_was_made(post: Post) -> None:
    transition()
    director()
    target()
    wanted = [transition(), director(), transition(new=State.UP, old=State.DOWN)]
    assert run() == 1
    assert post.got == wanted
    assert run() == 0
    assert (row().sent, row().failures, row().claimed_until) == (3, 0, None)
    assert row().last_delivery_at is not None


def test_nothing_to_do_is_four_queries(django_assert_num_queries: Any) -> None:
    target()
    with django_assert_num_queries(4):
        assert store.claim(timezone.now(), 4) == []


@pytest.mark.parametrize("unwanted", ["transitions", "alerts", "alarms", "director_events"])
def test_a_target_gets_the_kinds_that_it_wants(unwanted: str, post: Post) -> None:
    target(**{unwanted: False})
    ids = {
        "transitions": transition(),
        "alerts": transition(new=State.UP),
        "alarms": director(raised=True, kind=EventKind.ALARM),
        "director_events": director(),
    }
    run()
    assert set(post.got) == set(ids.values()) - {ids[unwanted]}
    assert run() == 0  # what is not wanted is done with


def test_after_a_failure_the_rest_is_tried_again_later(post: Post) -> None:
    target()
    ids = [transition() for _ in range(3)]
    post.fails_after = 1
    run()
    found = row()
    assert (post.got, found.failures, found.last_error) == (ids[:1], 1, "https://host answered 500")
    assert found.retry_at is not None
    assert found.last_error_at is not None
    assert 1 <= (found.retry_at - found.last_error_at).total_seconds() <= 2
    assert run(found.retry_at - timedelta(milliseconds=1)) == 0
    post.fails_after = None
    assert run(found.retry_at) == 1
    assert post.got == ids
    assert row().failures == 0


def test_a_process_that_was_killed_leaves_the_target_to_the_next(post: Post) -> None:
    target()
    wanted = transition()
    now = timezone.now()
    (lost,) = store.claim(now, 1)
    assert store.claim(now, 1) == []
    assert run(now + store.LEASE - timedelta(seconds=1)) == 0
    assert run(now + store.LEASE) == 1
    assert post.got == [wanted]
    # The first was not dead, only slow: what it says does not count any more.
    assert not store.record(lost, store.Result(error="too late"), timezone.now())
    assert row().last_error == ""


def test_two_processes_never_claim_a_target_at_once() -> None:
    target()
    transition()
    now = timezone.now()
    assert [len(store.claim(now, 5)), len(store.claim(now, 5))] == [1, 0]


def test_a_row_that_appears_below_one_that_was_sent_is_sent(post: Post) -> None:
    target()
    first = HealthTransition.objects.create(
        service_name="a", monitor_name="m", vip="::1", old="UP", new="DOWN", reason=""
    )
    late = HealthTransition(pk=first.pk + 1, service_name="b", monitor_name="m", vip="::1", old="UP", new="DOWN")
    # Numbers below the first, which tests before this one may have used, are no gap that is waited for.
    EventDelivery.objects.update(health_upto=first.pk - 1)
    beyond = HealthTransition.objects.create(
        pk=first.pk + 2, service_name="c", monitor_name="m", vip="::1", old="UP", new="DOWN", reason=""
    )
    run()
    assert row().health_sent == [beyond.pk]
    late.save(force_insert=True)
    run()
    assert post.got == [f"transition-{first.pk}", f"transition-{beyond.pk}", f"transition-{late.pk}"]
    assert (row().health_upto, row().health_sent) == (beyond.pk, [])


def test_what_could_not_be_sent_for_so_many_hours_is_dropped_and_counted(post: Post) -> None:
    target(give_up_hours=2)
    now = timezone.now()
    transition(now - timedelta(hours=2, seconds=1))
    wanted = transition(now - timedelta(hours=1, minutes=59))
    run(now)
    assert (post.got, row().dropped, row().sent) == ([wanted], 1, 1)


def test_no_more_than_a_batch_is_read_for_a_target_that_is_dead(post: Post) -> None:
    target()
    HealthTransition.objects.bulk_create(
        HealthTransition(service_name="s", monitor_name="m", vip="::1", old="UP", new="DOWN", reason="")
        for _ in range(2 * store.BATCH + 1)
    )
    post.fails_after = 0
    (batch,) = store.claim(timezone.now(), 1)
    assert len(batch.events) == store.BATCH
    deliver.deliver(batch)
    post.fails_after = None
    for _ in range(3):
        EventDelivery.objects.update(retry_at=None)
        run()
    assert len(post.got) == len(set(post.got)) == 2 * store.BATCH + 1


def test_mail_waits_for_further_events(post: Post) -> None:
    mail = {"recipients": "ops@example.org", "sender": "hp@example.org", "host": "mail.example.org", "gather": 30}
    eventtargets.create(factories.SYSTEM, {"name": "ops", "target_type": "EMAIL", **mail})
    now = timezone.now()
    ids = [transition(now), transition(now + timedelta(seconds=20))]
    assert run(now + timedelta(seconds=29)) == 0
    assert run(now + timedelta(seconds=30)) == 1
    assert post.got == ids


def test_a_disabled_target_gets_nothing_and_later_only_what_is_new(post: Post) -> None:
    made = eventtargets.disable(factories.SYSTEM, target())
    transition()
    assert run() == 0
    eventtargets.enable(factories.SYSTEM, made)
    wanted = transition()
    run()
    assert post.got == [wanted]


def test_a_test_event_is_sent_whatever_the_state_and_its_result_is_shown(post: Post) -> None:
    made = eventtargets.disable(factories.SYSTEM, target())
    eventtargets.send_test(factories.SYSTEM, made)
    run()
    assert [one.partition("-")[0] for one in post.got] == ["test"]
    assert (row().test_result, row().test_asked_at, row().sent) == ("sent", None, 0)
    post.fails_after = 0
    eventtargets.send_test(factories.SYSTEM, made)
    run()
    assert (row().test_result, row().failures) == ("https://host answered 500", 0)


def test_a_target_gets_its_secret_and_nobody_else_does(post: Post) -> None:
    made = target()
    transition()
    run()
    assert post.given.signing_secret == SECRET
    assert SECRET not in repr(post.given)
    assert SECRET not in made.secrets
    assert SECRET not in str(list(AuditEntry.objects.values()))


def test_a_secret_that_cannot_be_opened_is_an_error_of_the_target(post: Post, settings: Any) -> None:
    target()
    transition()
    settings.SECRET_KEY = "another one, since the file was lost"
    run()
    assert "cannot be decrypted" in row().last_error
    assert post.got == []


def test_a_fault_of_ours_does_not_stop_the_others(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    target()

    def broken(_given: Any, _events: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setitem(KINDS, "SYSLOG", replace(KINDS["SYSLOG"], send=broken))
    eventtargets.create(factories.SYSTEM, {"name": "log", "target_type": "SYSLOG", "host": "h"})
    wanted = transition()
    assert run() == 2
    assert post.got == [wanted]
    assert EventDelivery.objects.get(target__name="log").last_error.startswith("a fault of Halfpipe")


def test_the_console_stands_in_only_for_what_has_waited(post: Post) -> None:
    target()
    transition()
    now = timezone.now()
    assert store.claim(now, 4, standby.GRACE) == []
    (batch,) = store.claim(now + standby.GRACE + timedelta(seconds=1), 4, standby.GRACE)
    assert len(batch.events) == 1


@pytest.mark.django_db(transaction=True)
def test_a_tick_delivers_in_threads_of_its_own(post: Post) -> None:
    target()
    wanted = transition()
    couriers = Couriers()
    assert couriers.tick() == 1
    for _ in range(3000):
        if couriers.idle():
            break
        time.sleep(0.01)
    assert post.got == [wanted]
    assert row().sent == 1


def test_a_task_that_finds_no_database_says_so_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(store, "claim", away)
    assert tasks.deliver() == 0
