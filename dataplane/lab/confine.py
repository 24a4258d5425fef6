"""Command lines that put a process in its place: namespace, privileges, and an end with its parent.

All steps exec one another, so the process keeps the pid it was started with.
"""

from __future__ import annotations

from pathlib import Path

from dataplane.lab.netns import NETNS_DIR
from dataplane.lab.paths import UNPRIVILEGED

# In a mount namespace of its own, show the checkout at a path that everyone may reach: it may itself lie below a
# directory like /root, mode 0700. Slave, not private: the host's unmounts (bpffs, namespaces) arrive here too.
_SHOW = 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"'


def confined(
    argv: tuple[str, ...],
    *,
    namespace: str | None = None,
    show: tuple[Path, Path] | None = None,
    unprivileged: bool = False,
) -> tuple[str, ...]:
    """Return ``argv`` behind the programs that confine it.

    ``namespace`` is a network namespace by name (None: the host's); the mount namespace stays, unlike with
    `ip netns exec`, so mounts are seen. ``show`` binds its first path to its second, for this process alone, and
    starts there. ``unprivileged``: nobody, without any capability and without a way to gain one.
    """
    setpriv = ["setpriv", "--pdeathsig", "KILL"]  # a lab that is killed takes its processes along
    if unprivileged:
        who = str(UNPRIVILEGED)
        setpriv += ["--reuid", who, "--regid", who, "--clear-groups"]
        setpriv += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    command = (*setpriv, "--", *argv)
    if show is not None:
        mount = ("unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", _SHOW, "sh")
        command = (*mount, str(show[0]), str(show[1]), *command)
    if namespace is not None:
        command = ("nsenter", f"--net={NETNS_DIR / namespace}", "--", *command)
    return command
