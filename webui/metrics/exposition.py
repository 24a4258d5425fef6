"""What Prometheus scrapes: configuration, states and counters in its text format.

Names and units follow "Metric and label naming" of the Prometheus documentation: base units; counters end
in ``_total``.
Labels are names of configured objects, of directors and of reasons, so the number of series is bounded by the
configuration. Counters are told per director and per check, never summed: a sum whose parts come and go would look
like a counter that was reset. Directors that no longer report are ``halfpipe_director_up 0`` and have no counters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Final

from django.conf import settings
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from webui import freshness
from webui.choices import SERVING, State
from webui.models import DirectorCounters
from webui.models.fields import port_text
from webui.world import World, is_stale, load_world

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


def exposition() -> bytes:
    """The page, in the text format 0.0.4 (:data:`CONTENT_TYPE`). Raises django.db.Error."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected(load_world()))
    return generate_latest(registry)


@cache
def version() -> str:
    """Of this installation, as pyproject.toml has it; empty where that file is not installed."""
    try:
        document = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())
    except FileNotFoundError:
        return ""
    return str(document["project"]["version"])


class Collected(Collector):
    """The families, of rows that were read before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vservers = {str(pk): row.name for pk, row in world.vservers.items()}
        self.services = {str(pk): row.name for pk, row in world.services.items()}

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a sample: their names are there from the start."""
        build = InfoMetricFamily("halfpipe_build", "Version of the console.")
        build.add_metric([], {"version": version()})
        yield build
        yield from self._directors()
        yield from self._vservers()
        yield from self._services()
        yield from self._traffic()
        yield from self._checks()

    def _directors(self) -> Iterator[Metric]:
        now = self.world.now
        info = InfoMetricFamily("halfpipe_director", "How a director forwards.", labels=["director"])
        figures = {
            name: GaugeMetricFamily(f"halfpipe_director_{name}", text, labels=["director"])
            for name, text in {
                "up": "Whether the director reports: 1 or 0.",
                "heartbeat_timestamp_seconds": "When it last did, Unix time.",
                "wanted_revision": "Revision of the configuration that it is to apply.",
                "applied_revision": "Revision that it has applied.",
                "round_seconds": "Duration of its last round that changed something.",
                "error": "Whether its last round failed: 1 or 0.",
            }.items()
        }
        repairs = CounterMetricFamily(
            "halfpipe_director_repairs", "Repairs of changes to the maps that were not its own.", labels=["director"]
        )
        for row in self.world.directors:
            values: dict[str, float] = {
                "up": not is_stale(row.heartbeat_at, now),
                "heartbeat_timestamp_seconds": row.heartbeat_at.timestamp() if row.heartbeat_at else 0,
                "wanted_revision": row.wanted_revision,
                "applied_revision": row.applied_revision,
                "round_seconds": row.round_ms / 1000,
                "error": bool(row.last_error),
            }
            for name, value in values.items():
                figures[name].add_metric([row.director], float(value))
            info.add_metric([row.director], {"mode": row.mode})
            repairs.add_metric([row.director], row.drift)
        yield from (info, *figures.values(), repairs)

    def _vservers(self) -> Iterator[Metric]:
        info = InfoMetricFamily("halfpipe_vserver", "What clients connect to.", labels=["vserver"])
        up = GaugeMetricFamily("halfpipe_vserver_up", "Whether its state is UP: 1 or 0.", labels=["vserver"])
        bound = GaugeMetricFamily("halfpipe_vserver_services", "Services bound to it.", labels=["vserver"])
        serving = GaugeMetricFamily(
            "halfpipe_vserver_effective_services", "Of these, those that clients are sent to.", labels=["vserver"]
        )
        for row in self.world.vservers.values():
            states = [one.state for one in self.world.verdicts(row).values()]
            about = {"address": row.address, "port": port_text(row.port, row.port_end), "protocol": row.service_type}
            info.add_metric([row.name], about | {"method": row.lb_method})
            up.add_metric([row.name], float(self.world.vserver_state(row).state == State.UP))
            bound.add_metric([row.name], len(states))
            serving.add_metric([row.name], sum(state in SERVING for state in states))
        yield from (info, up, bound, serving)

    def _services(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "halfpipe_service_up", "Whether it is UP at every VIP: 1 or 0.", labels=["service", "server"]
        )
        for row in self.world.services.values():
            state = self.world.service_state(row).state
            up.add_metric([row.name, row.server.name], float(state == State.UP))
        yield up

    def _reporting(self) -> list[DirectorCounters]:
        return [row for row in self.world.counters if not is_stale(row.taken_at, self.world.now)]

    def _traffic(self) -> Iterator[Metric]:
        for kind, names in (("vserver", self.vservers), ("service", self.services)):
            labels = [kind, "director"]
            packets = CounterMetricFamily(f"halfpipe_{kind}_packets", "Packets forwarded.", labels=labels)
            size = CounterMetricFamily(
                f"halfpipe_{kind}_bytes", "Bytes of whole frames forwarded, without FCS.", labels=labels
            )
            flows = GaugeMetricFamily(f"halfpipe_{kind}_flows", "Flows remembered, where some are.", labels=labels)
            begun = CounterMetricFamily(
                f"halfpipe_{kind}_new_flows", "Flows that began: remembered ones, and TCP connections.", labels=labels
            )
            for row in self._reporting():
                for key, entry in row.payload.get(f"{kind}s", {}).items():
                    self._add(packets, names.get(key), row.director, entry.get("packets"))
                    self._add(size, names.get(key), row.director, entry.get("bytes"))
                    self._add(flows, names.get(key), row.director, entry.get("flows"))
                    self._add(begun, names.get(key), row.director, entry.get("new_flows"))
            yield from (packets, size, flows, begun)
        yield self._drops()
        yield self._outcomes()

    @staticmethod
    def _add(family: Metric, name: str | None, director: str, value: float | None) -> None:
        """A sample; none of an object that was deleted meanwhile, or whose figure is not known."""
        if name is not None and value is not None:
            family.add_metric([name, director], value)  # type: ignore[attr-defined]  # of every family but its base

    def _drops(self) -> Metric:
        drops = CounterMetricFamily(
            "halfpipe_vserver_dropped_packets",
            "Packets of its clients that were dropped.",
            labels=["vserver", "director", "reason"],
        )
        for row in self._reporting():
            for key, entry in row.payload.get("vservers", {}).items():
                for reason, packets in entry.get("drops", {}).items() if key in self.vservers else ():
                    drops.add_metric([self.vservers[key], row.director, reason.lower()], packets)
        return drops

    def _outcomes(self) -> Metric:
        outcomes = CounterMetricFamily(
            "halfpipe_packets",
            "Frames by what became of them.",
            labels=["director", "outcome"],
        )
        for row in self._reporting():
            for reason, entry in row.payload.get("reasons", {}).items():
                outcomes.add_metric([row.director, reason.lower()], entry["packets"])
        return outcomes

    def _checks(self) -> Iterator[Metric]:
        labels = ["monitor", "service", "vip"]
        up = GaugeMetricFamily("halfpipe_monitor_up", "Whether the check finds it UP: 1 or 0.", labels=labels)
        probes = CounterMetricFamily("halfpipe_monitor_probes", "Checks made.", labels=labels)
        failures = CounterMetricFamily("halfpipe_monitor_probe_failures", "Checks that failed.", labels=labels)
        slow = GaugeMetricFamily("halfpipe_monitor_response_seconds", "How long the last answer took.", labels=labels)
        at = GaugeMetricFamily("halfpipe_monitor_last_probe_timestamp_seconds", "Of the last check.", labels=labels)
        known = freshness.figures([row.pk for row in self.world.health.values()])
        for (service, vip, monitor), row in self.world.health.items():
            if service not in self.world.services or monitor not in self.world.monitors:
                continue
            names = [self.world.monitors[monitor].name, self.world.services[service].name, vip]
            up.add_metric(names, float(row.state == State.UP))
            # While Redis is away a row holds what its counters were long ago: they would seem to be reset, twice.
            if row.pk in known or row.checked_at is None:
                probes.add_metric(names, row.probes)
                failures.add_metric(names, row.failures)
            if row.response_time is not None:
                slow.add_metric(names, row.response_time)
            checked = self.world.checked.get(row.pk)
            if checked is not None:
                at.add_metric(names, checked.timestamp())
        yield from (up, probes, failures, slow, at)
