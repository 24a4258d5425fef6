"""Requests of all kinds, made from the API's own description: none breaks it, and each answer is as described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests import factories
from tests.examples import examples
from webui.actions import account, monitors
from webui.api.app import API

pytestmark = pytest.mark.django_db

API_DESCRIPTION = json.dumps(API.get_openapi_schema(path_prefix="/api/v1/"), default=str)


class NothingKeptError(Exception):
    """Takes back what a request did."""


@pytest.fixture
def token() -> str:
    """A superuser's, with all kinds of objects to be asked for."""
    factories.vserver(factories.service(factories.server(1)), factories.service(factories.server(2)))
    monitors.create(factories.SYSTEM, {"name": "web", "monitor_type": "HTTP"})
    _row, raw = account.make_token(factories.actor(factories.owner()), {"name": "t", "scope": "superuser", "days": 1})
    return raw


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Requests keep the test's connection."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


schema = schemathesis.openapi.from_dict(json.loads(API_DESCRIPTION))
# Rules of several fields together, and of what is there already, are in no schema: such requests are refused by 422.
EXCLUDED = [positive_data_acceptance]
schema.app = get_wsgi_application()


@schema.parametrize()
@hypothesis_settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_breaks_it(case: Any, token: str) -> None:
    try:
        with transaction.atomic():
            case.call_and_validate(
                # Its WSGI client asks for gzip and does not unpack it.
                headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
                excluded_checks=EXCLUDED,
            )
            raise NothingKeptError
    except NothingKeptError:
        return
