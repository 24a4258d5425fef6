"""What the console says, for tests that do not look at pages: asked through its REST API, as a program would."""

from __future__ import annotations

import json
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

from tests.compose.compose import Project

PATIENCE = 10.0  # seconds
_sessions: dict[str, OpenerDirector] = {}  # by the project's address


def states(project: Project) -> dict[str, str]:
    """State of each service by its name; nothing while the console does not answer."""
    try:
        found = _get(project, "/services?limit=250")["items"]
        return {
            one["name"]: str(_get(project, f"/services/{quote(one['name'], safe='')}/state")["state"]) for one in found
        }
    except (URLError, ConnectionError, TimeoutError):
        return {}


def _get(project: Project, path: str) -> Any:
    session = _sessions.get(project.url) or _log_in(project)
    try:
        return _read(session, f"{project.url}/api/v1{path}")
    except HTTPError as error:
        if error.code != 401:
            raise
    return _read(_log_in(project), f"{project.url}/api/v1{path}")  # the session has ended


def _read(session: OpenerDirector, url: str) -> Any:
    with session.open(url, timeout=PATIENCE) as answer:
        return json.load(answer)


def _log_in(project: Project) -> OpenerDirector:
    jar = CookieJar()
    session = build_opener(HTTPCookieProcessor(jar))
    session.open(f"{project.url}/login/", timeout=PATIENCE).close()
    token = next(str(one.value) for one in jar if one.name == "csrftoken")
    password = project.exec("web", "cat", "/var/lib/halfpipe/secrets/admin-password").strip()
    given = urlencode({"username": "admin", "password": password, "csrfmiddlewaretoken": token}).encode()
    request = Request(f"{project.url}/login/", given, {"Referer": project.url})  # noqa: S310 - our own server, by HTTP
    session.open(request, timeout=PATIENCE).close()
    _sessions[project.url] = session
    return session
