"""New members of service groups, as part of another change; and values of members as they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from webui.actions import membership, services
from webui.actions.base import Change, reload
from webui.actions.membership import SHARED
from webui.actions.values import assign
from webui.choices import AuditVerb
from webui.models import Server, ServiceGroup, ServiceGroupMember
from webui.models.fields import ANY_PORT, MAX_PORT, port_text


def join(  # noqa: PLR0913, PLR0917 - all of a member
    current: Change, row: ServiceGroup, server: Server | str, port: int, weight: Any, own: Mapping[str, Any]
) -> ServiceGroupMember:
    """A new member, which has to follow yet."""
    machine = services.server_within(current, server) if isinstance(server, str) else reload(server)
    if row.members.filter(service__server=machine, service__port=port).exists():
        msg = f"Server “{machine.name}” port {port_text(port)} is a member of service group “{row.name}” already."
        raise ValidationError({"server": msg})
    place = {"server": machine, "service_type": row.service_type, "port": port}
    shared = {name: getattr(row, name) for name in SHARED}
    given = {"state": row.state, "name": membership.name_of(row, machine, port), **own}
    service = services.create_within(current, place | shared | given)
    member = ServiceGroupMember(group=row, service=service)
    assign(member, {"weight": weight})
    member.full_clean()
    member.save(force_insert=True)
    current.record(AuditVerb.BIND, row, after=member_json(member))
    return member


def own_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a member has of its own. Raises ValidationError for anything else."""
    others = [name for name in values if name not in {"state", "hash_id"}]
    if others:
        msg = "It is the group's, for all of its members alike: set it without naming a member."
        raise ValidationError(dict.fromkeys(others, msg))
    return dict(values)


def port_number(given: Any) -> int:
    """A port as people type it. Raises ValidationError."""
    text = str(given).strip()
    if text == "*":
        return ANY_PORT
    if isinstance(given, bool) or not (text.isascii() and text.isdecimal()) or int(text[:9]) > MAX_PORT:
        raise ValidationError({"port": f"“{given}” is not a port: a number from 1 to {MAX_PORT}, or *."})
    return int(text)


def member_json(member: ServiceGroupMember) -> dict[str, Any]:
    """A member for the audit."""
    return {"service": member.service.name, "weight": member.weight}
