"""What may come next on a line; pure but for what names the objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from webui.nscli.errors import CliError
from webui.nscli.grammar import UNITS, Argument, Command, Commands, Option
from webui.nscli.lexer import Word, quoted, words

Names = Callable[[str], Iterable[str]]  # a kind of object → its names
More = Callable[[str, str], Iterable[Option]]  # a kind of object and its type → options of that type
MOST: Final = 200
_NAMED_BY_OPTION: Final = {"backup_vserver": "vserver", "monitor": "monitor"}
_ENTITY: Final = {"monitor": "monitor", "eventtarget": "eventtarget"}


@dataclass(frozen=True, slots=True)
class Completion:
    """``text`` takes the place of the last ``length`` characters of the line; ``about`` says what it is."""

    text: str
    length: int
    about: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What completion offers: commands, names of objects, and options of their types."""

    commands: Commands
    names: Names
    more: More = lambda _kind, _type: ()


def complete(line: str, source: Source) -> list[Completion]:
    """Ways to go on after ``line``; of a quotation that is not finished, names alone."""
    try:
        found = words(line)
    except CliError:
        return _unfinished(line, source)
    partial = found.pop() if found and line[-1:] not in {" ", "\t"} else Word("")
    if not partial.bare:
        return []
    return _offered(found, partial.text, len(partial.text), source)


def _unfinished(line: str, source: Source) -> list[Completion]:
    """Within a quotation: names that have spaces."""
    start = line.rfind('"')
    if start <= 0:
        return []
    try:
        found = words(line[:start])
    except CliError:
        return []
    return _offered(found, line[start + 1 :], len(line) - start, source)


def _offered(found: list[Word], partial: str, length: int, source: Source) -> list[Completion]:
    try:
        command, used = source.commands.find(found)
    except CliError:
        return _words(found, partial, length, source.commands)
    if not used or (len(found) == used and partial and _words(found, partial, length, source.commands)):
        return _words(found, partial, length, source.commands)
    options, values = _arguments(command, found[used:], source, option=partial.startswith("-"))
    low = partial.lower()
    matching = [(text, about) for text, about in (*values, *options) if text.lower().startswith(low)]
    return [Completion(text if text[0] == "-" else quoted(text), length, about) for text, about in matching[:MOST]]


def _words(found: list[Word], partial: str, length: int, commands: Commands) -> list[Completion]:
    key: tuple[str, ...] = ()
    for word in found:
        nexts = {one.lower() for one in commands.following(key)}
        text = word.text.lower()
        fitting = [text] if text in nexts else sorted(one for one in nexts if one.startswith(text))
        if len(fitting) != 1:
            return []
        key = (*key, fitting[0])
    return [Completion(one, length) for one in commands.following(key) if one.lower().startswith(partial.lower())][
        :MOST
    ]


Offer = tuple[str, str]


def _arguments(command: Command, given: list[Word], source: Source, *, option: bool) -> tuple[list[Offer], list[Offer]]:
    """Options that may follow, and values that may."""
    positional: list[str] = []
    used: set[str] = set()
    under: Option | None = None
    taken = 0
    typed = list(_of_type(command, given, source.more))
    by_key = command.by_key | {one.key: one for one in typed}
    for word in given:
        if word.option:
            under, taken = by_key.get(word.option) or command.option(word.option), 0
            used.add(word.option)
        elif under is not None and not command.unset and taken < under.most + (1 if under.unit else 0):
            taken += 1
        else:
            under = None
            positional.append(word.text)
    if under is not None and not command.unset and taken < under.least:
        return [], [(text, under.about) for text in _values_of(under, source.names)]
    values: list[Offer] = []
    if under is not None and under.unit and taken == 1:
        values += [(unit, "") for unit in UNITS]
    argument = _next(command, len(positional))
    if argument is not None and not option:
        values += [(text, argument.name) for text in (argument.choices or tuple(source.names(argument.offers)))]
    free = [one for one in by_key.values() if one.key not in used]
    return sorted((f"-{one.name}", one.about) for one in free), values


def _of_type(command: Command, given: list[Word], more: More) -> Iterable[Option]:
    """Parameters of the type that the line names."""
    kind = _ENTITY.get(command.words[-1].lower())
    if kind is None or command.more is None:
        return ()
    place = next((index for index, one in enumerate(command.arguments) if one.name == "type"), -1)
    positional = [word.text for word in given[: place + 1] if not word.option]
    return more(kind, positional[place].upper()) if 0 <= place < len(positional) else ()


def _values_of(option: Option, names: Names) -> Iterable[str]:
    return option.choices or tuple(names(_NAMED_BY_OPTION.get(option.field, "")))


def _next(command: Command, position: int) -> Argument | None:
    if position < len(command.arguments):
        return command.arguments[position]
    return command.arguments[-1] if command.arguments and command.arguments[-1].many else None
