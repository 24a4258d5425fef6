"""LDAP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation.search import parse_filter
from ldap3.utils.dn import parse_dn

from monitors.kind import Kind, Secure
from monitors.parameters import switch, text
from monitors.spec import ParamValue

_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*(;[A-Za-z0-9-]+)*|\d+(\.\d+)+")


def _filter_problem(given: str) -> str:
    try:
        parse_filter(given, None, True, True, None, False)
    except (LDAPExceptionError, ValueError, LookupError) as error:
        return f"“{given}” is no LDAP filter: {error or 'syntax'}."
    return ""


def _name_problem(given: str) -> str:
    try:
        parse_dn(given)
    except (LDAPExceptionError, ValueError, LookupError) as error:
        return f"“{given}” is no distinguished name: {error or 'syntax'}."
    return ""


def _attribute_problem(given: str) -> str:
    return "" if _ATTRIBUTE.fullmatch(given) else f"“{given}” is no name of an attribute."


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's, and STARTTLS."""

    base_dn: str = text(
        option="baseDN",
        label="Base DN",
        check=_name_problem,
        help="Where the search begins; all below it is searched. Empty: no search, the bind alone.",
    )
    bind_dn: str = text(
        option="bindDN", label="Bind DN", help="Whom to bind as; Active Directory takes user@domain too. Empty: nobody."
    )
    password: str = text(secret=True, help="Password of the bind DN.")
    filter: str = text(
        "(objectClass=*)", required=True, limit=1024, check=_filter_problem, help="Filter that an entry must match."
    )
    start_tls: bool = switch(False, label="STARTTLS", help="Begin TLS before the bind; any certificate will do.")
    attribute: str = text(check=_attribute_problem, help="Attribute that the entry must have. Empty: any entry passes.")


def _check(values: Mapping[str, ParamValue]) -> dict[str, str]:
    if values["bind_dn"] and not values["password"]:
        # RFC 4513, 5.1.2: servers take it for anonymous, and the check would prove nothing.
        return {"password": "A bind DN needs a password."}
    if values["password"] and not values["bind_dn"]:
        return {"bind_dn": "A password needs a bind DN."}
    if values["attribute"] and not values["base_dn"]:
        return {"base_dn": "An attribute needs a base DN to search."}
    return {}


KIND = Kind(
    name="LDAP",
    label="LDAP (bind and search)",
    success="The bind succeeds, and the search finds an entry if there is a base DN.",
    parameters_type=Parameters,
    default_port=389,
    secure_port=636,
    secure=Secure.OPTIONAL,
    command="ldapsearch -x -H ldap://{endpoint}",
    check=_check,
)
