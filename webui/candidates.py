"""What a monitor can be tried on: each service at each VIP that its server carries for it, bound to it or not yet."""

from __future__ import annotations

from dataclasses import dataclass

from webui.actions.checks import bound
from webui.models import Monitor, ProbeTarget, Service, ServiceMonitorBinding


@dataclass(frozen=True, slots=True)
class Candidate:
    """A service at a VIP, by its probe address; ``is_bound``: the monitor is bound to the service."""

    service: Service
    target: ProbeTarget
    is_bound: bool

    @property
    def key(self) -> str:
        """What forms and addresses call it."""
        return f"{self.service.pk}-{self.target.pk}"

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.service.name} at {self.target.vip} ({self.target.address})"


def candidates(monitor: Monitor, service: Service | None = None) -> list[Candidate]:
    """All of them, or those of one service; bound ones first, then by name; five queries."""
    wanted = Service.objects.select_related("server").order_by("name")
    services = {row.pk: row for row in (wanted if service is None else wanted.filter(pk=service.pk))}
    targets = {(row.vip, row.server_id): row for row in ProbeTarget.objects.all()}
    bindings = ServiceMonitorBinding.objects.filter(monitor=monitor)
    checked = frozenset(bindings.values_list("service", flat=True))
    pairs = dict.fromkeys((pk, vip, server) for vip, server, pk in bound())
    found = [
        Candidate(services[pk], targets[vip, server], pk in checked)
        for pk, vip, server in pairs
        if pk in services and (vip, server) in targets
    ]
    return sorted(found, key=lambda one: (not one.is_bound, one.service.name.casefold(), one.target.pk))
