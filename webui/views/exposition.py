"""``/metrics`` for Prometheus."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from webui.metrics.exposition import CONTENT_TYPE, exposition

OFF = "Metrics are off: HALFPIPE_METRICS_TOKEN_FILE is not set.\n"
PLAIN = "text/plain; charset=utf-8"


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """States and counters for whoever has the token (RFC 6750, section 2.1); 404 while there is none.

    It tells every name, address and amount of traffic, and reads all rows, so it is for nobody by default. A scraper
    has no session, and a session is no reason to let a page be embedded elsewhere: the token alone opens it.
    """
    if not settings.METRICS_TOKEN:
        return HttpResponse(OFF, status=404, content_type=PLAIN)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode()):
        refusal = HttpResponse("The bearer token is missing or wrong.\n", status=401, content_type=PLAIN)
        refusal["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return refusal
    try:
        body = exposition()
    except Error:
        return HttpResponse("The database does not answer.\n", status=503, content_type=PLAIN)
    return HttpResponse(body, content_type=CONTENT_TYPE)
