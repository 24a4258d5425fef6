"""The configuration of an object as its page shows it: labels and values in words."""

from __future__ import annotations

from monitors.registry import KINDS
from webui.events.kinds import KINDS as TARGETS
from webui.events.webhook import without_query
from webui.models import EventTarget, Monitor, Server, Service, ServiceGroup, VServer
from webui.models.fields import port_text
from webui.models.monitor import TIMES

HIDDEN_FACTS = frozenset(
    {"id", "name", "state", "version", "built_in", "params", "secrets", "out_of_service_at", "graceful", "port_end"}
    | {f"{name}_unit" for name in TIMES}
)


def facts_of(obj: Server | Service | ServiceGroup | VServer | Monitor | EventTarget) -> list[tuple[str, str]]:
    """The configured fields that are not in the heading, in words."""
    facts = []
    fields = [one for one in obj._meta.concrete_fields if one.name not in HIDDEN_FACTS]
    for one in sorted(fields, key=lambda one: one.name.endswith("_at")):
        value = getattr(obj, one.name)
        if one.name in {"created_at", "updated_at"}:
            value = f"{value:%Y-%m-%d %H:%M:%S} UTC"
        elif one.name == "port":
            value = port_text(value, getattr(obj, "port_end", 0))
        elif one.name == "dest_port":
            value = port_text(value) if value else "the service's"
        elif isinstance(obj, Monitor) and one.name in TIMES:
            value = obj.time_text(one.name)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif one.name == "monitor_type" and value in KINDS:
            value = KINDS[value].label
        elif one.name == "target_type" and value in TARGETS:
            value = TARGETS[value].label
        elif one.choices:
            value = dict(one.flatchoices).get(value, value)
        facts.append(
            (one.verbose_name[:1].upper() + one.verbose_name[1:], str(value) if value not in (None, "") else "–")
        )
    return facts


def parameter_facts(row: Monitor | EventTarget) -> list[tuple[str, str]]:
    """The parameters of its kind; of a secret, only whether it is set."""
    if row.kind is None:
        return []
    facts = [("Passes when", row.kind.success)] if isinstance(row, Monitor) else []
    for one in row.kind.parameters:
        value = row.params.get(one.name, one.default)
        if one.secret:
            unset = f"not set: {one.default}" if one.default else "not set"
            value = "••• set" if one.name in row.secret_names else unset
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif one.name == "url":
            value = without_query(str(value))
        facts.append((one.label, "–" if value == "" else str(value)))
    return facts
