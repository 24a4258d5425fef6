"""Changes of servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from webui.actions import checks, leaving, membership
from webui.actions.base import Actor, Change, change, reload, wanted_version
from webui.actions.values import as_json, assign, insert, name_of, rewrite
from webui.choices import AuditVerb
from webui.models import Server


def create(actor: Actor, values: Mapping[str, Any]) -> Server:
    """Make a server. Raises PermissionRefused, ValidationError."""
    with change(actor, Server, "add", name_of(values)) as current:
        return create_within(current, values)


def create_within(current: Change, values: Mapping[str, Any]) -> Server:
    """Make a server as part of another change, whose permission was checked."""
    server = Server()
    assign(server, values)
    return insert(current, server)


def update(actor: Actor, server: Server, values: Mapping[str, Any], expected_version: int | None = None) -> Server:
    """Change a server; a new address sets what was found at the old one to UNKNOWN.

    Raises PermissionRefused, ConflictError, NotFoundError, ValidationError.
    """
    with change(actor, Server, "change", server.name) as current:
        row = reload(server)
        wanted_version(row, expected_version)
        old_address = row.address
        changed = rewrite(current, row, values)
        if "name" in changed:
            membership.rename(current, membership.of_server(row))
        if "address" in changed:
            checks.forget(server=row, reason=f"the server's address changed from {old_address} to {row.address}")
        return row


def enable(actor: Actor, server: Server) -> Server:
    """Let the server take traffic; its services keep their own state. Raises PermissionRefused, NotFoundError."""
    return leaving.enable(actor, server)


def disable(actor: Actor, server: Server, delay: Any = 0, graceful: Any = False) -> Server:
    """Take the server, and with it all of its services, out of service, see :func:`webui.actions.leaving.disable`.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    return leaving.disable(actor, server, delay, graceful)


def delete(actor: Actor, server: Server) -> None:
    """Delete a server without services. Raises PermissionRefused, NotFoundError, ValidationError.

    NetScaler would delete the services too; one mistyped name is not worth that.
    """
    with change(actor, Server, "delete", server.name) as current:
        row = reload(server)
        names = list(row.services.values_list("name", flat=True))
        if names:
            msg = f"“{row.name}” still has services: {', '.join(names)}. Delete them first."
            raise ValidationError(msg)
        current.record(AuditVerb.DELETE, row, before=as_json(row))
        row.delete()
