"""A probe by hand: who may, what it may go to, and its place in the audit. It changes nothing."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from webui import preview, tries
from webui.actions.base import Actor, note_attempt, require
from webui.candidates import Candidate, candidates
from webui.choices import PROBED
from webui.models import Monitor, Service, VServer
from webui.world import World


def choose(actor: Actor, monitor: Monitor, service: Service, vip: str = "") -> Candidate:
    """Where the probe goes: the service at that VIP, or at its only one. Writes the attempt to the audit.

    Whoever may change monitors may probe: a new monitor could send the same.

    Raises PermissionRefused, ValidationError.
    """
    require(actor, Monitor, "change", monitor.name)
    offered = candidates(monitor, service)
    vips = [one.target.vip for one in offered]
    if not offered:
        raise ValidationError(
            f"Service “{service.name}” is bound to no virtual server, so there is no VIP to probe on its server."
        )
    if not vip and len(offered) > 1:
        raise ValidationError(f"Service “{service.name}” is at several VIPs; name one of {', '.join(vips)}.")
    if vip and vip not in vips:
        raise ValidationError(f"Service “{service.name}” is not at VIP {vip}, but at {', '.join(vips)}.")
    chosen = next(one for one in offered if not vip or one.target.vip == vip)
    note_attempt(actor, PROBED, monitor, {"service": service.name, "vip": chosen.target.vip})
    return chosen


def start(actor: Actor, monitor: Monitor, service: Service, vip: str) -> str:
    """Have a worker probe; returns the ticket to look at the result with.

    Raises PermissionRefused, ValidationError, tries.BusyError, tries.UnavailableError.
    """
    chosen = choose(actor, monitor, service, vip)
    return tries.ask(requester_of(actor), monitor.pk, service.pk, chosen.target.pk, monitor.seconds("resp_timeout"))


def preview_of(actor: Actor, world: World, row: Service | VServer, monitor: Monitor, weight: int) -> str:
    """Have a worker check what a monitor would, bound to a service or to all of a vserver; returns the token.

    Writes the attempt to the audit. Who may bind may preview.

    Raises PermissionRefused, preview.NoPreviewError.
    """
    require(actor, type(row), "change", row.name)
    scope = "services" if isinstance(row, Service) else "vservers"
    token = preview.ask(world, scope, row.pk, monitor, weight)
    note_attempt(actor, PROBED, monitor, {"preview": row.name})
    return token


def requester_of(actor: Actor) -> str:
    """One probe at a time is run for each of these."""
    return f"user:{actor.user.pk}" if actor.user is not None else f"system:{actor.command}"
