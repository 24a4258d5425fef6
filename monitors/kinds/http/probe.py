"""HTTP: one request over the probe path; its status decides."""

from __future__ import annotations

from monitors.kinds.http.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import http
from monitors.wire.stream import Conversation, Maintenance, WrongAnswer, converse
from monitors.wire.tls import Tls, server_name_problem


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        return await check_status(conversation, given, given.custom_headers)

    return await converse(spec, talk, tls_of(given.custom_headers))


def tls_of(custom_headers: str) -> Tls:
    """TLS with the name of the Host header, if it has one and it is a name."""
    for name, value in http.parse_headers(custom_headers):
        host = value.partition(":")[0]
        if name.lower() == "host" and not server_name_problem(host):
            return Tls(server_name=host)
    return Tls()


def request_of(spec: ProbeSpec, http_request: str, custom_headers: str) -> http.Request:
    """The request with Host, the program's name, and the operator's headers, which take precedence."""
    method, target = http.parse_request(http_request)
    given = http.parse_headers(custom_headers)
    headers = [("Host", http.host_of(spec, given, 443 if spec.secure else 80))]
    headers += [one for one in given if one[0].lower() != "host"]
    names = {name.lower() for name, _value in headers}
    defaults = [("User-Agent", http.AGENT), ("Accept", "*/*"), ("Connection", "close")]
    headers += [one for one in defaults if one[0].lower() not in names]
    return http.Request(method, target, tuple(headers))


async def check_status(conversation: Conversation, given: Parameters, custom_headers: str) -> str:
    """Ask, and return the status in words.

    Raises WrongAnswer when it is not among the codes, and Maintenance when it is the one of maintenance.
    """
    response = await http.exchange(conversation, request_of(conversation.spec, given.http_request, custom_headers))
    if response.status == given.trofs_code:
        raise Maintenance(f"{response.words}, the maintenance code")
    if not any(response.status in one for one in http.parse_codes(given.resp_code)):
        raise WrongAnswer(f"{response.words}, wanted {given.resp_code.strip()}")
    return response.words
