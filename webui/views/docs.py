"""The documentation, served by the console itself."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from webui import documents
from webui.calculator import CalculatorForm

WITH_CALCULATOR = "considerations"


@require_safe
def index(_request: HttpRequest) -> HttpResponse:
    """The first page; each of them lists all."""
    return redirect("docs-page", documents.names()[0])


@require_safe
def page(request: HttpRequest, name: str) -> HttpResponse:
    """One document with its table of contents."""
    try:
        found = documents.document(name)
    except FileNotFoundError as error:
        raise Http404(f"There is no document {name}.") from error
    others = [documents.document(one) for one in documents.names()]
    context: dict[str, Any] = {"document": found, "html": SafeString(found.html), "documents": others}
    status = 200
    if name == WITH_CALCULATOR:
        form = CalculatorForm(request.GET if "requests" in request.GET else None)
        valid = not form.is_bound or form.is_valid()
        context |= {"form": form, "lines": form.load().lines() if valid else []}
        status = 200 if valid else 422
    return render(request, "docs.html", context, status=status)
