"""Service groups of an imported file, as the services that they stand for.

There are no groups here. What a file says of one is said of a service for each member instead, in whatever order the
lines come: ``<group>_<server>_<port>`` has the group's options, its monitors, and its virtual servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from webui.nscli.context import Context, Entry
from webui.nscli.errors import CliError
from webui.nscli.grammar import Argument, Command, Option, Parsed
from webui.nscli.lexer import Word, line_of
from webui.nscli.options import SERVICE, SERVICE_TYPES, STATES, more

NO_GROUPS: Final = (
    "There are no service groups here: add a service for each member and bind it. In an imported file they are "
    "expanded so"
)
_GROUP: Final = "serviceGroup"
_OF_MEMBER: Final = ("state", "hashid")  # options of a member that its service has
_MEMBER: Final = (
    Option("monitorName", "monitor"),
    Option("monState", choices=STATES),
    Option("weight"),
    Option("state", choices=STATES),
    Option("hashId"),
    Option("passive", least=0, most=0),
    Option("CustomServerID"),
    Option("serverID"),
    Option("order"),
    Option("devno"),
)


@dataclass
class Group:
    """What is known of a group so far; options as words."""

    service_type: str
    options: dict[str, tuple[str, ...]]
    members: dict[str, str] = field(default_factory=dict)  # service: weight, or nothing
    monitors: list[list[Word]] = field(default_factory=list)  # what follows “bind service <name>”
    vservers: list[str] = field(default_factory=list)


class Groups:
    """Groups of one file, by name in lower case."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._undo: list[Callable[[], object]] = []

    def undo(self) -> None:
        """Forget what the last line told: the lines that it stands for were refused."""
        while self._undo:
            self._undo.pop()()

    def expand(self, parsed: Parsed) -> list[str] | None:
        """Lines to run instead of one about a group, None for one about anything else. Raises CliError."""
        self._undo.clear()
        words = [word.lower() for word in parsed.command.words]
        if words[-1] == _GROUP.lower():
            return list(self._of_group(words[0], parsed))
        if words[-1] == "vserver" and words[0] in {"bind", "unbind"}:
            group = self._groups.get(parsed.one("serviceName").lower())
            return None if group is None else list(self._of_vserver(words[0], parsed.one("name"), group))
        return None

    def _of_group(self, verb: str, parsed: Parsed) -> Iterator[str]:
        name = parsed.one("name")
        if verb == "add":
            if name.lower() in self._groups:
                raise CliError(f"Resource already exists [serviceGroupName, {name}]")
            self._groups[name.lower()] = Group(parsed.one("serviceType"), dict(parsed.options))
            return
        group = self._groups.get(name.lower())
        if group is None:
            raise CliError(f"No such resource: service group “{name}” was not added in this file")
        if verb == "bind":
            yield from self._bind(name, group, parsed)
        elif verb == "set":
            group.options |= parsed.options
            for service in group.members:
                yield _line("set service", service, _options(parsed.options))
        elif verb in {"enable", "disable"}:
            yield from self._switch(verb, name, group, parsed)
        else:
            raise CliError(f"{verb} serviceGroup is not expanded; {NO_GROUPS}")

    def _bind(self, name: str, group: Group, parsed: Parsed) -> Iterator[str]:
        if parsed.has("monitorname"):
            rest = [Word("-monitorName"), Word(parsed.value("monitorname"), bare=False)]
            for option, key in (("-monState", "monstate"), ("-weight", "weight")):
                if parsed.has(key):
                    rest += [Word(option), Word(parsed.value(key), bare=False)]
            rest += [Word("-passive")] if parsed.has("passive") else []
            group.monitors.append(rest)
            self._undo.append(group.monitors.pop)
            yield from (_line("bind service", service, rest) for service in group.members)
            return
        server, port = parsed.one("serverName"), parsed.one("port")
        if not port:
            raise CliError("Required argument missing [port]")
        service = _name(name, server, port)
        if service in group.members:
            raise CliError(f"Resource already exists [serviceGroupName, {name}]: {server} {port}")
        group.members[service] = parsed.value("weight")
        self._undo.append(partial(group.members.pop, service))
        options = group.options | {key: parsed.options[key] for key in _OF_MEMBER if parsed.has(key)}
        place = [Word(text, bare=False) for text in (server, group.service_type, port)]
        yield _line("add service", service, [*place, *_options(options)])
        yield from (_line("bind service", service, rest) for rest in group.monitors)
        yield from (_bound(vserver, service, group.members[service]) for vserver in group.vservers)

    def _switch(self, verb: str, name: str, group: Group, parsed: Parsed) -> Iterator[str]:
        server, port = parsed.one("serverName"), parsed.one("port")
        chosen = [_name(name, server, port)] if server else list(group.members)
        if server and chosen[0] not in group.members:
            raise CliError(f"No such resource: service group “{name}” has no member {server} {port}")
        yield from (_line(f"{verb} service", service, []) for service in chosen)

    def _of_vserver(self, verb: str, vserver: str, group: Group) -> Iterator[str]:
        if verb == "unbind":
            raise CliError(f"unbind of a service group is not expanded; {NO_GROUPS}")
        group.vservers.append(vserver)
        self._undo.append(group.vservers.pop)
        yield from (_bound(vserver, service, weight) for service, weight in group.members.items())


def _name(group: str, server: str, port: str) -> str:
    return f"{group}_{server}_{'any' if port == '*' else port}"


def _bound(vserver: str, service: str, weight: str) -> str:
    rest = [Word(service, bare=False)]
    return _line("bind lb vserver", vserver, [*rest, *([Word("-weight"), Word(weight, bare=False)] if weight else [])])


def _options(options: Mapping[str, tuple[str, ...]]) -> list[Word]:
    found: list[Word] = []
    for key, values in options.items():
        found += [Word(f"-{key}"), *(Word(text, bare=False) for text in values)]
    return found


def _line(verb: str, name: str, rest: Iterable[Word]) -> str:
    return line_of([*(Word(word) for word in verb.split()), Word(name, bare=False), *rest])


def entries() -> Iterator[Entry]:
    """The commands, each of which is refused but in an imported file."""
    name = Argument("name")
    member = (Argument("serverName", required=False, offers="server"), Argument("port", required=False))
    shapes: tuple[tuple[str, tuple[Argument, ...], tuple[Option, ...]], ...] = (
        ("add", (name, Argument("serviceType", choices=SERVICE_TYPES)), SERVICE),
        ("set", (name, *member), SERVICE),
        ("bind", (name, *member), _MEMBER),
        ("unbind", (name, *member), _MEMBER),
        ("enable", (name, *member), ()),
        ("disable", (name, *member), (Option("delay"), Option("graceFul"))),
        ("rm", (name,), ()),
        ("rename", (name, Argument("newName")), ()),
        ("show", (Argument("name", required=False),), ()),
        ("stat", (Argument("name", required=False),), ()),
    )
    for verb, arguments, options in shapes:
        options_of = partial(more, "service") if verb in {"add", "set"} else None
        configures = verb not in {"show", "stat"}
        command = Command(
            (verb, _GROUP), arguments, options, options_of, configures=configures, about="In imported files alone."
        )
        yield Entry(command, _refuse)


def _refuse(_context: Context, _parsed: Parsed) -> None:
    raise CliError(NO_GROUPS)
