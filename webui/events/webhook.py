"""Webhooks: a JSON POST for each event, signed as the Standard Webhooks specification has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the signature is the
HMAC-SHA256 of ``id.timestamp.body`` under the bytes of the secret, in Base64, after ``v1,``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from monitors.parameters import text
from monitors.spec import ParamValue
from webui.events import wire
from webui.events.kind import DeliveryError, TargetKind
from webui.events.message import Event

PREFIX: Final = "whsec_"
FEWEST_KEY_BYTES: Final = 24
MOST_KEY_BYTES: Final = 64
LONGEST_ANSWER: Final = 65536  # bytes that are read, so that the connection can be used again


def without_query(url: str) -> str:
    """The URL as pages may show it: its query may hold a token."""
    address, mark, _query = url.partition("?")
    return f"{address}{mark}•••" if mark else address


def _url_problem(value: str) -> str:
    try:
        split, port = urlsplit(value), urlsplit(value).port
    except ValueError as error:
        return f"“{value}” is no URL: {error}."
    if split.scheme not in {"http", "https"} or not split.hostname or port == 0:
        return f"“{value}” is no URL of a webhook: it begins with https:// (or http://) and a host."
    if split.username is not None or split.password is not None:
        return "Give no user and password in the URL, where everybody would see them: events are signed."
    if not value.isascii() or any(character <= " " or character == "\x7f" for character in value):
        return f"“{value}” has characters that must be percent-encoded in a URL."
    return wire.host_problem(split.hostname)


def key_of(secret: str) -> bytes:
    """The key in a secret such as ``whsec_MfKQ9r8…``. Raises ValueError with a sentence."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not FEWEST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        raise ValueError(
            f"The signing secret is {PREFIX} and {FEWEST_KEY_BYTES} to {MOST_KEY_BYTES} bytes in Base64: "
            f"echo {PREFIX}$(openssl rand -base64 32)"
        )
    return key


def _secret_problem(value: str) -> str:
    try:
        key_of(value)
    except ValueError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Where events are posted, and the key that signs them."""

    url: str = text(
        help="https://host/path; http:// sends in clear text.",
        label="URL",
        limit=2000,
        required=True,
        check=_url_problem,
    )
    signing_secret: str = text(
        help="whsec_ and 24 to 64 random bytes in Base64; the receiver needs the same.",
        secret=True,
        required=True,
        check=_secret_problem,
    )
    ca_certificates: str = wire.authorities()


def headers_of(event: Event, body: bytes, secret: str, at: int) -> dict[str, str]:
    """The three headers of the specification; ``at`` is the Unix time of this attempt."""
    signed = f"{event.id}.{at}.".encode() + body
    signature = base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": event.id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}


def send(given: Parameters, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Post one event after the other on one connection; yields each that was answered with 2xx.

    Redirections are not followed. Raises DeliveryError.
    """
    split = urlsplit(given.url)
    with wire.Deadline() as deadline:
        connection: http.client.HTTPConnection | None = None
        try:
            for event in events:
                if connection is None or connection.sock is None:
                    connection = _open(split, given.ca_certificates, deadline)
                _post(connection, split, given.signing_secret, event, deadline)
                yield [event]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeliveryError(f"{split.scheme}://{split.netloc}: {wire.words(error)}") from error
        finally:
            if connection is not None:
                connection.close()


def _open(split: SplitResult, authorities: str, deadline: wire.Deadline) -> http.client.HTTPConnection:
    host, secure = split.hostname or "", split.scheme == "https"
    port = split.port or (443 if secure else 80)
    context: ssl.SSLContext | None = wire.tls_context(authorities) if secure else None
    sock = deadline.connect(host, port)
    connection = http.client.HTTPConnection(host, port)
    connection.auto_open = 0  # it would connect anew without TLS
    try:
        connection.sock = context.wrap_socket(sock, server_hostname=host) if context else sock
    except BaseException:
        sock.close()
        raise
    return connection


def _post(
    connection: http.client.HTTPConnection, split: SplitResult, secret: str, event: Event, deadline: wire.Deadline
) -> None:
    body = event.as_json()
    connection.sock.settimeout(deadline.step())
    headers = {
        "Host": split.netloc,
        "Content-Type": "application/json",
        "User-Agent": "Halfpipe",
        **headers_of(event, body, secret, int(time.time())),
    }
    path = (split.path or "/") + (f"?{split.query}" if split.query else "")
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    answer.read(LONGEST_ANSWER)
    if not answer.isclosed():  # there is more: not worth reading
        connection.close()
    if not 200 <= answer.status < 300:
        also = ", and redirections are not followed" if 300 <= answer.status < 400 else ""
        raise DeliveryError(f"{split.scheme}://{split.netloc} answered {answer.status}{also}")


def _shown(params: Mapping[str, ParamValue]) -> str:
    split = urlsplit(str(params.get("url", "")))
    # A query often holds a token.
    return f"{split.scheme}://{split.netloc}{split.path}"


KIND = TargetKind(
    name="WEBHOOK",
    label="Webhook (signed JSON)",
    about="A URL that each event is posted to as JSON, signed by Standard Webhooks.",
    parameters_type=Parameters,
    send=send,
    shown=_shown,
)
