"""Services that fail together stay in use, if a vserver says so: the rule, and who follows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane import snapshot
from tests import factories
from webui import queries, watch
from webui.actions import vservers
from webui.choices import EventKind, State
from webui.effective import Verdict, with_fail_open
from webui.models import Alarm, DirectorEvent, HealthState, HealthTransition, Service, VServer
from webui.world import load_world

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SPAN = timedelta(seconds=7)


def up() -> Verdict:
    return Verdict(State.UP, "every monitor is UP", span=SPAN)


def down(seconds: float | None) -> Verdict:
    """Fell so many seconds after noon; None: was never UP."""
    fell_at = None if seconds is None else NOON + timedelta(seconds=seconds)
    return Verdict(State.DOWN, "tcp: refused", span=SPAN, fell_at=fell_at)


def kept(verdicts: list[Verdict], percent: int) -> set[int]:
    found = with_fail_open(dict(enumerate(verdicts)), percent)
    return {key for key, verdict in found.items() if verdict.state == State.FAIL_OPEN}


def test_more_than_the_threshold_together_stay_in_use() -> None:
    verdicts = [down(0), down(3), down(7), up(), up()]
    assert kept(verdicts, 59) == {0, 1, 2}
    assert kept(verdicts, 60) == set()  # three of five are not more than 60 %


def test_zero_is_never() -> None:
    assert kept([down(0), down(0)], 0) == set()


def test_one_that_fails_alone_goes_down_even_if_it_is_the_last() -> None:
    assert kept([down(0), down(8), down(16)], 1) == set()
    assert kept([down(0)], 1) == set()


def test_services_that_failed_earlier_are_not_counted_among_those_that_were_up() -> None:
    # Two of the three that were still UP; of all five it would be 40 %.
    assert kept([down(-500), down(-300), down(0), down(1), up()], 50) == {2, 3}


def test_services_that_were_never_up_or_are_not_monitored_count_on_neither_side() -> None:
    unmonitored = Verdict(State.UP, "health monitoring is off for it")
    assert kept([down(0), down(1), up(), down(None), down(None), unmonitored, unmonitored], 50) == {0, 1}
    assert kept([down(None), down(None)], 1) == set()


def test_as_services_recover_the_others_go_down() -> None:
    assert kept([down(0), down(0), down(0), up()], 50) == {0, 1, 2}
    assert kept([up(), down(0), down(0), up()], 50) == set()


def test_it_says_that_it_is_failing() -> None:
    found = with_fail_open({1: down(0), 2: down(0)}, 50)
    assert found[1].reason == "failing, kept by fail-open: tcp: refused"


@st.composite
def tables(draw: st.DrawFn) -> list[Verdict]:
    one = st.one_of(
        st.builds(up),
        st.builds(down, st.one_of(st.none(), st.integers(min_value=0, max_value=40))),
        st.just(Verdict(State.UNKNOWN, "not checked yet", span=SPAN)),
        st.just(Verdict(State.UP, "no enabled monitor is bound to it")),
        st.just(Verdict(State.OUT_OF_SERVICE, "it is disabled")),
        st.just(Verdict(State.DOWN_GOING_OUT, "refused; it is disabled")),
    )
    return draw(st.lists(one, max_size=9))


def by_the_words(verdicts: list[Verdict], percent: int) -> set[int]:
    """The rule as the documentation says it, without care for speed."""
    found: set[int] = set()
    fell = {key: verdict.fell_at for key, verdict in enumerate(verdicts) if verdict.fell_at}
    monitored_up = [one for one in verdicts if one.state == State.UP and one.span]
    for start in fell.values():
        together = {key for key, at in fell.items() if start <= at <= start + SPAN}
        before = len(monitored_up) + sum(at >= start for at in fell.values())
        if percent and len(together) >= 2 and len(together) / before > percent / 100 + 1e-12:
            found |= together
    return found


@given(tables(), st.integers(min_value=0, max_value=99))
def test_the_rule_is_the_one_in_words(verdicts: list[Verdict], percent: int) -> None:
    assert kept(verdicts, percent) == by_the_words(verdicts, percent)


@given(tables(), st.integers(min_value=1, max_value=98), st.randoms())
def test_neither_order_nor_a_lower_threshold_takes_anyone_out(
    verdicts: list[Verdict], percent: int, random: Any
) -> None:
    names = list(range(len(verdicts)))
    random.shuffle(names)
    shuffled = {key: verdicts[key] for key in names}
    again = {key for key, one in with_fail_open(shuffled, percent).items() if one.state == State.FAIL_OPEN}
    assert again == kept(verdicts, percent)
    assert kept(verdicts, percent) >= kept(verdicts, percent + 1)


@given(tables(), st.integers(min_value=0, max_value=99))
def test_only_services_that_fell_are_touched(verdicts: list[Verdict], percent: int) -> None:
    found = with_fail_open(dict(enumerate(verdicts)), percent)
    assert [found[key] for key, one in enumerate(verdicts) if one.fell_at is None] == [
        one for one in verdicts if one.fell_at is None
    ]


# With rows


def fall(service: Service, at: datetime, *, was: str = State.UP) -> None:
    """What the checks write when they find a service DOWN."""
    HealthState.objects.filter(service=service).update(state=State.DOWN, since=at, response="refused")
    for row in HealthState.objects.filter(service=service).select_related("target", "monitor"):
        HealthTransition.objects.create(
            at=at,
            service=service,
            service_name=service.name,
            monitor_name=row.monitor.name,
            vip=row.target.vip,
            old=was,
            new=State.DOWN,
            reason="refused",
        )


@pytest.fixture
def farm() -> tuple[VServer, list[Service]]:
    bound = [factories.service(factories.server(number)) for number in (1, 2, 3)]
    made = factories.vserver(*bound, fail_open=50)
    HealthState.objects.update(state=State.UP, response="echo")
    return made, bound


def eligible() -> list[bool]:
    (vserver,) = snapshot.read()[1].vservers
    return [service.eligible for service in vserver.services]


@pytest.mark.django_db
def test_the_data_plane_and_the_console_keep_the_same_services(farm: tuple[VServer, list[Service]]) -> None:
    vserver, bound = farm
    fall(bound[0], NOON)
    assert eligible() == [False, True, True]
    fall(bound[1], NOON + timedelta(seconds=2))
    assert eligible() == [True, True, True]
    world = load_world()
    assert [one.state for one in world.verdicts(vserver).values()] == [State.FAIL_OPEN, State.FAIL_OPEN, State.UP]
    seen = queries.overview()
    assert seen["vservers"][0]["state_reason"].startswith("1 of 3 services UP, 2 failing and kept by fail-open")
    assert {row["state"] for row in seen["services"]} == {State.UP, State.FAIL_OPEN}
    (alarm,) = [row for row in seen["problems"] if row["what"] == "fail-open"]
    assert "keeps 2 of 3 services in use" in alarm["text"]


@pytest.mark.django_db
def test_a_reader_that_follows_verdicts_keeps_them_too(farm: tuple[VServer, list[Service]]) -> None:
    _vserver, bound = farm
    reader = snapshot.Reader()
    mark, _before = reader.read(NOON)
    for service in bound[:2]:
        fall(service, NOON)
    mark, then = reader.read(NOON, mark)
    assert [service.eligible for service in then.vservers[0].services] == [True, True, True]
    HealthState.objects.filter(service=bound[0]).update(state=State.UP, since=NOON + timedelta(seconds=60))
    HealthTransition.objects.create(
        service=bound[0], service_name="s", monitor_name="m", vip="10.77.0.10", old=State.DOWN, new=State.UP, reason="r"
    )
    _mark, later = reader.read(NOON, mark)
    assert [service.eligible for service in later.vservers[0].services] == [True, False, True]


@pytest.mark.django_db
def test_services_that_were_never_up_are_not_kept(farm: tuple[VServer, list[Service]]) -> None:
    _vserver, bound = farm
    for service in bound:
        fall(service, NOON, was=State.UNKNOWN)
    assert eligible() == [False, False, False]


@pytest.mark.django_db
def test_without_a_threshold_all_go_down(farm: tuple[VServer, list[Service]]) -> None:
    vserver, bound = farm
    vservers.update(factories.SYSTEM, vserver, {"fail_open": 0})
    for service in bound:
        fall(service, NOON)
    assert eligible() == [False, False, False]


@pytest.mark.django_db
def test_a_backup_is_not_asked_while_services_are_kept(farm: tuple[VServer, list[Service]]) -> None:
    vserver, bound = farm
    spare = factories.service(factories.server(4))
    backup = factories.vserver(spare, name="backup", address="10.77.0.20")
    vservers.update(factories.SYSTEM, vserver, {"backup_vserver": backup})
    HealthState.objects.filter(service=spare).update(state=State.UP)
    for service in bound:
        fall(service, NOON)
    assert load_world().backup_taking(vserver) is None
    vserver.refresh_from_db()
    vservers.update(factories.SYSTEM, vserver, {"fail_open": 0})
    world = load_world()
    assert world.backup_taking(world.vservers[vserver.pk]) == backup


@pytest.mark.django_db
def test_the_alarm_is_raised_once_and_cleared_once(farm: tuple[VServer, list[Service]]) -> None:
    vserver, bound = farm
    for service in bound:
        fall(service, NOON)
    HealthState.objects.update(checked_at=datetime.now(UTC))
    watch.watch("console")
    watch.watch("checks")
    assert [(row.kind, row.raised, row.director) for row in DirectorEvent.objects.all()] == [
        (EventKind.ALARM, True, "console")
    ]
    assert Alarm.objects.get().key == f"fail-open {vserver.pk}"
    HealthState.objects.update(state=State.UP, since=NOON)
    watch.watch("checks")
    watch.watch("console")
    assert [row.raised for row in DirectorEvent.objects.order_by("pk")] == [True, False]
    assert not Alarm.objects.exists()


def test_a_threshold_of_a_hundred_is_refused(db: None) -> None:
    with pytest.raises(Exception, match="“100” is more than 99"):
        factories.vserver(fail_open=100)
