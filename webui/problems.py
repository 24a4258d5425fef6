"""What an operator must look at, worst first. Pure: works on the rows that pages show."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from webui.choices import STATE_ORDER, State
from webui.payloads import DirectorRow, ProblemRow, ServerRow, ServiceRow, VServerRow


def problems(
    vservers: list[VServerRow],
    services: list[ServiceRow],
    servers: list[ServerRow],
    directors: list[DirectorRow],
    *,
    spare: Collection[str],
) -> list[ProblemRow]:
    """Everything that is not as it should be; ``spare`` are keys of services bound to no virtual server."""
    found = _director_problems(directors, wanted=bool(vservers))
    found += [
        _problem(
            f"vserver-{row['key']}", row["state"], f"virtual server {row['name']}", row["url"], row["state_reason"]
        )
        for row in vservers
        if row["state"] in {State.DOWN, State.UNKNOWN}
    ]
    found += [
        _problem(f"service-{row['key']}", row["state"], f"service {row['name']}", row["url"], row["state_reason"])
        for row in services
        if row["state"] in {State.DOWN, State.UNKNOWN, State.FAIL_OPEN, State.DOWN_GOING_OUT}
        and row["key"] not in spare
    ]
    found += [
        _problem(f"server-{row['key']}", State.DOWN, f"server {row['name']}", row["url"], f"no path, {row['path']}")
        for row in servers
        if row["eligible"] == "NO" and row["state"] == "ENABLED"
    ]
    return worst_first(found)


def worst_first(found: Iterable[ProblemRow]) -> list[ProblemRow]:
    """The problems by severity."""
    return sorted(found, key=lambda row: STATE_ORDER[row["severity"]])


def _director_problems(directors: list[DirectorRow], *, wanted: bool) -> list[ProblemRow]:
    if wanted and not directors:
        return [_problem("director-none", State.DOWN, "director", "", "none has reported yet: nothing is forwarded")]
    found = []
    for row in directors:
        what = f"director {row['director']}"
        if row["state"] in {"STALE", "ERROR"}:
            reason = row["state_reason"] + (f": {row['last_error']}" if row["last_error"] else "")
            found.append(_problem(f"director-{row['key']}", State.DOWN, what, "", reason))
        elif row["state"] == "APPLYING":
            found.append(_problem(f"director-{row['key']}", State.UNKNOWN, what, "", row["state_reason"]))
        if row["mode_refused"] and row["state"] != "STALE":
            text = f"the settings ask for XDP, which cannot be had: {row['mode_refused']}"
            found.append(_problem(f"director-{row['key']}-mode", State.UNKNOWN, what, "", text))
    return found


def _problem(key: str, severity: str, what: str, url: str, text: str) -> ProblemRow:
    return ProblemRow(key=key, severity=severity, what=what, url=url, text=text)
