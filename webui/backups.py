"""Which vservers stand in for which; pure.

A backup's services take the packets that were sent to the primary's VIP, so each of their servers carries that VIP, and
is checked at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def chain(vserver: int, backup_of: Mapping[int, int | None]) -> Iterator[int]:
    """Row ids of the vserver's backup, that one's backup, and so on; each once, whatever the rows say."""
    seen = {vserver}
    found = backup_of.get(vserver)
    while found is not None and found not in seen:
        seen.add(found)
        yield found
        found = backup_of.get(found)


def primaries(backup_of: Mapping[int, int | None]) -> dict[int, list[int]]:
    """For each vserver those that have it in their chain."""
    found: dict[int, list[int]] = {}
    for vserver in backup_of:
        for backup in chain(vserver, backup_of):
            found.setdefault(backup, []).append(vserver)
    return found
