"""The command line in the browser, and import and export of whole configurations."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webui.actions.base import Actor
from webui.choices import Interface
from webui.nscli import saved
from webui.nscli.conf import Report, import_configuration
from webui.nscli.errors import CliError
from webui.nscli.export import document
from webui.nscli.lexer import LONGEST
from webui.nscli.masking import has_secret, masked
from webui.nscli.names import completions
from webui.nscli.session import Session

MOST_BYTES: Final = 1024 * 1024  # of an imported file: it comes back in the page, to be applied


def actor_of(request: HttpRequest) -> Actor:
    """The person at the browser, at the command line."""
    return Actor(request.user, Interface.CLI, request.META.get("REMOTE_ADDR") or None)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def console(request: HttpRequest) -> HttpResponse:
    """A line and its answer; the script of the page asks for them as JSON and keeps the earlier ones."""
    context: dict[str, Any] = {"longest": LONGEST}
    if request.method == "POST":
        line = request.POST.get("line", "")
        answer = Session(actor_of(request)).run(line)
        shown, secret = masked(line), has_secret(line)
        if request.headers.get("Accept") == "application/json":
            told = {"line": shown, "lines": answer.lines, "ok": answer.ok, "secret": secret, "closes": answer.closes}
            return JsonResponse(told)
        context |= {"shown": shown, "answer": answer, "line": "" if answer.ok or secret else line}
    return render(request, "cli.html", context)


@require_POST
def completion(request: HttpRequest) -> HttpResponse:
    """Ways to go on after a line; a POST, since lines may hold secrets and addresses are logged."""
    found = completions(request.POST.get("line", "")[:LONGEST])
    return JsonResponse({"found": [{"text": one.text, "length": one.length, "about": one.about} for one in found]})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def importing(request: HttpRequest) -> HttpResponse:
    """A dry run of a saved configuration, then the same in earnest."""
    text, problem, status = "", "", 200
    report: Report | None = None
    skip = request.POST.get("skip") == "on"
    if request.method == "POST":
        text, problem = _text(request)
        if not problem:
            try:
                apply = request.POST.get("do") == "apply"
                report = import_configuration(actor_of(request), text, apply=apply, skip_refused=skip)
            except CliError as error:
                problem = f"{error}."
        status = 422 if problem or (report is not None and report.counts["refused"] and not report.done) else 200
    context = {"text": text, "problem": problem, "report": report, "skip": skip}
    return render(request, "cli_import.html", context, status=status)


def _text(request: HttpRequest) -> tuple[str, str]:
    """The text, and what is wrong with it."""
    uploaded = request.FILES.get("file")
    if uploaded is None:
        text = request.POST.get("text", "").replace("\r\n", "\n")
        return text, "" if text.strip() else "Choose a file, or paste its lines."
    if (uploaded.size or 0) > MOST_BYTES:
        return "", f"The file is larger than {MOST_BYTES // 1024} KiB: use manage.py ns import for it."
    try:
        return uploaded.read().decode("utf-8").replace("\r\n", "\n"), ""
    except UnicodeDecodeError:
        return "", "The file is no UTF-8 text."


@never_cache
@require_safe
def export(request: HttpRequest) -> HttpResponse:
    """The running configuration as a file. Raises PermissionRefused."""
    saved.require(actor_of(request), saved.READ, "read the configuration as text")
    answer = HttpResponse(document(), content_type="text/plain; charset=utf-8")
    answer.headers["Content-Disposition"] = 'attachment; filename="ns.conf"'
    return answer
