"""TCP."""

from __future__ import annotations

from monitors.kind import Kind, Secure

KIND = Kind(
    name="TCP",
    label="TCP (handshake)",
    success="A TCP connection to the VIP on the server opens; with secure, a TLS handshake completes too.",
    secure=Secure.OPTIONAL,
    command="curl -v http://{endpoint}/",
)
