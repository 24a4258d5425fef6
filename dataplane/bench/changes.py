"""A long row of random changes to a configuration that traffic uses meanwhile; the same row for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from socket import IPPROTO_TCP, IPPROTO_UDP

from dataplane.bench.configurations import HASH_KEY, PORT, server, server_mac, vip
from dataplane.bench.sandbox import EGRESS_IFINDEX
from dataplane.desired import Configuration, ServiceConfig, VServerConfig, VServerOptions
from dataplane.ports import Neighbour
from dataplane.tables import HashField, IPAddress

SERVERS = 6  # of each family
MOST_DOWN = 3
MOST_EXTRA = 8
USED_VIPS = 4  # of each family: where the traffic goes
_TAKEN_OVER = 1  # the VIP whose traffic passes between a vserver of TCP and one of any protocol
_FULL: dict[int, IPAddress] = {
    version: type(vip(0, version))(-1 % (1 << (32 if version == 4 else 128))) for version in (4, 6)
}
_FIELDS = (HashField.SOURCE, HashField.SOURCE | HashField.SOURCE_PORT, HashField.SOURCE | HashField.DESTINATION)


@dataclass(slots=True)
class Script:
    """The state after some :meth:`step`. Every used VIP always has a vserver with a service that can be reached."""

    random: random.Random
    done: int = 0
    down: dict[int, set[int]] = field(default_factory=lambda: {4: set(), 6: set()})
    weights: dict[tuple[int, int], int] = field(default_factory=dict)  # by row of the vserver and number of the server
    unbound: dict[int, int] = field(default_factory=dict)  # by row of the vserver: one server that it does without
    cards: dict[tuple[int, int], int] = field(default_factory=dict)  # of which make a server's network card is
    fields: dict[int, HashField] = field(default_factory=dict)
    options: dict[int, VServerOptions] = field(default_factory=dict)
    taken_over: set[int] = field(default_factory=set)  # families
    extra: dict[int, tuple[IPAddress, int, int]] = field(default_factory=dict)  # address, protocol, port by row
    next_row: int = 100

    def step(self) -> str:
        """Make one change; returns what kind it was. Each differs from what was before."""
        kinds = (self._weigh, self._toggle, self._bind, self._card, self._hash, self._remember, self._take, self._more)
        chosen = self.random.choice(kinds)
        chosen(self.random.choice((4, 6)))
        self.done += 1
        return chosen.__name__.strip("_")

    def configuration(self) -> Configuration:
        """All rows as they are now."""
        made = [self._used(version, number) for version in (4, 6) for number in range(USED_VIPS)]
        made += [
            self._vserver(_row(version, USED_VIPS), (vip(_TAKEN_OVER, version), IPPROTO_TCP, PORT))
            for version in sorted(self.taken_over)
        ]
        made += [self._vserver(row, key) for row, key in self.extra.items()]
        return Configuration(revision=self.done + 1, hash_key=HASH_KEY, vservers=tuple(made), probes=())

    def neighbours(self) -> dict[tuple[int, IPAddress], Neighbour]:
        """Every server answers, with the card that it has now."""
        found = {}
        for version in (4, 6):
            for number in range(SERVERS):
                address = server(number, version)
                mac = bytes([2, 0x5E + self.cards.get((version, number), 0)]) + server_mac(number)[2:]
                found[EGRESS_IFINDEX, address] = Neighbour(EGRESS_IFINDEX, address, mac, failed=False)
        return found

    def _used(self, version: int, number: int) -> VServerConfig:
        key = (vip(number, version), *((0, 0) if number == _TAKEN_OVER else (IPPROTO_TCP, PORT)))
        return self._vserver(_row(version, number), key)

    def _vserver(self, row: int, key: tuple[IPAddress, int, int]) -> VServerConfig:
        version = key[0].version
        services = tuple(
            self._service(row, version, number) for number in range(SERVERS) if self.unbound.get(row) != number
        )
        fields = self.fields.get(row, HashField.SOURCE)
        options = self.options.get(row, VServerOptions(sessions=row % 10 == 2))
        return VServerConfig(row, f"v{row}", *key, fields, _FULL[version], services, options)

    def _service(self, row: int, version: int, number: int) -> ServiceConfig:
        address = server(number, version)
        eligible = number not in self.down[version]
        return ServiceConfig(
            config_id=10 * version + number,
            name=f"s{address}",
            address=address,
            weight=self.weights.get((row, number), 1),
            hash_identity=f"{address} {PORT}",
            eligible=eligible,
            reason="" if eligible else "DOWN",
            flush=bool(number % 2),
        )

    def _any_row(self, version: int) -> int:
        return _row(version, self.random.randrange(USED_VIPS))

    def _weigh(self, version: int) -> None:
        row = self._any_row(version)
        key = row, self.random.choice(self._chosen(row, version))
        self.weights[key] = self.random.choice(
            [weight for weight in range(1, 101) if weight != self.weights.get(key, 1)]
        )

    def _chosen(self, row: int, version: int) -> list[int]:
        """Servers that clients of a vserver go to; at least two."""
        return [
            number for number in range(SERVERS) if number not in self.down[version] and self.unbound.get(row) != number
        ]

    def _toggle(self, version: int) -> None:
        down = self.down[version]
        rows = [_row(version, number) for number in range(USED_VIPS)]
        bound = [number for number in range(SERVERS) if any(self.unbound.get(row) != number for row in rows)]
        free = [number for number in bound if number in down or len(down) < MOST_DOWN]
        down ^= {self.random.choice(free)}

    def _bind(self, version: int) -> None:
        row = self._any_row(version)
        if row not in self.unbound:
            self.unbound[row] = self.random.choice(self._chosen(row, version))
        elif self.unbound[row] in self.down[version]:
            self._card(version)  # clients would notice nothing
        else:
            del self.unbound[row]

    def _card(self, version: int) -> None:
        key = version, self.random.randrange(SERVERS)
        self.cards[key] = 1 - self.cards.get(key, 0)

    def _hash(self, version: int) -> None:
        row = self._any_row(version)
        now = self.fields.get(row, HashField.SOURCE)
        self.fields[row] = self.random.choice([fields for fields in _FIELDS if fields != now])

    def _remember(self, version: int) -> None:
        row = self._any_row(version)
        now = self.options.get(row, VServerOptions(sessions=row % 10 == 2))
        self.options[row] = self.random.choice(
            [
                replace(now, sessions=not now.sessions),
                replace(now, rotate=not now.rotate),
                replace(now, persist_timeout=0 if now.persist_timeout else 60),
            ]
        )

    def _take(self, version: int) -> None:
        self.taken_over ^= {version}

    def _more(self, version: int) -> None:
        """A vserver that the traffic does not use, on a VIP of its own or beside the used ones, comes or goes."""
        if len(self.extra) == MOST_EXTRA or (self.extra and self.random.random() < 0.5):
            del self.extra[self.random.choice(sorted(self.extra))]
            return
        used = vip(self.random.randrange(USED_VIPS), version)
        free = [
            (vip(self.random.randrange(100, 200), version), IPPROTO_TCP, PORT),
            (used, IPPROTO_TCP, self.random.randrange(1000, 2000)),
            (used, IPPROTO_UDP, 0),
        ]
        chosen = self.random.choice([key for key in free if key not in self.extra.values()])
        self.extra[self.next_row] = chosen
        self.next_row += 1


def script(seed: int, done: int = 0) -> Script:
    """The state after ``done`` changes."""
    made = Script(random.Random(seed))  # noqa: S311 - nothing secret, and runs should be alike
    for _ in range(done):
        made.step()
    return made


def _row(version: int, number: int) -> int:
    return (10 if version == 6 else 0) + number + 1


def kinds(seed: int, number: int) -> Mapping[str, int]:
    """How many of the first ``number`` changes are of each kind."""
    made, found = script(seed), dict[str, int]()
    for _ in range(number):
        kind = made.step()
        found[kind] = found.get(kind, 0) + 1
    return found
