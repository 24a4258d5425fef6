"""The DSR triangle of a virtual server as a drawing: boxes and lines in SVG user units, 1 of them a CSS pixel. Pure.

Requests go from the client through the director to the servers; replies leave the servers on the other side and go
round the director. There are two layouts of the same nodes: side by side, and stacked for narrow screens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from webui.choices import STATE_ORDER, State

MOST_SINGLE = 12  # beyond so many services those of one state are drawn as one box
FEWEST_GROUPED = 3

# Services that get clients, and so answer them
SERVING = frozenset({State.UP, State.FAIL_OPEN, State.GOING_OUT})


@dataclass(frozen=True, slots=True)
class Node:
    """One service, or several of one state (``keys`` are their rows). ``lines`` are small text beneath the name.

    ``weight`` is the share of new clients; of a group that of all its services.
    """

    keys: tuple[str, ...]
    name: str
    url: str
    state: str
    lines: tuple[str, ...]
    weight: int
    packets_per_second: float | None = None
    bits_per_second: float | None = None

    @property
    def serves(self) -> bool:
        """Whether clients are sent there."""
        return self.state in SERVING


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """X of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Y of the lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> int:
        """Y of the middle."""
        return self.y + self.height // 2


@dataclass(frozen=True, slots=True)
class Placed:
    """A node with its place, the line to it, the line from it and where its rates stand."""

    node: Node
    box: Box
    request: str
    reply: str
    rate_x: int
    rate_y: int
    shown: str  # the name, and the lines, cut to what fits
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing. Lines are values of SVG's attribute ``d``."""

    name: str
    width: int
    height: int
    client: Box
    director: Box
    placed: tuple[Placed, ...]
    request: str  # from the client to the director
    trunk: str  # from the director along the servers
    replies: str  # what all replies share, up to the client; empty while nobody answers
    rate_x: int  # of what comes in
    rate_y: int
    reply_x: int
    reply_y: int


def grouped(nodes: Sequence[Node], shown: Collection[str] = (), link: str = "?show=") -> list[Node]:
    """The worst states first; of many services those of one state are one node, unless ``shown`` names the state."""
    ordered = sorted(nodes, key=lambda node: (STATE_ORDER.get(State(node.state), 99), node.name))
    if len(ordered) <= MOST_SINGLE:
        return ordered
    numbers = Counter(node.state for node in ordered)
    found: list[Node] = []
    done: set[str] = set()
    for node in ordered:
        if node.state in shown or numbers[node.state] < FEWEST_GROUPED:
            found.append(node)
        elif node.state not in done:
            done.add(node.state)
            found.append(_group([one for one in ordered if one.state == node.state], link))
    return found


def _group(nodes: Sequence[Node], link: str) -> Node:
    state = nodes[0].state
    return Node(
        keys=tuple(key for node in nodes for key in node.keys),
        name=f"{len(nodes)} services",
        url=f"{link}{state.replace(' ', '+')}",
        state=state,
        lines=(f"{nodes[0].name} … {nodes[-1].name}", "open to see each"),
        weight=sum(node.weight for node in nodes),
        packets_per_second=_total([node.packets_per_second for node in nodes]),
        bits_per_second=_total([node.bits_per_second for node in nodes]),
    )


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def wide(nodes: Sequence[Node]) -> Layout:
    """Client at the left, director in the middle, servers at the right; replies round the bottom."""
    pitch, height = 100, 84
    director = Box(350, 24, 220, 100)
    client = Box(16, 200, 180, 76)
    servers = [Box(724, 24 + number * pitch, 280, height) for number in range(len(nodes))]
    bottom = max(client.bottom, director.bottom, *(box.bottom for box in servers), 0) + 36
    trunk, back = 606, 1036
    middle = client.x + client.width // 2
    placed = tuple(
        Placed(
            node,
            box,
            request=f"M{trunk} {box.middle}H{box.x - 3}",
            reply=f"M{box.right} {box.middle}H{back}",
            rate_x=trunk + 8,
            rate_y=box.middle - 8,
            shown=_cut(node.name, 34),
            lines=tuple(_cut(line, 40) for line in node.lines),
        )
        for node, box in zip(nodes, servers, strict=True)
    )
    ends = [director.middle, *(box.middle for box in servers)]
    answering = [box.middle for node, box in zip(nodes, servers, strict=True) if node.serves]
    return Layout(
        "wide",
        1056,
        bottom + 28,
        client,
        director,
        placed,
        request=f"M{middle} {client.y}V{director.middle}H{director.x - 3}",
        trunk=f"M{director.right} {director.middle}H{trunk}M{trunk} {min(ends)}V{max(ends)}",
        replies=f"M{back} {min(answering)}V{bottom}H{middle}V{client.bottom + 3}" if answering else "",
        rate_x=middle + 10,
        rate_y=director.middle - 10,
        reply_x=director.right,
        reply_y=bottom - 10,
    )


def stacked(nodes: Sequence[Node]) -> Layout:
    """Client, director and servers below each other; replies go up at the right."""
    pitch, height = 138, 122
    client, director = Box(12, 12, 216, 62), Box(12, 144, 250, 100)
    servers = [Box(56, director.bottom + 36 + number * pitch, 222, height) for number in range(len(nodes))]
    trunk, back = 30, 304
    placed = tuple(
        Placed(
            node,
            box,
            request=f"M{trunk} {box.middle}H{box.x - 3}",
            reply=f"M{box.right} {box.middle}H{back}",
            rate_x=box.x + 12,
            rate_y=box.y + 94,
            shown=_cut(node.name, 25),
            lines=tuple(_cut(line, 29) for line in node.lines),
        )
        for node, box in zip(nodes, servers, strict=True)
    )
    last = max((box.middle for box in servers), default=director.bottom)
    answering = [box.middle for node, box in zip(nodes, servers, strict=True) if node.serves]
    return Layout(
        "stacked",
        316,
        max((box.bottom for box in servers), default=director.bottom) + 16,
        client,
        director,
        placed,
        request=f"M{trunk} {client.bottom}V{director.y - 3}",
        trunk=f"M{trunk} {director.bottom}V{last}",
        replies=f"M{back} {max(answering)}V{client.middle}H{client.right + 3}" if answering else "",
        rate_x=trunk + 10,
        rate_y=client.bottom + 28,
        reply_x=back - 8,
        reply_y=client.bottom + 62,
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
