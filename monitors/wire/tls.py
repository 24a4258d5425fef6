"""TLS of probes: contexts, and what to say about a server's certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from cryptography import x509

NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL: its words for dates are ours to choose
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to shake hands. ``server_name`` empty: no SNI is sent.

    ``authorities``: PEM certificates that the server's chain must end in; empty: the chain is not looked at. With
    authorities and a server name, the certificate must be of that name too.
    """

    server_name: str = ""
    authorities: str = ""
    alpn: tuple[str, ...] = ()


class CertificateError(Exception):
    """A certificate that fails the check; the text is for the operator."""


@lru_cache(maxsize=256)
def context(tls: Tls) -> ssl.SSLContext:
    """A client's context. Raises ssl.SSLError when the authorities are no PEM certificates."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if tls.authorities:
        made.load_verify_locations(cadata=tls.authorities)
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags = ssl.VerifyFlags(made.verify_flags | NO_CHECK_TIME)
        made.check_hostname = bool(tls.server_name)
    if tls.alpn:
        made.set_alpn_protocols(list(tls.alpn))
    return made


def failure_in_words(error: ssl.SSLError) -> str:
    """Why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message.rstrip('.')}"
    reason = (error.reason or error.__class__.__name__).replace("_", " ").lower()
    return f"TLS failed: {reason}"


def handshake_in_words(found: ssl.SSLObject, tls: Tls) -> str:
    """What a handshake came to: version, cipher, protocol, and whose certificate it is for how long."""
    cipher = found.cipher()
    parts = [found.version() or "TLS", cipher[0] if cipher else "no cipher"]
    parts.append(f"SNI {tls.server_name}" if tls.server_name else "no SNI")
    if protocol := found.selected_alpn_protocol():
        parts.append(f"ALPN {protocol}")
    der = found.getpeercert(binary_form=True) or b""
    try:
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
        parts += [f"certificate of {subject or 'nobody'}", check_dates(der, warn_days=0, fail_days=0)]
    except (CertificateError, ValueError) as error:
        parts.append(str(error) if isinstance(error, CertificateError) else "certificate cannot be read")
    parts.append("verified against the CA" if tls.authorities else "chain not looked at")
    return ", ".join(parts)


def check_dates(der: bytes, *, warn_days: int, fail_days: int, now: datetime | None = None) -> str:
    """What to say about the days that a certificate (DER) has left.

    Raises CertificateError when it has ended, has not begun, or has fewer than ``fail_days`` days left.
    """
    now = now or datetime.now(UTC)
    try:
        certificate = x509.load_der_x509_certificate(der)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError as error:
        raise CertificateError("certificate cannot be read") from error
    if now < begin:
        raise CertificateError(f"certificate begins in {_days(begin - now)} ({begin:%Y-%m-%d})")
    if now >= end:
        raise CertificateError(f"certificate ended {_days(now - end)} ago ({end:%Y-%m-%d})")
    left = f"certificate ends in {_days(end - now)}"
    if end - now < fail_days * _DAY:
        raise CertificateError(f"{left}, fewer than {fail_days} days")
    return f"{left} (warning below {warn_days} days)" if end - now < warn_days * _DAY else left


def authorities_problem(pem: str) -> str:
    """What is wrong with certificates of authorities in PEM; empty when nothing is."""
    if not pem.isascii():  # RFC 7468, section 2; OpenSSL takes no more
        return "Certificates in PEM have ASCII characters alone, and so must have what stands around them."
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        context(Tls(authorities=pem))
    except (ValueError, ssl.SSLError):
        found = []
    return "" if found else "This is no certificate in PEM (-----BEGIN CERTIFICATE----- …)."


def server_name_problem(name: str) -> str:
    """What is wrong with a name for SNI (RFC 6066: a host name, no address); empty when nothing is."""
    try:
        ip_address(name)
    except ValueError:
        labels = name.removesuffix(".").split(".")
        fits = all(0 < len(one) <= 63 and one.replace("-", "a").replace("_", "a").isalnum() for one in labels)
        return "" if fits and name.isascii() else f"“{name}” is not a host name."
    return f"“{name}” is an address; TLS sends host names only."


def _days(span: timedelta) -> str:
    days = span // _DAY
    return "less than a day" if days == 0 else "1 day" if days == 1 else f"{days} days"
