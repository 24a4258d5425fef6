"""Shares of services that take turns, from what was measured: LEASTCONNECTION, LEASTBANDWIDTH and LRTM. Pure.

The forwarder asks nobody at each new flow: services take turns in a ring, as often as their shares. Once a second the
shares follow the measured figures, so a service with little to do gets more of the next second's flows. What is equal
in the end is the figure for each unit of weight (for response times: the figure itself, the weight scales the share).
Of a burst within one second nothing is known until the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from dataplane.desired import Configuration, VServerConfig


class Measure(Enum):
    """What is to be equal. FLOWS: remembered flows. BANDWIDTH: bits per second. RESPONSE_TIME: seconds."""

    FLOWS = "flows"
    BANDWIDTH = "bandwidth"
    RESPONSE_TIME = "response time"


# Figures below these are noise, and all count as nearly the same.
_FLOOR = {Measure.FLOWS: 1.0, Measure.BANDWIDTH: 8000.0, Measure.RESPONSE_TIME: 0.0005}
# How strongly a share answers to a figure. Flows accumulate, which damps; the others answer at once.
_GAIN = {Measure.FLOWS: 2.0, Measure.BANDWIDTH: 1.0, Measure.RESPONSE_TIME: 1.0}
# A service that stands idle gets at most this many times its share: it is not buried on its first second.
MOST = 8.0
LARGEST_SHARE = 100
# Part of a new figure that counts; the rest is what was known. Rates of one second jump about.
_NEW = {Measure.FLOWS: 1.0, Measure.BANDWIDTH: 0.3, Measure.RESPONSE_TIME: 0.3}
# Shares stay until one is wrong by this part and by at least this number: each change rewrites a ring.
_TOLERANCE, _SMALLEST_CHANGE = 0.1, 2

Key = tuple[int, int]  # rows of vserver and service


def shares(measure: Measure, weights: Mapping[int, int], figures: Mapping[int, float]) -> dict[int, int]:
    """Share of each service, 1 to 100 and 100 for the largest, from its weight and its figure.

    A service without a figure counts as average.
    """
    known = {service: figure for service, figure in figures.items() if service in weights}
    if not known:
        return _scaled({service: float(weight) for service, weight in weights.items()})
    floor = _FLOOR[measure]
    by_weight = measure is not Measure.RESPONSE_TIME
    divisors = {service: weights[service] if by_weight else 1 for service in known}
    mean = sum(known.values()) / sum(divisors.values())
    wanted = {}
    for service, weight in weights.items():
        load = known[service] / divisors[service] if service in known else mean
        factor = ((mean + floor) / (load + floor)) ** _GAIN[measure]
        wanted[service] = weight * min(MOST, max(1 / MOST, factor))
    return _scaled(wanted)


def _scaled(wanted: Mapping[int, float]) -> dict[int, int]:
    largest = max(wanted.values(), default=1.0)
    return {service: max(1, round(LARGEST_SHARE * value / largest)) for service, value in wanted.items()}


def differs(new: Mapping[int, int], old: Mapping[int, int]) -> bool:
    """Whether new shares are worth a new ring."""
    if new.keys() != old.keys():
        return True
    return any(abs(new[service] - old[service]) > max(_SMALLEST_CHANGE, _TOLERANCE * old[service]) for service in new)


@dataclass(slots=True)
class Balancer:
    """Remembers shares and smoothed figures from second to second."""

    shares: dict[int, dict[int, int]] = field(default_factory=dict)  # by rows of vserver and service
    _figures: dict[Key, float] = field(default_factory=dict)
    _weights: dict[int, dict[int, int]] = field(default_factory=dict)

    def step(self, configuration: Configuration, measures: Mapping[int, Measure], figures: Mapping[Key, float]) -> bool:
        """Take new figures, by rows of vserver and service; returns whether any share changed.

        ``measures`` names the vservers that this is about.
        """
        before = self.shares
        found: dict[int, dict[int, int]] = {}
        smoothed: dict[Key, float] = {}
        weights: dict[int, dict[int, int]] = {}
        for vserver in configuration.vservers:
            measure = measures.get(vserver.config_id)
            if measure is None:
                continue
            weights[vserver.config_id] = _weights(vserver)
            latest = self._smooth(vserver.config_id, measure, weights[vserver.config_id], figures)
            smoothed |= {(vserver.config_id, service): figure for service, figure in latest.items()}
            wanted = shares(measure, weights[vserver.config_id], latest)
            old = before.get(vserver.config_id, {})
            same_weights = self._weights.get(vserver.config_id) == weights[vserver.config_id]
            found[vserver.config_id] = wanted if not same_weights or differs(wanted, old) else old
        self.shares, self._figures, self._weights = found, smoothed, weights
        return found != before

    def _smooth(
        self, vserver: int, measure: Measure, services: Mapping[int, int], figures: Mapping[Key, float]
    ) -> dict[int, float]:
        part = _NEW[measure]
        latest = {}
        for service in services:
            new = figures.get((vserver, service))
            if new is not None:
                old = self._figures.get((vserver, service), new)
                latest[service] = old + part * (new - old)
        return latest

    def applied(self, configuration: Configuration) -> Configuration:
        """The configuration with the shares in place of the weights."""
        if not self.shares:
            return configuration
        return replace(configuration, vservers=tuple(self._with_shares(one) for one in configuration.vservers))

    def _with_shares(self, vserver: VServerConfig) -> VServerConfig:
        known = self.shares.get(vserver.config_id)
        if not known:
            return vserver
        return replace(
            vserver,
            services=tuple(replace(one, share=known.get(one.config_id, 0)) for one in vserver.services),
        )


def _weights(vserver: VServerConfig) -> dict[int, int]:
    """Weights of the services that can take clients."""
    return {service.config_id: service.weight for service in vserver.services if service.eligible}
