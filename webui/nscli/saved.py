"""The saved configuration: what was running when somebody last said ``save ns config``."""

from __future__ import annotations

from django.utils import timezone

from webui.actions.base import Actor
from webui.actions.errors import PermissionRefused
from webui.models import Installation, SavedConfiguration
from webui.nscli.export import comparable, configuration

SAVE = "webui.add_savedconfiguration"
READ = "webui.view_savedconfiguration"


def mark_saved(actor: Actor) -> SavedConfiguration:
    """Keep the running configuration as the saved one. Raises PermissionRefused."""
    require(actor, SAVE, "save the configuration")
    return SavedConfiguration.objects.create(
        revision=revision(), text=configuration(), at=timezone.now(), actor_name=actor.name[:150]
    )


def saved() -> SavedConfiguration | None:
    """The configuration saved last; None when none was."""
    return SavedConfiguration.objects.order_by("-pk").first()


def revision() -> int:
    """Revision of the running configuration."""
    return Installation.objects.values_list("revision", flat=True).get(pk=1)


def differs() -> bool:
    """Whether the running configuration is another than the saved one (an empty one while none was saved)."""
    last = saved()
    if last is not None and last.revision == revision():
        return False
    return comparable(last.text if last else "") != comparable(configuration())


def require(actor: Actor, permission: str, deed: str) -> None:
    """Raise PermissionRefused unless the actor has a permission."""
    if not actor.may(permission):
        raise PermissionRefused(f"{actor.name} may not {deed}: the permission {permission} is missing.")
