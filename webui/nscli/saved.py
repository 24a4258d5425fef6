"""The saved configuration: what ran at the revision that somebody last marked by ``save ns config``, or on a page."""

from __future__ import annotations

from typing import Final

from django.core.exceptions import ValidationError
from django.db import transaction

from webui import roles
from webui.actions import revisions
from webui.actions.base import Actor
from webui.actions.errors import NotFoundError, PermissionRefused
from webui.nscli.errors import CliError
from webui.nscli.export import configuration
from webui.revisions import difference, standing

READ: Final = roles.EXPORT_CONFIGURATION


def mark_saved(actor: Actor) -> int:
    """Mark the running configuration as the saved one; returns its revision. Raises PermissionRefused."""
    return revisions.save(actor)


def saved() -> str | None:
    """The saved configuration as commands; None when none was saved.

    It is brought back in a transaction that is taken back again. Raises CliError when that cannot be.
    """
    now = standing()
    if now.saved is None or now.is_saved:
        return None if now.saved is None else configuration()
    try:
        with transaction.atomic():
            _go_to(now.saved)
            text = configuration()
            transaction.set_rollback(True)
    except (NotFoundError, ValidationError) as error:
        why = " ".join(error.messages) if isinstance(error, ValidationError) else str(error.args[0])
        raise CliError(f"The saved configuration cannot be told any more: {why}") from error
    return text


def _go_to(revision: int) -> None:
    try:
        revisions.rollback(Actor.system("saved configuration"), revision)
    except ValidationError:
        # Changes that were undone by others leave revisions that do not differ.
        if not differs_from(revision):
            return
        raise


def differs_from(revision: int) -> bool:
    """Whether what runs is another configuration than that of a revision."""
    return bool(difference(standing().revision, revision))


def differs() -> bool:
    """Whether anything was changed since the configuration was last saved."""
    return not standing().is_saved


def require(actor: Actor, permission: str, deed: str) -> None:
    """Raise PermissionRefused unless the actor has a permission."""
    if not actor.may(permission):
        raise PermissionRefused(f"{actor.name} may not {deed}: the permission {permission} is missing.")
