"""Commands as data, and from words to a command with its arguments; pure.

Words of a command may be cut short as long as they stay unambiguous (``sh ver``); names of options may not, since a
saved configuration names options that are not known here. Case does not matter in either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from webui.nscli.errors import CliError
from webui.nscli.lexer import Word, line_of

UNITS: Final = ("SEC", "MSEC", "MIN")
MOST_ARGUMENTS: Final = 256
# After the value of a secret option: the value is sealed. It stands behind the value in what was parsed, too.
ENCRYPTED: Final = "encrypted"


@dataclass(frozen=True, slots=True)
class Option:
    """An option. ``least`` and ``most`` count its values; ``choices`` are offered, and checked where it is used.

    ``field`` is what it sets. ``secret``: its value is shown nowhere. ``about`` is one line of help.
    """

    name: str
    field: str = ""
    least: int = 1
    most: int = 1
    choices: tuple[str, ...] = ()
    unit: bool = False
    secret: bool = False
    about: str = ""

    @property
    def key(self) -> str:
        """Its name without case."""
        return self.name.lower()

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.most == 0


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument by position. ``offers`` names what completion offers: a kind of object, or nothing."""

    name: str
    required: bool = True
    many: bool = False
    offers: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """A command: its words, arguments and options. ``more`` finds options that depend on nothing but the name.

    ``unset``: options stand without values. ``configures``: it is part of a saved configuration.
    """

    words: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    more: Callable[[str], Option | None] | None = None
    unset: bool = False
    configures: bool = False
    about: str = ""

    @cached_property
    def by_key(self) -> dict[str, Option]:
        """Options by name in lower case."""
        return {one.key: one for one in self.options}

    def option(self, key: str) -> Option | None:
        """The option of a name in lower case."""
        found = self.by_key.get(key)
        return self.more(key) if found is None and self.more is not None else found

    @property
    def usage(self) -> str:
        """One line: words and arguments in NetScaler's notation."""
        parts = [*self.words]
        for one in self.arguments:
            text = f"<{one.name}>{' ...' if one.many else ''}"
            parts.append(text if one.required else f"[{text}]")
        parts += [f"[-{one.name}]" if one.is_flag or self.unset else f"[-{one.name} <value>]" for one in self.options]
        return " ".join(parts)


@dataclass(frozen=True)
class Parsed:
    """A command with its arguments by name, and the values of its options by name in lower case, as they came."""

    command: Command
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def one(self, name: str) -> str:
        """The value of an argument; empty when it was not given."""
        return self.arguments.get(name, ("",))[0]

    def all(self, name: str) -> tuple[str, ...]:
        """The values of a repeated argument."""
        return self.arguments.get(name, ())

    def has(self, key: str) -> bool:
        """Whether an option was given."""
        return key in self.options

    def value(self, key: str, default: str = "") -> str:
        """The values of an option with spaces between; the default when it was not given."""
        return " ".join(self.options[key]) if key in self.options else default


