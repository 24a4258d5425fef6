"""A client of the API for tests."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

BASE = "/api/v1"


class Api:
    """A client that speaks JSON and remembers the last answer."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        self.answer: Any = self.client.generic(
            method,
            f"{BASE}{path}",
            json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers=headers,
        )
        return json.loads(self.answer.content) if self.answer.content else None

    @property
    def status(self) -> int:
        return int(self.answer.status_code)
