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
    "cli": ("nscli", ""),
    "cli-import": ("nscli", "import-and-export"),
    "explain": ("concepts", "which-server-and-why"),
    "new-service": ("howto", "put-a-service-behind-a-vip"),
    "verify": ("howto", "find-out-why-a-server-does-not-answer"),
    "triangle": ("concepts", "diagram"),
    "packet-path": ("concepts", "packet-path"),
    "flows": ("concepts", "live-flows-and-drops"),
    "disable-after": ("concepts", "taking-a-service-or-a-server-out-of-service"),
    "disable": ("console", "preview-before-apply"),
    "unbind-service": ("console", "preview-before-apply"),
    "unbind-monitor": ("console", "preview-before-apply"),
    "weights": ("console", "weights"),
    **dict.fromkeys(("edit-member", "disable-member", "unbind-member"), ("console", "service-groups")),
    **dict.fromkeys(("edit-group-monitor", "unbind-group-monitor", "unbind-group"), ("console", "service-groups")),
    "bulk": ("console", "changing-many-at-once"),
    "bulk-result": ("console", "changing-many-at-once"),
    "rename": ("console", "copies-and-names"),
    "bindings": ("console", "tabs-of-an-object"),
    "history": ("console", "tabs-of-an-object"),
    "object-audit": ("console", "tabs-of-an-object"),
    "statistics": ("metrics", ""),
    "director-statistics": ("metrics", ""),
    "probe": ("monitors", "probe-now"),
    "preview-service": ("monitors", "preview"),
    "preview-vserver": ("monitors", "preview"),
    "preview": ("monitors", "preview"),
    "users": ("access", "roles"),
    "user-add": ("access", "users"),
    "user": ("access", "users"),
    "user-delete": ("access", "users"),
    "account": ("access", "your-account"),
    "second-factor": ("access", "second-factor"),
    "login-second-factor": ("access", "second-factor"),
    "token-add": ("access", "api-tokens"),
    "recovery-codes": ("access", "second-factor"),
    "audit": ("audit", "review"),
    "audit-entry": ("audit", "review"),
    "audit-chain": ("audit", "the-chain"),
}
KINDS: dict[str, tuple[str, str]] = {
    "servers": ("concepts", "preparing-a-server"),
    "services": ("concepts", "states"),
    "servicegroups": ("console", "service-groups"),
    "vservers": ("concepts", "methods-sessions-persistence"),
    "monitors": ("monitors", ""),
    "eventtargets": ("events", ""),
}
# Pages that need none: the documentation itself, addresses that only take a POST, and fragments
WITHOUT = frozenset(
    {
        *("docs", "docs-page", "login", "logout", "healthz", "watch-flows", "send-test", "probe-result"),
        *("user-role", "user-password", "user-enable", "user-disable", "user-second-factor"),
        *("user-unlock", "user-sessions-end", "user-token-revoke", "account-password", "second-factor-remove"),
        *("token-revoke", "session-end", "sessions-end"),
        *("metrics", "export", "statistics-json", "director-statistics-json", "audit-export"),
        *("cli-complete", "cli-export"),
        *("validate", "validate-object", "validate-new"),
        *("bind-monitor", "bind-service", "set-weight", "enable"),
        *("bind-group", "bind-members", "bind-group-monitor", "bind-group-vserver", "enable-member"),
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
