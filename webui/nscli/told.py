"""What actions raise, in the one line that follows ``ERROR:``."""

from __future__ import annotations

from typing import Final

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import InterfaceError, OperationalError

from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.nscli.errors import CliError
from webui.nscli.options import OWN, more

# Everything that running a line may raise; anything else is a fault of the program.
EXPECTED: Final = (
    CliError,
    ValidationError,
    NotFoundError,
    PermissionRefused,
    ConflictError,
    OperationalError,
    InterfaceError,
)
_POSITIONAL: Final = {
    "name": "name",
    "address": "IPAddress",
    "server": "serverName",
    "service_type": "serviceType",
    "port": "port",
    "port_end": "port",
    "monitor_type": "type",
    "target_type": "type",
    "service": "serviceName",
    "group": "serviceGroupName",
    "monitor": "monitorName",
    "weight": "-weight",
    "delay": "delay",
    "graceful": "-graceFul",
}
_OPTIONS: Final = {one.field: f"-{one.name}" for options in OWN.values() for one in options}


def in_one_line(error: Exception) -> str:
    """The text after ``ERROR: ``."""
    if isinstance(error, ValidationError):
        text = _of_fields(error)
    elif isinstance(error, PermissionRefused):
        text = f"Not authorized to execute this command: {error}"
    elif isinstance(error, OperationalError | InterfaceError):
        text = "The database does not answer; nothing was changed"
    else:
        text = str(error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())


def _of_fields(error: ValidationError) -> str:
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    parts = []
    for name, texts in error.message_dict.items():
        where = "" if name == NON_FIELD_ERRORS else f"[{option_of(name)}] "
        parts.append(where + " ".join(texts))
    return f"Invalid argument value {' '.join(parts)}"


def option_of(field: str) -> str:
    """What the command line calls a field: an argument, or an option with its hyphen."""
    if field in _POSITIONAL:
        return _POSITIONAL[field]
    if field in _OPTIONS:
        return _OPTIONS[field]
    for kind in ("monitor", "eventtarget"):
        if (found := more(kind, field.lower())) is not None:
            return f"-{found.name}"
    return field
