"""Start-up checks: a stable id and a hint that says what to change."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register()
def probe_networks_have_their_family(**_kwargs: Any) -> list[CheckMessage]:
    """HALFPIPE_PROBE_NETWORK is IPv4, HALFPIPE_PROBE_NETWORK6 is IPv6."""
    found: list[CheckMessage] = []
    for name, network, version in (
        ("HALFPIPE_PROBE_NETWORK", settings.PROBE_NETWORK, 4),
        ("HALFPIPE_PROBE_NETWORK6", settings.PROBE_NETWORK6, 6),
    ):
        if network.version != version:
            hint = f"Set {name} to an IPv{version} network that is used nowhere else."
            found.append(Error(f"{name}={network} is not IPv{version}.", hint=hint, id="halfpipe.E001"))
    return found


@register(deploy=True)
def debug_is_off(**_kwargs: Any) -> list[CheckMessage]:
    """HALFPIPE_DEBUG shows configuration to whoever sees an error page."""
    if settings.DEBUG:
        return [Warning("HALFPIPE_DEBUG is on.", hint="Unset HALFPIPE_DEBUG.", id="halfpipe.W001")]
    return []
