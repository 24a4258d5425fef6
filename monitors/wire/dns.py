"""DNS of probes (RFC 1035), by dnspython: the question, and what the answer must contain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from monitors.parameters import choice, text
from monitors.spec import ParamValue
from monitors.wire.stream import WrongAnswer

ADDRESS, ZONE, AAAA = "Address", "Zone", "AAAA"
TYPES: Final = {ADDRESS: dns.rdatatype.A, ZONE: dns.rdatatype.SOA, AAAA: dns.rdatatype.AAAA}
_SHOWN: Final = 4  # records in a message


def name_problem(name: str) -> str:
    """What is wrong with a domain name; empty when nothing is."""
    try:
        dns.name.from_text(name)
    except dns.exception.DNSException as error:
        return f"“{name}” is not a domain name: {error}"
    except UnicodeError:
        return f"“{name}” is not a domain name."
    return ""


def addresses(given: str) -> list[IPv4Address | IPv6Address]:
    """Addresses separated by commas or spaces. Raises ValueError with a sentence."""
    found = []
    for word in given.replace(",", " ").split():
        try:
            found.append(ip_address(word))
        except ValueError:
            raise ValueError(f"“{word}” is not an IP address.") from None
    return found


def addresses_problem(given: str) -> str:
    """What is wrong with a list of addresses; empty when nothing is."""
    try:
        addresses(given)
    except ValueError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's: query, queryType, IPAddress."""

    query: str = text(required=True, check=name_problem, help="Domain name to ask for.")
    query_type: str = choice(ADDRESS, (ADDRESS, ZONE, AAAA), help="Address: A records. Zone: the SOA record.")
    ip_address: str = text(
        option="IPAddress",
        label="Expected addresses",
        limit=1024,
        check=addresses_problem,
        help="One of them must be in the answer; separated by commas. Empty: any record of the type passes.",
    )


def parameters_problem(values: Mapping[str, ParamValue]) -> dict[str, str]:
    """Rules that look at several of these parameters."""
    kind, wanted = str(values["query_type"]), addresses(str(values["ip_address"]))
    if kind == ZONE and wanted:
        return {"ip_address": "A query for a zone has no addresses in its answer."}
    version = 6 if kind == AAAA else 4
    for one in wanted:
        if one.version != version:
            return {"ip_address": f"{one} cannot be in the answer to a query for {kind}: it is IPv{one.version}."}
    return {}


def question(given: Parameters) -> dns.message.QueryMessage:
    """The query, recursion desired, with a random identifier."""
    return dns.message.make_query(dns.name.from_text(given.query), TYPES[given.query_type])


def answer_to(query: dns.message.Message, data: bytes) -> dns.message.Message | None:
    """The answer in ``data``; None when it belongs to another question. Raises WrongAnswer for what is no DNS."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
    except dns.exception.DNSException as error:
        raise WrongAnswer("answered, but what came is no DNS message") from error
    return message if query.is_response(message) else None


def verdict(given: Parameters, message: dns.message.Message) -> str:
    """What to say of an answer that passes. Raises WrongAnswer for one that does not."""
    code = message.rcode()
    if code != dns.rcode.NOERROR:
        raise WrongAnswer(f"{given.query}: {dns.rcode.to_text(code)}")
    kind = TYPES[given.query_type]
    found = [str(record) for one in message.answer if one.rdtype == kind for record in one]
    wanted = addresses(given.ip_address)
    what = f"{given.query} {dns.rdatatype.to_text(kind)}"
    cut = ", and it is truncated (DNS-TCP gets all of it)" if message.flags & dns.flags.TC else ""
    if not found:
        raise WrongAnswer(f"{what}: no such record in the answer{cut}")
    said = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    if wanted and not {str(one) for one in wanted} & set(found):
        raise WrongAnswer(f"{what}: {said}; wanted {', '.join(map(str, wanted[:_SHOWN]))}{cut}")
    return f"{what}: {said}"
