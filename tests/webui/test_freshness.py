"""Figures of the checks between two changes of state: in a real Redis, and without one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from tests.factories import SYSTEM
from tests.redis_server import RedisServer
from webui import details, freshness, world
from webui.actions import services
from webui.freshness import Figures
from webui.models import CheckLease, HealthState
from webui.models.health import SHARDS

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
FIGURES = Figures(7, NOW, "PPF", "“ü” not in the answer", 0.25, 0.125, probes=20, failures=1)
words = st.text(max_size=255).filter(lambda text: not any(0xD800 <= ord(one) <= 0xDFFF for one in text))


def state(**values: object) -> HealthState:
    """A row with what the last change of state left."""
    service, monitor = factories.service(), factories.monitor()
    services.bind_monitor(SYSTEM, service, monitor)
    factories.vserver(service)
    HealthState.objects.update(
        edition=7, probes=10, checked_at=NOW - timedelta(hours=1), response="connected", **values
    )
    return HealthState.objects.get()


@given(
    recent=st.text("PF", max_size=127),
    response=words,
    response_time=st.floats(0, 1e4),
    average=st.none() | st.floats(0, 1e4),
    edition=st.integers(0, 2**48),
    at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_figures_come_back_as_they_were(
    *, recent: str, response: str, response_time: float, average: float | None, edition: int, at: datetime
) -> None:
    made = Figures(edition, at, recent, response, response_time, average, 2**40, 3)
    back = Figures.decoded(made.encoded())
    assert back is not None
    assert abs(back.checked_at - at) <= timedelta(milliseconds=1)
    assert back.response_time == pytest.approx(response_time, abs=1e-6)
    assert replace(back, checked_at=at, response_time=response_time) == made


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", b"{}", b"[1, 2]", b"[1, 1e99, 3, 4, 5, 6, 7, 8]", b"\xff"])
def test_what_nobody_wrote_is_passed_over(data: bytes) -> None:
    assert Figures.decoded(data) is None


def test_figures_of_many_rows_are_found_by_their_numbers(redis_server: RedisServer) -> None:
    pks = range(1, 5 * SHARDS)
    freshness.save({pk: replace(FIGURES, probes=pk) for pk in pks})
    assert {pk: one.probes for pk, one in freshness.figures([*pks, 9999]).items()} == {pk: pk for pk in pks}
    assert freshness.figures([]) == {}


def test_figures_of_rows_that_are_no_more_are_removed(redis_server: RedisServer) -> None:
    mine = [SHARDS + 3, 2 * SHARDS + 3]
    freshness.save(dict.fromkeys([*mine, 4], FIGURES))
    freshness.keep_only(3, {mine[1]})
    assert freshness.figures([*mine, 4]).keys() == {mine[1], 4}
    freshness.keep_only(3, {mine[1]})


@pytest.mark.django_db
def test_pages_show_what_redis_knows_and_without_it_what_the_rows_know(redis_server: RedisServer) -> None:
    row = state(state="UP")
    freshness.save({row.pk: FIGURES})

    def shown() -> dict[str, object]:
        tables = details.detail("services", row.service_id).tables
        (check,) = next(table.rows for table in tables if table.name == "health")
        return dict(check)

    assert (shown()["response"], shown()["recent"]) == ("“ü” not in the answer (250.0 ms)", "PPF")
    assert shown()["checked_at"] == NOW.isoformat()
    assert freshness.last_checked([row.pk]) == {row.pk: NOW}
    redis_server.kill()
    assert (shown()["response"], shown()["checked_at"]) == ("connected", (NOW - timedelta(hours=1)).isoformat())
    assert freshness.last_checked([row.pk, 9999]) == {row.pk: NOW - timedelta(hours=1)}
    redis_server.start()
    assert shown()["response"] == "connected"  # it knows nothing yet


@pytest.mark.django_db
@pytest.mark.parametrize("stale", [replace(FIGURES, edition=6), replace(FIGURES, probes=9)], ids=["edition", "older"])
def test_figures_that_no_longer_count_are_not_shown(redis_server: RedisServer, stale: Figures) -> None:
    row = state()
    freshness.save({row.pk: stale})
    freshness.refresh([row])
    assert (row.response, row.probes) == ("connected", 10)


@pytest.mark.django_db
def test_an_outage_of_redis_alone_is_no_stall_of_the_checks(redis_server: RedisServer) -> None:
    row = state(state="UP")
    freshness.save({row.pk: FIGURES})
    shard = row.pk % SHARDS
    CheckLease.objects.update_or_create(shard=shard, defaults={"owner": "w", "renewed_at": NOW + timedelta(minutes=1)})
    CheckLease.objects.update_or_create(
        shard=(shard + 1) % SHARDS, defaults={"owner": "w", "renewed_at": NOW + timedelta(minutes=9)}
    )
    assert freshness.last_checked([row.pk]) == {row.pk: NOW}
    redis_server.kill()
    assert freshness.last_checked([row.pk]) == {row.pk: NOW + timedelta(minutes=1)}
    CheckLease.objects.update(owner="")
    assert freshness.last_checked([row.pk]) == {row.pk: NOW - timedelta(hours=1)}


@pytest.mark.django_db
def test_a_row_that_was_never_checked_has_no_time(redis_server: RedisServer) -> None:
    row = state()
    HealthState.objects.update(checked_at=None)
    assert freshness.last_checked([row.pk]) == {}


@pytest.mark.django_db
def test_a_world_asks_redis_once_for_figures_and_times(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = state(state="UP")
    freshness.save({row.pk: FIGURES})
    asked: list[int] = []
    client = freshness.client

    def counted() -> object:
        asked.append(1)
        return client()

    monkeypatch.setattr(freshness, "client", counted)
    found = world.load_world()
    assert asked == [1]
    assert found.checked == {row.pk: NOW}
    assert [one.response for one in found.health.values()] == [FIGURES.response]
