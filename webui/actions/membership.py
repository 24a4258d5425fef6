"""What services that are members of a service group may not have changed by themselves, and how they are named."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from django.core.exceptions import ValidationError

from webui.actions.base import Change, reload
from webui.actions.values import rewrite
from webui.models import Server, Service, ServiceGroup, ServiceGroupMember
from webui.models.fields import ANY_PORT, twin_name

# Fields of a service that its group has for all members; the others (state, hash ID) each member has for itself.
SHARED: Final = ("usip", "health_monitor", "mon_threshold", "down_state_flush", "comment")
LONGEST: Final = 127  # characters, as Service.name has it


def name_of(group: ServiceGroup, server: Server, port: int) -> str:
    """The name of a member's service: ``<group>_<server>_<port>``, with ``any`` for any port.

    Raises ValidationError (``name``) when group and server are called so that it is longer than a service's may be.
    """
    name = f"{group.name}_{server.name}_{'any' if port == ANY_PORT else port}"
    if len(name) > LONGEST:
        msg = (
            f"The member would be called “{name}”: {len(name)} characters, and a service's name has {LONGEST} at most."
        )
        raise ValidationError({"name": msg})
    return name


def group_of(service: Service) -> ServiceGroup | None:
    """The group that a service is a member of."""
    return ServiceGroup.objects.filter(members__service=service).first()


def refuse(service: Service, instead: str) -> None:
    """Raise ValidationError (``service``) when the service is a member; ``instead`` says what to do."""
    group = twin_name(ServiceGroup.objects.filter(members__service=service))
    if group is not None:
        raise ValidationError({"service": f"{_told(service.name, group)}: {instead}."})


def refuse_owned(service: Service, changed: Collection[str], was: str) -> None:
    """Raise ValidationError, by field, when a member's fields that are its group's were changed.

    ``was`` is the name that the service had before.
    """
    owned = [name for name in ("name", *SHARED) if name in changed]
    group = group_of(service) if owned else None
    if group is not None:
        text = f"{_told(was, group.name)}, whose members have this in common: change it there."
        raise ValidationError(dict.fromkeys(owned, text))


def _told(service: str, group: str) -> str:
    return f"Service “{service}” is a member of service group “{group}”"


def of_server(server: Server) -> Iterable[ServiceGroupMember]:
    """The members on a server."""
    return ServiceGroupMember.objects.filter(service__server=server).select_related("group", "service__server")


def rename(current: Change, members: Iterable[ServiceGroupMember]) -> None:
    """Name the members' services after their group and server as those are called now. Raises ValidationError."""
    for member in members:
        service = reload(member.service)
        rewrite(current, service, {"name": name_of(member.group, service.server, service.port)})
