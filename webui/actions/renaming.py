"""Rename an object: NetScaler's ``rename server``, ``rename service``, ``rename lb vserver``.

Names are how people and commands call objects; rows, counters and the hash ring know them by number or address, so no
traffic moves.
"""

from __future__ import annotations

from types import ModuleType
from typing import TypeVar

from django.core.exceptions import ValidationError

from webui.actions import eventtargets, monitors, servers, servicegroups, services, vservers
from webui.actions.base import Actor
from webui.models import EventTarget, Monitor, Server, Service, ServiceGroup, VServer

Renamed = TypeVar("Renamed", Server, Service, ServiceGroup, VServer, Monitor, EventTarget)

_MODULES: dict[type, ModuleType] = {
    Server: servers,
    Service: services,
    ServiceGroup: servicegroups,
    VServer: vservers,
    Monitor: monitors,
    EventTarget: eventtargets,
}


def rename(actor: Actor, row: Renamed, new_name: str, expected_version: int | None = None) -> Renamed:
    """Change the name of a row, and nothing else.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError (``name``; also for the name it has).
    """
    if new_name == row.name and actor.may(f"webui.change_{row._meta.model_name}"):
        raise ValidationError({"name": f"“{new_name}” is its name already."})
    changed: Renamed = _MODULES[type(row)].update(actor, row, {"name": new_name}, expected_version)
    return changed
