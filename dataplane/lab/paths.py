"""Where the lab keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED = 65534  # uid and gid of nobody:nogroup, which own nothing on the machine


@dataclass(frozen=True, slots=True)
class Paths:
    """``run`` vanishes with the lab; ``state``, in the checkout, is kept between runs."""

    checkout: Path
    run: Path = Path("/run/halfpipe-lab")

    @property
    def state(self) -> Path:
        """Directory of everything that is kept: owned by root."""
        return self.checkout / ".lab"

    @property
    def logs(self) -> Path:
        """One log file for each process: owned by root, the processes only append."""
        return self.state / "logs"

    @property
    def data(self) -> Path:
        """What the unprivileged processes write: database, keys, schedule. Root follows no link in there."""
        return self.state / "data"

    @property
    def kept(self) -> Path:
        """What the dataplane keeps until the database has it: made by it, owned by root, for nobody else."""
        return self.state / "state"

    @property
    def password_file(self) -> Path:
        """The generated password of the user admin."""
        return self.data / "admin-password"

    @property
    def app(self) -> Path:
        """Where the unprivileged processes see the checkout; an empty directory for everyone else."""
        return self.run / "app"

    @property
    def bpf(self) -> Path:
        """Mount point of a bpffs of our own: its pins go with it."""
        return self.run / "bpf"

    @property
    def redis(self) -> Path:
        """Directory of the Redis socket."""
        return self.run / "redis"

    @property
    def redis_socket(self) -> Path:
        """Unix socket of the private Redis."""
        return self.redis / "redis.sock"

    @property
    def files(self) -> Path:
        """What the HTTP and TFTP servers serve."""
        return self.run / "files"

    @property
    def lock(self) -> Path:
        """Locked with flock(2) while a lab runs."""
        return self.run / "lock"

    @property
    def record(self) -> Path:
        """Who runs, from where, and all it has made: the next start repairs by it."""
        return self.run / "record.json"

    def seen_by_processes(self, path: Path) -> Path:
        """Return the path under ``app`` of a file in the checkout."""
        return self.app / path.relative_to(self.checkout)
