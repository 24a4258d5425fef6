"""The web process stands in: from its start, for alarms and for events that wait."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from webui.asgi import application
from webui.events import standby


async def test_the_thread_starts_with_the_server_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(standby, "start", lambda: started.append("started"))
    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    router: Any = application
    assert started == []
    await router({"type": "lifespan"}, receive, send)
    assert started == ["started"]
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class Recorder:
    """Stands in for the couriers."""

    def __init__(self) -> None:
        self.graces: list[timedelta] = []

    def tick(self, grace: timedelta) -> int:
        self.graces.append(grace)
        return 0


def test_a_round_looks_for_alarms_and_for_events_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[str] = []
    monkeypatch.setattr(standby, "close_old_connections", lambda: None)
    monkeypatch.setattr(standby, "watch", watched.append)
    monkeypatch.setattr("webui.actions.revisions.expire", lambda: watched.append("trial"))
    couriers: Any = Recorder()
    standby.round_once(couriers)
    assert (watched, couriers.graces) == (["console", "trial"], [standby.GRACE])


@pytest.mark.parametrize("error", [OperationalError("gone"), ZeroDivisionError()])
def test_an_error_does_not_end_the_thread(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_who: str) -> None:
        raise error

    monkeypatch.setattr(standby, "close_old_connections", lambda: None)
    monkeypatch.setattr(standby, "watch", fails)
    monkeypatch.setattr("webui.actions.revisions.expire", lambda: fails("trial"))
    couriers: Any = Recorder()
    standby.round_once(couriers)
    assert couriers.graces == [standby.GRACE]
