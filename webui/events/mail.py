"""E-mail by SMTP: what came within some seconds goes in one message."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from monitors.parameters import choice, integer, text
from monitors.spec import ParamValue
from webui.events import wire
from webui.events.kind import DeliveryError, TargetKind
from webui.events.message import Event, one_line

PORTS: Final = {"STARTTLS": 587, "TLS": 465, "NONE": 25}
MOST_RECIPIENTS: Final = 50
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})")


def addresses(value: str) -> list[str]:
    """Addresses in a text, between commas or lines."""
    return [one.strip() for one in re.split(r"[,\n]", value) if one.strip()]


def _address_problem(value: str) -> str:
    wrong = [one for one in addresses(value) if not _ADDRESS.fullmatch(one)]
    if wrong:
        return f"“{wrong[0]}” is no e-mail address."
    if len(addresses(value)) > MOST_RECIPIENTS:
        return f"{len(addresses(value))} addresses are more than {MOST_RECIPIENTS}: make a list at the mail server."
    return ""


def _one_address_problem(value: str) -> str:
    return _address_problem(value) or ("" if len(addresses(value)) == 1 else "The sender is one e-mail address.")


@dataclass(frozen=True, slots=True)
class Parameters:
    """The mail server, who writes, and to whom."""

    recipients: str = text(
        help="E-mail addresses, separated by commas.", limit=4000, required=True, check=_address_problem
    )
    sender: str = text(help="E-mail address it comes from.", required=True, check=_one_address_problem)
    host: str = text(help="Name or address of the mail server.", required=True, check=wire.host_problem)
    security: str = choice(
        "STARTTLS",
        ("STARTTLS", "TLS", "NONE"),
        help="STARTTLS and TLS verify the server's certificate; NONE sends in clear text.",
    )
    port: int = integer(0, low=0, high=65535, help="0: 587 for STARTTLS, 465 for TLS, 25 for NONE.")
    user_name: str = text(help="Who logs in. Empty: nobody.")
    password: str = text(help="Of that user.", secret=True)
    gather: int = integer(
        30, low=0, high=3600, label="Gather (s)", help="Seconds that the first event waits for others."
    )
    ca_certificates: str = wire.authorities()


def parameters_problem(values: Mapping[str, ParamValue]) -> dict[str, str]:
    """A login needs both its parts, and a password is not sent in clear text."""
    if bool(values["user_name"]) != bool(values["password"]):
        missing = "password" if values["user_name"] else "user_name"
        return {missing: "A login needs a user name and a password; leave both empty for none."}
    if values["password"] and values["security"] == "NONE":
        return {"security": "With NONE the password would be sent in clear text: use STARTTLS or TLS."}
    return {}


class _Client(smtplib.SMTP):
    """Over a connection that the deadline shuts."""

    def __init__(self, given: Parameters, port: int, deadline: wire.Deadline) -> None:
        self._given, self._deadline = given, deadline
        super().__init__(given.host, port, timeout=deadline.step())

    def _get_socket(self, host: str, port: int, _timeout: float | None) -> socket.socket:
        connection = self._deadline.connect(host, port)
        if self._given.security != "TLS":
            return connection
        try:
            return tls(self._given).wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise


def tls(given: Parameters) -> ssl.SSLContext:
    """The context for the mail server."""
    return wire.tls_context(given.ca_certificates)


def message(events: Sequence[Event], sender: str, recipients: Sequence[str], host: str) -> EmailMessage:
    """One mail about all the events; its Message-ID is the same whenever they are sent again together."""
    found = EmailMessage()
    gravest = min(events, key=lambda event: event.severity)
    more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
    found["Subject"] = f"[Halfpipe] {one_line(gravest.text)[:120]}{more}"
    found["From"] = Address("Halfpipe", addr_spec=sender)
    found["To"] = ", ".join(recipients)
    found["Date"] = format_datetime(max(event.at for event in events))
    found["Message-ID"] = f"<{events[0].id}.{events[-1].id}.{len(events)}@{host}>"
    found["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers from people on holiday
    found.set_content("".join(f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {one_line(event.text)}\n" for event in events))
    return found


def send(given: Parameters, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Send one mail with all events. Raises DeliveryError, also if one recipient alone is refused by the server."""
    port = given.port or PORTS[given.security]
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "halfpipe"
    recipients = addresses(given.recipients)
    mail = message(events, addresses(given.sender)[0], recipients, host)
    try:
        with wire.Deadline() as deadline:
            client = _Client(given, port, deadline)
            try:
                if given.security == "STARTTLS":
                    client.starttls(context=tls(given))
                if given.user_name:
                    client.login(given.user_name, given.password)
                refused = client.send_message(mail, addresses(given.sender)[0], recipients)
                with suppress(smtplib.SMTPException, OSError):  # the server has taken the mail already
                    client.quit()
            finally:
                client.close()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise DeliveryError(f"mail server {given.host} port {port}: {_words(error)}") from error
    yield events
    if refused:
        # The others have it: sending it all again would help nobody.
        raise DeliveryError(f"mail server {given.host} refused {', '.join(sorted(refused))}; the others have it")


def _words(error: BaseException) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"it refused every recipient: {', '.join(sorted(error.recipients))}"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"it said {error.smtp_code} {one_line(said)}"
    return wire.words(error)


def _shown(params: Mapping[str, ParamValue]) -> str:
    return f"{', '.join(addresses(str(params.get('recipients', ''))))} by {params.get('host', '')}"


def _gather(params: Mapping[str, ParamValue]) -> int:
    return int(params.get("gather", 0))


KIND = TargetKind(
    name="EMAIL",
    label="E-mail",
    about="People who get events by e-mail, several in one message.",
    parameters_type=Parameters,
    send=send,
    shown=_shown,
    check=parameters_problem,
    gather=_gather,
)
