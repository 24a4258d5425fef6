"""The forms that bind something, under the tables of the bindings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from webui.dryrun import Preview
from webui.forms import BindMonitorForm, BindServiceForm
from webui.group_forms import BindGroupForm, BindGroupMonitorForm, BindMembersForm, BindVServerForm
from webui.models import Service, ServiceGroup, VServer
from webui.tables import BindForm
from webui.views.kinds import Kind


def bind_forms(kind: Kind, pk: int, sent: Any = None, preview: Preview | None = None) -> dict[str, BindForm]:
    """By the table that each adds a row to. ``sent`` is one with what was typed, ``preview`` what it would do."""
    found = _FORMS[kind.slug](pk, sent, preview) if kind.slug in _FORMS else []
    return {one.table: one for one in found}


def _of_service(pk: int, sent: Any, preview: Preview | None) -> list[BindForm]:
    form: Any = sent or BindMonitorForm(service=Service.objects.select_related("server").get(pk=pk))
    nothing = "" if form.fields["monitor"].queryset.exists() else "Every monitor that fits is bound already."
    return [BindForm(form, "bind-monitor", "Bind monitor", "monitors", nothing, "preview-service", shown=preview)]


def _of_vserver(pk: int, sent: Any, preview: Preview | None) -> list[BindForm]:
    vserver = VServer.objects.get(pk=pk)
    port = f"of {vserver.ports}" if vserver.port_end else vserver.ports
    ports = " or ".join(dict.fromkeys((port, "*")))
    types = " or ".join(dict.fromkeys((vserver.service_type, "ANY")))
    none = f"No further service fits: it needs port {ports}, type {types}, and a server that is not bound yet."
    service, shown = _sent(BindServiceForm, sent, preview) or (BindServiceForm(vserver=vserver), None)
    group, seen = _sent(BindGroupForm, sent, preview) or (BindGroupForm(vserver=vserver), None)
    no_group = f"No further service group fits: it needs type {types}, and use source IP."
    return [
        BindForm(service, "bind-service", "Bind service", "services", _unless(service, "service", none), shown=shown),
        BindForm(
            group,
            "bind-group",
            "Bind service group",
            "groups",
            _unless(group, "group", no_group),
            outcome="outcome-groups",
            shown=seen,
        ),
    ]


def _of_group(pk: int, sent: Any, preview: Preview | None) -> list[BindForm]:
    group = ServiceGroup.objects.get(pk=pk)
    found = []
    for form_class, name, label, table, field, nothing in _OF_GROUP:
        form, shown = _sent(form_class, sent, preview) or (form_class(group=group), None)
        none = _unless(form, field, nothing)
        found.append(BindForm(form, name, label, table, none, outcome=f"outcome-{table}", shown=shown))
    return found


_OF_GROUP: tuple[tuple[type[Any], str, str, str, str, str], ...] = (
    (BindMembersForm, "bind-members", "Add members", "members", "server", "There is no server yet: add one first."),
    (
        BindGroupMonitorForm,
        "bind-group-monitor",
        "Bind monitor",
        "monitors",
        "monitor",
        "Every monitor that fits is bound already.",
    ),
    (
        BindVServerForm,
        "bind-group-vserver",
        "Bind to virtual server",
        "vservers",
        "vserver",
        "No further virtual server fits: it needs the type of the group, where that is not ANY.",
    ),
)


def _sent(form_class: type[Any], sent: Any, preview: Preview | None) -> tuple[Any, Preview | None] | None:
    """The form that was sent, if it is of that class."""
    return (sent, preview) if type(sent) is form_class else None


def _unless(form: Any, field: str, nothing: str) -> str:
    return "" if form.fields[field].queryset.exists() else nothing


_FORMS: dict[str, Callable[[int, Any, Preview | None], list[BindForm]]] = {
    "services": _of_service,
    "vservers": _of_vserver,
    "servicegroups": _of_group,
}