class Commands:
    """All commands, found by their words."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.all: dict[tuple[str, ...], Command] = {}
        self._next: dict[tuple[str, ...], dict[str, str]] = {(): {}}
        for command in commands:
            key = tuple(word.lower() for word in command.words)
            if key in self.all:
                raise ValueError(f"There are two commands {' '.join(command.words)}.")
            self.all[key] = command
            for depth, word in enumerate(command.words):
                self._next.setdefault(key[:depth], {})[word.lower()] = word
                self._next.setdefault(key[: depth + 1], {})

    def following(self, key: tuple[str, ...]) -> list[str]:
        """Words that may come next, as they are written."""
        return sorted(self._next.get(key, {}).values(), key=str.lower)

    def find(self, words: Sequence[Word]) -> tuple[Command, int]:
        """The command that the words begin with, and how many they are. Raises CliError."""
        key: tuple[str, ...] = ()
        for index, word in enumerate(words):
            nexts = self._next[key]
            if not nexts:
                break
            chosen = self._chosen(key, word, nexts)
            if chosen is None:
                if key in self.all:
                    break
                known = ", ".join(self.following(key))
                raise CliError(f"No such command [{' '.join(one.text for one in words[: index + 1])}]; known: {known}")
            key = (*key, chosen)
        if key not in self.all:
            raise CliError(f"Incomplete command [{' '.join(key)}]; it goes on with {', '.join(self.following(key))}")
        return self.all[key], len(key)

    def _chosen(self, key: tuple[str, ...], word: Word, nexts: Mapping[str, str]) -> str | None:
        text = word.text.lower()
        if not word.bare or not text:
            return None
        if text in nexts:
            return text
        found = sorted(one for one in nexts if one.startswith(text))
        if len(found) > 1 and key not in self.all:
            raise CliError(f"Ambiguous command [{word.text}]: {', '.join(nexts[one] for one in found)}")
        return found[0] if len(found) == 1 and key not in self.all else None

    def parse(self, words: Sequence[Word]) -> Parsed:
        """A command with its arguments. Raises CliError."""
        command, used = self.find(words)
        return arguments_of(command, words[used:])


def arguments_of(command: Command, words: Sequence[Word]) -> Parsed:
    """The arguments of a command whose own words were taken away. Raises CliError."""
    given: list[str] = []
    options: dict[str, tuple[str, ...]] = {}
    at = 0
    while at < len(words):
        if not words[at].option:
            given.append(words[at].text)
            at += 1
            continue
        option = command.option(words[at].option)
        if option is None:
            raise CliError(f"No such argument [{words[at].text}]")
        if option.key in options:
            raise CliError(f"Argument given twice [-{option.name}]")
        values = () if command.unset else _values(option, words[at + 1 :])
        options[option.key] = values
        at += 1 + len(values)
    return Parsed(command, _by_position(command, given), options)


def _values(option: Option, words: Sequence[Word]) -> tuple[str, ...]:
    most = option.most + (1 if option.unit else 0)
    found: list[str] = []
    for word in words:
        if word.option or len(found) == most:
            break
        if option.unit and found and word.text.upper() not in UNITS:
            break
        found.append(word.text)
    if len(found) < option.least:
        raise CliError(f"Expecting a value for [-{option.name}]")
    if option.secret and [word.option for word in words[len(found) : len(found) + 1]] == [ENCRYPTED]:
        found.append(ENCRYPTED)
    return tuple(found)


def _by_position(command: Command, given: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    rest = list(given)
    if len(given) > MOST_ARGUMENTS:
        raise CliError(f"{len(given)} arguments are more than {MOST_ARGUMENTS}")
    for argument in command.arguments:
        if argument.required and not rest:
            raise CliError(f"Required argument missing [{argument.name}]; usage: {' '.join(_short_usage(command))}")
        if rest:
            taken = len(rest) if argument.many else 1
            found[argument.name] = tuple(rest[:taken])
            del rest[:taken]
    if rest:
        raise CliError(f"Too many arguments [{rest[0]}]; usage: {' '.join(_short_usage(command))}")
    return found


def _short_usage(command: Command) -> list[str]:
    return [*command.words, *(f"<{one.name}>" if one.required else f"[<{one.name}>]" for one in command.arguments)]


def as_line(parsed: Parsed) -> str:
    """A line that means the same: parsing it gives the command back."""
    parts = [Word(word) for word in parsed.command.words]
    for argument in parsed.command.arguments:
        parts += [Word(text, bare=False) for text in parsed.arguments.get(argument.name, ())]
    for key, values in parsed.options.items():
        option = parsed.command.option(key)
        parts.append(Word(f"-{option.name if option else key}"))
        marked = option is not None and option.secret and len(values) > 1
        parts += [Word(text, bare=False) for text in (values[:1] if marked else values)]
        parts += [Word(f"-{ENCRYPTED}")] if marked else []
    return line_of(parts)
