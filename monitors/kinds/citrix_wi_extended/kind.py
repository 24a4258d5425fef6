"""CITRIX-WI-EXTENDED: a login by the form of a web page."""

from __future__ import annotations

import re
from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text
from monitors.wire import http

_PATH = re.compile(r"/[\x21-\x7e]*")


def _path_problem(given: str) -> str:
    return "" if _PATH.fullmatch(given) else f"“{given}” is no path: it begins with / and has no spaces."


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's, and headers."""

    site_path: str = text(
        "/Citrix/XenApp/", required=True, check=_path_problem, help="Path of the page, or of one that leads to it."
    )
    user_name: str = text(required=True, help="User to log in.")
    password: str = text(secret=True, required=True, help="The user's password.")
    domain: str = text(help="Domain; for the form's field of that name. Empty: none.")
    custom_headers: str = http.custom_headers()


KIND = Kind(
    name="CITRIX-WI-EXTENDED",
    label="CITRIX-WI-EXTENDED (login by a web page)",
    success="The site's page has a login form, and after the login comes a page without one.",
    parameters_type=Parameters,
    default_port=80,
    secure_port=443,
    secure=Secure.OPTIONAL,
    command="curl -v http://{endpoint}/Citrix/XenApp/",
)
