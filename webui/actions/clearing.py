"""Delete everything that clients are balanced by, in one change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from webui.actions import monitors, servers, servicegroups, services, vservers
from webui.actions.base import Actor, one_change, require
from webui.models import Monitor, Server, Service, ServiceGroup, VServer

# What is deleted, in that order: what is bound before what it is bound to.
CLEARED: Final = (VServer, ServiceGroup, Service, Server, Monitor)
_EVERYTHING: Final = "*"  # in the audit of an attempt: no object has that name


def clear(actor: Actor, summary: str = "clear ns config") -> int:
    """Delete all virtual servers, groups, services, servers and own monitors, as one revision; returns how many.

    Members of a group count as services. Event targets, settings and users stay, and so do the built-in monitors.
    Raises PermissionRefused unless the actor may delete each kind, whether or not there is any.
    """
    for model in CLEARED:  # before the transaction: a refusal is written to stay
        require(actor, model, "delete", _EVERYTHING)
    with one_change(actor, summary):
        before = _count()
        for vserver in _backups_last():
            vservers.delete(actor, vserver)
        for group in ServiceGroup.objects.all():
            servicegroups.delete(actor, group)
        for service in Service.objects.all():
            services.delete(actor, service)
        for server in Server.objects.all():
            servers.delete(actor, server)
        for monitor in Monitor.objects.filter(built_in=False):
            monitors.delete(actor, monitor)
        return before - _count()


def _count() -> int:
    return sum(model._default_manager.count() for model in CLEARED)


def _backups_last() -> Iterator[VServer]:
    """Each after those that it stands in for, as a backup in use cannot be deleted."""
    left = {one.pk: one for one in VServer.objects.all()}
    while left:
        backups = {one.backup_vserver_id for one in left.values()}
        free = [pk for pk in left if pk not in backups]  # never none: backups do not go round in a circle
        for pk in free:
            yield left.pop(pk)
