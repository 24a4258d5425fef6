"""Which server a client gets, and why: computed, for the console may not ask the kernel."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dataplane.explain import PROTOCOL_NAMES
from dataplane.explain_query import DEFAULT_DESTINATION_PORT
from dataplane.tables import RING_SLOTS, Reason
from webui import explained
from webui.choices import ServiceType
from webui.explained import Answer, Director, UnknownError
from webui.models import Service, VServer
from webui.models.fields import port_text
from webui.question_form import QuestionForm
from webui.rows import REASON_WORDS, url_of

VERDICTS = {"redirect": ("UP", "forwarded"), "drop": ("DOWN", "dropped"), "pass": ("UNKNOWN", "left to the director")}


@require_safe
def explain(request: HttpRequest) -> HttpResponse:
    """The question as a form; its answer beneath, once there is a client."""
    known = explained.directors()
    names = [director.name for director in known]
    asked = "client" in request.GET
    form = QuestionForm(request.GET if asked else None, initial=_initial(request), directors=names)
    context: dict[str, Any] = {"form": form, "vips": _vips()}
    status = 200
    if asked and form.is_valid():
        try:
            answer = explained.explain(form.query, chosen(known, form.cleaned_data.get("director", "")))
            context |= {"answer": answer, "lines": lines(answer), "notes": explained.notes(answer)}
            context["verdict"] = verdict_of(answer)
            context["refused"] = explained.refused(answer.vserver) if answer.vserver else []
        except UnknownError as error:
            context["problem"] = str(error)
    elif asked:
        status = 422
    return render(request, "explain.html", context, status=status)


def _initial(request: HttpRequest) -> dict[str, Any]:
    """What the address gives; ``?vserver=`` fills in what a client of that one would ask for."""
    number = request.GET.get("vserver", "")
    vserver = VServer.objects.filter(pk=int(number)).first() if number.isdecimal() and len(number) < 10 else None
    return (question(vserver) if vserver else {}) | request.GET.dict()


def question(vserver: VServer) -> dict[str, Any]:
    """The fields that a virtual server fills."""
    protocol = "tcp" if vserver.service_type == ServiceType.ANY else vserver.service_type.lower()
    return {"vip": vserver.address, "protocol": protocol, "dport": vserver.port or DEFAULT_DESTINATION_PORT}


def verdict_of(answer: Answer) -> tuple[str, str]:
    """A state that is shown like the verdict, and the verdict in a word."""
    if answer.reason in {Reason.REJECTED_RST, Reason.REJECTED_ICMP}:
        return "DOWN", "rejected"
    return VERDICTS.get(answer.verdict, ("UNKNOWN", "not certain"))


def _vips() -> list[str]:
    return sorted(set(VServer.objects.values_list("address", flat=True)))


def chosen(known: list[Director], name: str) -> Director:
    """The director of this name, or the first. Raises UnknownError when none has reported."""
    if not known:
        raise UnknownError(
            "No director has reported yet, so its interfaces and the servers' MAC addresses are unknown."
        )
    return next((one for one in known if one.name == name), known[0])


def lines(answer: Answer) -> list[tuple[str, str, str]]:
    """(subject, value, address of its page) of an answer; subjects without a value are left out."""
    vserver, service = answer.vserver, answer.service
    row = Service.objects.select_related("server").get(pk=service.config_id) if service else None
    slot = f"{answer.slot} of {RING_SLOTS}" if answer.slot is not None else ""
    told = [
        (
            "Why",
            REASON_WORDS.get(answer.reason.name, answer.reason.name) if answer.reason is not None else answer.unsure,
            "",
        ),
        ("Virtual server", _vserver_words(answer), url_of("vservers", vserver.config_id) if vserver else ""),
        ("Method", f"{answer.method}, mask {vserver.mask}" if vserver and answer.method else "", ""),
        ("Slot of the ring", slot, ""),
        ("Service", service.name if service else "", url_of("services", service.config_id) if service else ""),
        (
            "Server",
            f"{row.server.name}, {row.server.address}" if row else "",
            url_of("servers", row.server_id) if row else "",
        ),
        ("Arrives at", f"{answer.interface.name} of {answer.director.name}, MAC {answer.arrival_mac}", ""),
        ("Leaves by", answer.egress, ""),
        ("Source MAC", f"{answer.new_source_mac}, the director's" if answer.new_source_mac else "", ""),
        ("Destination MAC", f"{answer.new_destination_mac}, the server's" if answer.new_destination_mac else "", ""),
    ]
    return [line for line in told if line[1]]


def _vserver_words(answer: Answer) -> str:
    vserver = answer.vserver
    if vserver is None:
        return ""
    protocol = PROTOCOL_NAMES.get(vserver.protocol, str(vserver.protocol))
    return f"{vserver.name} ({vserver.address}, {protocol}, port {port_text(vserver.port, vserver.port_end)})"
