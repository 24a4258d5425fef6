"""Where the documentation tells of a page: (document, anchor) by the name of the page's address, and by kind."""

from __future__ import annotations

from django.urls import ResolverMatch, reverse

SECTIONS: dict[str, tuple[str, str]] = {
    "dashboard": ("concepts", "states"),
    "api-docs": ("api", ""),
    "revisions": ("revisions", ""),
    "compare-revisions": ("revisions", "comparing"),
    "rollback": ("revisions", "rolling-back"),
    "settings": ("concepts", "forwarding-by-tc-or-xdp"),
    "explain": ("concepts", "which-server-and-why"),
    "triangle": ("concepts", "diagram"),
    "packet-path": ("concepts", "packet-path"),
    "flows": ("concepts", "live-flows-and-drops"),
    "disable-after": ("concepts", "taking-a-service-or-a-server-out-of-service"),
    "bulk": ("console", "changing-many-at-once"),
    "bulk-result": ("console", "changing-many-at-once"),
    "rename": ("console", "copies-and-names"),
    "statistics": ("metrics", ""),
    "director-statistics": ("metrics", ""),
    "probe": ("monitors", "probe-now"),
    "preview-service": ("monitors", "preview"),
    "preview-vserver": ("monitors", "preview"),
    "preview": ("monitors", "preview"),
    "audit": ("audit", "review"),
    "audit-entry": ("audit", "review"),
    "audit-chain": ("audit", "the-chain"),
}
KINDS: dict[str, tuple[str, str]] = {
    "servers": ("concepts", "preparing-a-server"),
    "services": ("concepts", "states"),
    "vservers": ("concepts", "methods-sessions-persistence"),
    "monitors": ("monitors", ""),
    "eventtargets": ("events", ""),
}
# Pages that need none: the documentation itself, addresses that only take a POST, and fragments
WITHOUT = frozenset(
    {
        *("docs", "docs-page", "login", "logout", "healthz", "watch-flows", "send-test", "probe-result"),
        *("metrics", "export", "statistics-json", "director-statistics-json", "audit-export"),
        *("bind-monitor", "unbind-monitor", "bind-service", "set-weight", "unbind-service", "enable", "disable"),
        *("save-configuration", "begin-trial", "confirm-trial", "end-trial"),
    }
)


def section(match: ResolverMatch | None) -> tuple[str, str] | None:
    """Document and anchor for a page; None where there is none."""
    if match is None or match.url_name in WITHOUT:
        return None
    if match.url_name in SECTIONS:
        return SECTIONS[match.url_name]
    return KINDS.get(str(match.kwargs.get("kind", "")))


def url(match: ResolverMatch | None) -> str:
    """Address of a page's section; of the whole documentation where there is none."""
    found = section(match)
    if found is None:
        return reverse("docs")
    name, anchor = found
    return reverse("docs-page", args=[name]) + (f"#{anchor}" if anchor else "")
