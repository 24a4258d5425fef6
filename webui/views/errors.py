"""Plain pages for what went wrong. None of them says more of the inside than a reader can use."""

from __future__ import annotations

import sys

from django.core.exceptions import BadRequest
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import loader
from django.urls import Resolver404


def bad_request(_request: HttpRequest, exception: Exception) -> HttpResponse:
    """400. Our own words when we raised it; of Django's suspicions nothing is told."""
    reason = str(exception) if isinstance(exception, BadRequest) else ""
    return HttpResponse(loader.render_to_string("400.html", {"reason": reason}), status=400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, with the reason when it is in words."""
    told = isinstance(exception, Http404) and not isinstance(exception, Resolver404)
    reason = str(exception) if told and "matches the given query" not in str(exception) else ""
    return render(request, "404.html", {"reason": reason}, status=404)


def server_error(_request: HttpRequest) -> HttpResponse:
    """500, or 503 while the database is away. Needs neither database nor session."""
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | InterfaceError):
        answer = HttpResponse(loader.render_to_string("503.html"), status=503)
        answer.headers["Retry-After"] = "10"
        return answer
    return HttpResponse(loader.render_to_string("500.html"), status=500)
