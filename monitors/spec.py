"""What a probe is told and what it answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """One check of one VIP on one server.

    ``address`` is the probe address: what is sent there reaches ``vip`` on that server alone. ``port`` is 0 for kinds
    without ports. ``timeout`` is in seconds.
    """

    kind: str
    address: str
    vip: str
    port: int
    timeout: float


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``message`` says in words what was seen; ``duration`` is in seconds.

    ``sent`` is False when nothing could leave the director (no route, no permission): that says nothing about the
    server, so it fails a reversed monitor too.
    """

    success: bool
    message: str
    duration: float
    sent: bool = True
