"""What binding a monitor would do: asked of a worker through Redis, worked out from its answer; nothing is changed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import redis
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from webui.builtin import default_monitor_name
from webui.celery import app
from webui.choices import AdminState, State
from webui.effective import Verdict, verdict_of, with_fail_open
from webui.models import HealthState, Monitor, Service, ServiceMonitorBinding, VServer
from webui.world import World

SECONDS_KEPT: Final = 300
LONGEST_CHECK: Final = 10.0  # seconds; of a longer response timeout no more is waited for
PATIENCE: Final = timedelta(seconds=5)  # beyond the checks themselves
MOST_PAIRS: Final = 500
REQUEST: Final = "request"
ANSWER: Final = "answer"
_NO_ROW: Final = -1  # key of a health row that is only thought of


class NoPreviewError(Exception):
    """It could not be asked for; the message says why."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A request and, once it is there, its answer. ``scope`` is “services” or “vservers”, ``pk`` the row."""

    scope: str
    pk: int
    monitor: int
    weight: int
    until: datetime
    results: list[dict[str, Any]] | None = None
    error: str = ""


def key_of(token: str, part: str) -> str:
    """Where in Redis the request or the answer lies."""
    return f"halfpipe:preview:{token}:{part}"


def ask(world: World, scope: str, pk: int, monitor: Monitor, weight: int = 1) -> str:
    """Ask a worker to check what the monitor would; returns the token. Raises NoPreviewError."""
    services = [world.services[pk]] if scope == "services" else concerned(world, world.vservers[pk], monitor)
    vips = {one.pk: world.vips(one) if scope == "services" else [world.vservers[pk].address] for one in services}
    pairs = [(one.pk, vip) for one in services for vip in vips[one.pk]]
    if not pairs:
        raise NoPreviewError("There is nothing to check: no service without this monitor is bound, so there is no VIP.")
    if len(pairs) > MOST_PAIRS:
        raise NoPreviewError(f"{len(pairs)} checks are more than a preview takes ({MOST_PAIRS}).")
    token = secrets.token_urlsafe(16)
    rounds = 1 + len(pairs) // 50
    until = timezone.now() + PATIENCE + timedelta(seconds=min(monitor.seconds("resp_timeout"), LONGEST_CHECK) * rounds)
    request = {"scope": scope, "pk": pk, "monitor": monitor.pk, "weight": weight, "until": until.isoformat()}
    try:
        with _client() as client:
            client.set(key_of(token, REQUEST), json.dumps(request), ex=SECONDS_KEPT)
        app.send_task("monitors.preview.run", (token, monitor.pk, pairs), expires=until, retry=False)
    except (redis.RedisError, OperationalError) as error:
        raise NoPreviewError("Redis does not answer, so no worker can be asked.") from error
    return token


def read(token: str) -> Preview | None:
    """The request and its answer; None for a token that is unknown, or old. Raises NoPreviewError."""
    try:
        with _client() as client:
            request, answer = client.mget(key_of(token, REQUEST), key_of(token, ANSWER))
    except redis.RedisError as error:
        raise NoPreviewError("Redis does not answer, so the answer of the worker cannot be read.") from error
    if request is None:
        return None
    asked = json.loads(request)
    until = datetime.fromisoformat(asked.pop("until"))
    found: dict[str, Any] = json.loads(answer) if answer else {}
    problem = str(found.get("error", ""))
    if not found and timezone.now() > until:
        problem = (
            "No worker answered: the processes that run the checks (celery worker) are not running, or are behind."
        )
    return Preview(**asked, until=until, results=found.get("results"), error=problem)


def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


def concerned(world: World, vserver: VServer, monitor: Monitor) -> list[Service]:
    """Services of a vserver to which the monitor is not bound yet."""
    return [
        binding.service
        for binding in world.bindings_of_vserver[vserver.pk]
        if all(bound.monitor_id != monitor.pk for bound in world.monitors_of[binding.service_id])
    ]


@dataclass(frozen=True, slots=True)
class Trial:
    """A monitor that is thought to be bound, and what it found, by service and VIP."""

    world: World
    monitor: Monitor
    weight: int
    results: dict[tuple[int, str], dict[str, Any]]

    def verdict(self, service: Service, vip: str) -> Verdict:
        """The verdict on a service with the monitor bound, the default monitor gone where it stood in."""
        found, present = self.results.get((service.pk, vip)), self.world.alone(service, vip)
        if found is None:
            return present
        bound: Sequence[ServiceMonitorBinding] = self.world.monitors_of[service.pk]
        if [one.monitor.name for one in bound] == [default_monitor_name(service.service_type, service.port)]:
            bound = []
        new = ServiceMonitorBinding(service=service, monitor=self.monitor, weight=self.weight, state=AdminState.ENABLED)
        health = {
            one.monitor_id: row
            for one in bound
            if (row := self.world.health.get((service.pk, vip, one.monitor_id))) is not None
        }
        health[self.monitor.pk] = HealthState(
            pk=_NO_ROW,
            service=service,
            monitor=self.monitor,
            state=State(found["state"]),
            response=found["message"],
            since=self.world.now,
        )
        fallen = self.world.fallen | ({_NO_ROW} if (present.state, found["state"]) == (State.UP, State.DOWN) else set())
        return verdict_of(service, [*bound, new], health, self.world.now, fallen=fallen)


def consequences(world: World, asked: Preview, monitor: Monitor) -> list[str]:
    """What would become of each vserver, in sentences, if the checks went on to find what they found."""
    results = {(row["service"], row["vip"]): row for row in asked.results or []}
    trial = Trial(world, monitor, asked.weight, results)
    if asked.scope == "vservers":
        vservers = [world.vservers[asked.pk]]
    else:
        vservers = [binding.vserver for binding in world.bindings_of_service[asked.pk]]
    return [_of_vserver(trial, vserver) for vserver in vservers]


def _of_vserver(trial: Trial, vserver: VServer) -> str:
    now = trial.world.verdicts(vserver)
    services = [binding.service for binding in trial.world.bindings_of_vserver[vserver.pk]]
    alone = {service.pk: trial.verdict(service, vserver.address) for service in services}
    then = with_fail_open(alone, vserver.fail_open)
    up = [sum(one.state == State.UP for one in verdicts.values()) for verdicts in (now, then)]
    kept = sum(one.state == State.FAIL_OPEN for one in then.values())
    return f"{vserver.name}: {up[1]} of {len(then)} services would be UP ({up[0]} are now). {_fail_open(vserver, kept)}"


def _fail_open(vserver: VServer, kept: int) -> str:
    if not vserver.fail_open:
        return "Fail-open is off for it."
    if kept:
        return f"Fail-open (above {vserver.fail_open} %) would keep {kept} failing services in use."
    return f"Fail-open (above {vserver.fail_open} %) would not act."
