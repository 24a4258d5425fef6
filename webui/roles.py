"""Roles: which permissions each has. They are groups of Django's, kept in step with this table after each migrate.

The roles are NetScaler's built-in command policies of the same names; superuser is Django's flag, which has every
permission. A user without a role may do nothing ("no policy bound = deny all").
"""

from __future__ import annotations

from typing import Any, Final

from django.apps import apps as current_apps
from django.contrib.auth.models import AnonymousUser, User

from webui.choices import Role

KINDS: Final = ("server", "service", "servicegroup", "vserver", "monitor", "eventtarget")

VIEW_STATUS: Final = "webui.view_status"
VIEW_AUDIT: Final = "webui.view_auditentry"
EXPORT_CONFIGURATION: Final = "webui.export_configuration"
MANAGE_USERS: Final = "webui.manage_users"

_SHOW: Final = frozenset({VIEW_STATUS, "webui.view_installation", *(f"webui.view_{kind}" for kind in KINDS)})
# NetScaler's ``^(enable|disable) (server|service).*``
_OPERATE: Final = frozenset({"webui.enable_server", "webui.enable_service", "webui.enable_servicegroup"})
_CONFIGURE: Final = frozenset(
    {
        "webui.change_installation",
        "webui.rollback_installation",
        "webui.save_installation",
        "webui.watch_vserver",
        *(f"webui.{verb}_{kind}" for verb in ("add", "change", "delete", "enable") for kind in KINDS),
    }
)
TABLE: Final[dict[str, frozenset[str]]] = {
    Role.READ_ONLY: _SHOW,
    Role.OPERATOR: _SHOW | _OPERATE,
    Role.NETWORK: _SHOW | _OPERATE | _CONFIGURE,
}
_RANK: Final = {str(role): number for number, role in enumerate(Role)}


def grants(role: str, permission: str) -> bool:
    """Whether a role has a permission such as ``webui.enable_server``; an unknown role has none."""
    return role == Role.SUPERUSER or permission in TABLE.get(role, ())


def sufficient(permission: str) -> tuple[str, ...]:
    """The permissions of which each allows what ``permission`` does: who may change may also enable and disable."""
    if permission.startswith("webui.enable_"):
        return permission, permission.replace("enable_", "change_", 1)
    return (permission,)


def role_of(user: User | AnonymousUser) -> Role | None:
    """The user's role, the highest of several; None for who has none. One query, none for a superuser."""
    if user.is_superuser:
        return Role.SUPERUSER
    if user.pk is None:
        return None
    names = [name for name in user.groups.values_list("name", flat=True) if name in TABLE]
    return Role(max(names, key=_RANK.__getitem__)) if names else None


def within(role: str, most: str | None) -> bool:
    """Whether ``role`` is one, and not above ``most``."""
    return role in _RANK and most is not None and _RANK[role] <= _RANK[most]


def up_to(most: str | None) -> list[Role]:
    """The roles that are not above ``most``, the least first."""
    return [role for role in Role if within(role, most)]


def make_groups(apps: Any = current_apps, using: str = "default", **_signal: Any) -> None:
    """After each migrate and flush: a group for each role, with its permissions and no others.

    Runs after Django has made the permissions (the auth application comes before this one). Three queries when nothing
    is to be done.
    """
    try:
        groups, permissions = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
        apps.get_model("webui", "AccessEdition")
    except LookupError:  # migrated back to before these tables
        return
    known = permissions.objects.using(using).filter(content_type__app_label="webui")
    by_name = {f"webui.{codename}": pk for pk, codename in known.values_list("pk", "codename")}
    found = {
        group.name: group
        for group in groups.objects.using(using).filter(name__in=TABLE).prefetch_related("permissions")
    }
    for role, wanted in TABLE.items():
        group = found.get(str(role)) or groups.objects.using(using).create(name=str(role))
        has = {one.pk for one in group.permissions.all()} if str(role) in found else set()
        wants = {by_name[name] for name in wanted if name in by_name}
        if has != wants:
            group.permissions.set(wants)
