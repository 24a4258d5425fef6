"""Enable and disable servers and services, at once or slowly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.utils import timezone

from webui.actions.base import Actor, Change, change, reload
from webui.actions.errors import unfit
from webui.actions.values import as_switch
from webui.choices import AdminState, AuditVerb, OnOff
from webui.models import Server, Service, VServerServiceBinding

LONGEST_DELAY = 31_536_000  # seconds; NetScaler's bound of its time-outs, a year

Leaver = TypeVar("Leaver", Server, Service)


def enable(actor: Actor, row: Leaver) -> Leaver:
    """Let it take traffic; ends a delay that is running. Raises PermissionRefused, NotFoundError."""
    with change(actor, type(row), "enable", row.name) as current:
        found = reload(row)
        enable_within(current, found)
        return found


def enable_within(current: Change, row: Server | Service) -> None:
    """Enable as part of another change, whose permission was checked; ``row`` was reloaded."""
    _set(current, row, AuditVerb.ENABLE, {"state": AdminState.ENABLED})


def disable(actor: Actor, row: Leaver, delay: Any = 0, graceful: Any = False) -> Leaver:
    """Take it out of service ``delay`` seconds from now; ``graceful``: as soon as it has no flow left, if earlier.

    Without delay and not graceful it is at once; graceful without delay waits for the flows, however long. Raises
    PermissionRefused, NotFoundError, ValidationError (``delay``, ``graceful``).
    """
    with change(actor, type(row), "disable", row.name) as current:
        found = reload(row)
        disable_within(current, found, *manner(delay, graceful))
        return found


def manner(delay: Any, graceful: Any) -> tuple[int, bool]:
    """Seconds and whether to wait for the flows. Raises ValidationError (``delay``, ``graceful``)."""
    return _seconds(delay), _switch(graceful)


def disable_within(current: Change, row: Server | Service, seconds: int = 0, waits: bool = False) -> None:
    """Disable as part of another change, whose permission was checked; ``row`` was reloaded. Raises ValidationError."""
    bound = _bindings(row)
    if waits and not seconds:
        _refuse_endless(bound)
        waits = bool(bound)  # of nobody's, no flow can be left
    at = timezone.now() + timedelta(seconds=seconds) if seconds else None
    values = {"state": AdminState.DISABLED, "out_of_service_at": at, "graceful": waits}
    _set(current, row, AuditVerb.DISABLE, values)


def _set(current: Change, row: Server | Service, verb: AuditVerb, values: dict[str, Any]) -> None:
    before = row.leaving_json()
    for name, value in values.items():
        setattr(row, name, value)
    row.full_clean()
    after = row.leaving_json()
    changed = sorted(name for name in after if after[name] != before[name])
    if not changed:
        return
    row.version += 1
    row.save()
    current.record(
        verb, row, before={name: before[name] for name in changed}, after={name: after[name] for name in changed}
    )


def _seconds(delay: Any) -> int:
    text = str(delay).strip() if delay is not None else ""
    if text in {"", "0"}:
        return 0
    if isinstance(delay, bool) or not text.isascii() or not text.isdecimal() or int(text[:9]) > LONGEST_DELAY:
        msg = f"Delay “{delay}” is not a number of seconds from 0 to {LONGEST_DELAY}."
        raise unfit({"delay": msg})
    return int(text)


def _switch(graceful: Any) -> bool:
    try:
        return as_switch(graceful)
    except ValueError as error:
        raise unfit({"graceful": f"Graceful {error}"}) from error


def _bindings(row: Server | Service) -> list[VServerServiceBinding]:
    found = VServerServiceBinding.objects.select_related("vserver").order_by("vserver__name")
    return list(found.filter(service__server=row) if isinstance(row, Server) else found.filter(service=row))


def _refuse_endless(bound: list[VServerServiceBinding]) -> None:
    names = list(dict.fromkeys(f"“{one.vserver.name}”" for one in bound if one.vserver.sessionless == OnOff.ENABLED))
    if names:
        msg = (
            f"Graceful without a delay waits until the last flow has ended, but {', '.join(names)} "
            f"{'is' if len(names) == 1 else 'are'} sessionless: no flow is kept there, so nothing tells when clients "
            "have finished. Give a delay, during which its clients stay, or disable at once."
        )
        raise ValidationError({"graceful": msg})
