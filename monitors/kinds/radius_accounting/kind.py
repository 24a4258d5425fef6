"""RADIUS_ACCOUNTING."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import UDP, Kind
from monitors.parameters import integer, text
from monitors.wire import radius


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = radius.user_name("Sent as User-Name. Empty: none.")
    rad_key: str = radius.rad_key()
    rad_nas_id: str = radius.rad_nas_id()
    rad_nas_ip: str = radius.rad_nas_ip()
    rad_account_type: int = integer(
        1,
        low=0,
        high=15,
        label="Accounting type",
        help="Sent as Acct-Status-Type: 1 is Start, 2 Stop, 3 Interim-Update, 7 Accounting-On.",
    )
    rad_account_session: str = text(
        "halfpipe-probe",
        required=True,
        check=radius.attribute_problem,
        label="Session",
        help="Sent as Acct-Session-Id: the server keeps accounts of it.",
    )
    rad_framed_ip: str = text(
        option="radFramedIP",
        label="Framed address",
        check=radius.address_problem,
        help="Sent as Framed-IP-Address (or its IPv6 sister). Empty: none.",
    )
    rad_apn: str = text(
        option="radAPN",
        label="Access point name",
        check=radius.attribute_problem,
        help="Sent as Called-Station-Id. Empty: none.",
    )
    rad_msisdn: str = text(
        option="radMSISDN",
        label="MSISDN",
        check=radius.attribute_problem,
        help="Sent as Calling-Station-Id. Empty: none.",
    )


KIND = Kind(
    name="RADIUS_ACCOUNTING",
    label="RADIUS_ACCOUNTING (accounting request)",
    success="The server acknowledges the accounting request, signed with the shared secret.",
    parameters_type=Parameters,
    transport=UDP,
    default_port=1813,
    command="radclient {address}:1813 acct secret",
)
