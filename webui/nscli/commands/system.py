"""Commands about the configuration as a whole, about the session and about the product."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from webui.actions import clearing
from webui.models import ConfigurationRevision
from webui.nscli import saved
from webui.nscli.commands.naming import spellings
from webui.nscli.context import Context, Entry, Handler
from webui.nscli.errors import CliError
from webui.nscli.export import comparable, configuration, document
from webui.nscli.grammar import Argument, Command, Option, Parsed
from webui.nscli.layout import stamp, table
from webui.nscli.lexer import logical_lines
from webui.revisions import standing

FEATURES: Final = {"lb": "LB", "loadbalancing": "LB"}
MODES: Final = {"mbf": "MBF", "macbasedforwarding": "MBF", "usip": "USIP", "usesourceip": "USIP"}
_WORDS: Final = {
    "LB": ("Load Balancing", "it is what Halfpipe does"),
    "MBF": ("MAC-based forwarding", "frames go to servers by their MAC addresses"),
    "USIP": ("Use Source IP", "packets keep the client's address"),
}
LEVELS: Final = ("basic", "extended", "full")  # NetScaler's; all that they leave or take differently is not there here
ASKED: Final = "Are you sure you want to clear the configuration (Y/N)? [N]: "
MOST_NESTED: Final = 8  # files that run files
LONGEST_FILE: Final = 32 * 1024 * 1024  # bytes
_PATH: Final = Option("fileName", about="File of commands.")


def entries() -> Iterator[Entry]:
    """All of them."""
    for verb in ("enable", "disable"):
        for noun, handler in (("feature", _switch(verb, FEATURES)), ("mode", _switch(verb, MODES))):
            for words in spellings((verb, "ns", noun)):
                known = tuple(dict.fromkeys((FEATURES if noun == "feature" else MODES).values()))
                argument = Argument(noun, many=True, choices=known)
                yield Entry(Command(words, (argument,), configures=True, about=f"A {noun} of NetScaler's."), handler)
    simple = (
        (("show", "ns", "feature"), _features, "Load balancing is always on."),
        (("show", "ns", "mode"), _modes, "MAC-based forwarding and use source IP are always on."),
        (("save", "ns", "config"), _save, "Keep the running configuration as the saved one."),
        (("show", "ns", "config"), _config, "When the configuration was changed and saved."),
        (("show", "ns", "savedConfig"), _saved_config, "The saved configuration as commands."),
        (("show", "ns", "ns.conf"), _saved_config, "The saved configuration as commands."),
        (("show", "ns", "version"), _version, "Which version this is."),
        (("whoami",), _whoami, "Who runs these commands."),
        (("history",), _history, "Lines of this session; those with secrets are not kept."),
        (("exit",), _exit, "End the session."),
        (("quit",), _exit, "End the session."),
    )
    for words, handler, about in simple:
        for spelling in spellings(words):
            yield Entry(Command(spelling, about=about), handler)
    level = Argument("level", choices=LEVELS)
    force = Option("force", most=0, least=0, about="Without asking.")
    for words in spellings(("clear", "ns", "config")):
        about = "Delete all virtual servers, groups, services, servers and monitors."
        yield Entry(Command(words, (level,), (force,), about=about), _clear)
    with_defaults = (Option("withDefaults", most=0, least=0, about="Also values that nobody set."),)
    for words in spellings(("show", "ns", "runningConfig")):
        yield Entry(Command(words, (), with_defaults, about="The configuration as commands."), _running_config)
    flags = (
        Option("outtype", choices=("cli",)),
        Option("template", most=0, least=0),
        Option("ignoreDeviceSpecific", most=0, least=0),
    )
    for words in spellings(("diff", "ns", "config")):
        configs = tuple(Argument(one, required=False, choices=("ns.conf", "running")) for one in ("config1", "config2"))
        yield Entry(Command(words, configs, flags, about="What differs between saved and running."), _diff)
    yield Entry(Command(("help",), (Argument("command", required=False, many=True),), about="Commands, or one."), _help)
    outfile = Option("outfile", about="File for what the commands tell.")
    yield Entry(Command(("batch",), (), (_PATH, outfile, Option("ntimes")), about="Run a file of commands."), _batch)
    yield Entry(Command(("source",), (Argument("fileName"),), about="Run a file of commands."), _source)


def _switch(verb: str, known: dict[str, str]) -> Handler:
    def run(context: Context, parsed: Parsed) -> None:
        noun = parsed.command.arguments[0].name
        for given in parsed.all(noun):
            word = known.get(given.lower())
            if word is None and verb == "enable":
                context.notes.append(f"{noun} [{given}] does not exist here; nothing was changed")
            elif word is not None and verb == "disable":
                title, why = _WORDS[word]
                raise CliError(f"{noun} [{word}] cannot be disabled: {title} is always on, {why}")

    return run


def _listed(known: dict[str, str]) -> Iterator[str]:
    rows = [[f"{index})", _WORDS[word][0], word, "ON"] for index, word in enumerate(dict.fromkeys(known.values()), 1)]
    yield from table(["", "Name", "Acronym", "Status"], rows)
    yield "Always on: they cannot be disabled."


def _features(_context: Context, _parsed: Parsed) -> Iterator[str]:
    return _listed(FEATURES)


def _modes(_context: Context, _parsed: Parsed) -> Iterator[str]:
    return _listed(MODES)


def _save(context: Context, _parsed: Parsed) -> None:
    saved.mark_saved(context.actor)


def _clear(context: Context, parsed: Parsed) -> list[str]:
    level = parsed.one("level").lower()
    if level not in LEVELS:
        raise CliError(f"Invalid argument value [level] “{parsed.one('level')}”: it is one of {', '.join(LEVELS)}")
    if not parsed.has("force"):
        if context.session.confirm is None:
            raise CliError("Nobody can be asked here: clear ns config -force does it without asking")
        if not context.session.confirm(ASKED):
            return ["Nothing was cleared."]
    number = clearing.clear(context.actor, f"clear ns config {level}")
    told = "1 object was deleted." if number == 1 else f"{number} objects were deleted."
    return [told if number else "There was nothing to delete."]


def _config(_context: Context, _parsed: Parsed) -> Iterator[str]:
    now = standing()
    changed = ConfigurationRevision.objects.values_list("at", flat=True).first()
    yield f"Last Config Changed Time: {stamp(changed) if changed else 'never'}"
    yield f"Last Config Saved Time: {stamp(now.saved_at) if now.saved_at else 'never'}"
    if now.saved is not None:
        yield f"Saved Revision: {now.saved}, by {now.saved_by}"
    yield f"Running Revision: {now.revision}"
    yield f"Config Changed since Last Save: {'FALSE' if now.is_saved else 'TRUE'}"
    if now.until is not None:
        yield f"Trial by {now.trial_by}: back to revision {now.back_to} at {stamp(now.until)} unless confirmed"


def _running_config(context: Context, parsed: Parsed) -> list[str]:
    saved.require(context.actor, saved.READ, "read the configuration as text")
    if parsed.has("withdefaults"):
        return configuration(defaults=True).splitlines()
    return document().splitlines()


def _saved_config(context: Context, _parsed: Parsed) -> list[str]:
    saved.require(context.actor, saved.READ, "read the configuration as text")
    text, now = saved.saved(), standing()
    if text is None or now.saved_at is None:
        raise CliError("No such resource: no configuration was saved yet (save ns config)")
    return [f"# Last modified by `save config` of {now.saved_by}, {stamp(now.saved_at)}", *text.splitlines()]


def _diff(context: Context, parsed: Parsed) -> Iterator[str]:
    saved.require(context.actor, saved.READ, "read the configuration as text")
    if parsed.value("outtype", "cli").lower() != "cli":
        raise CliError(f"Invalid argument value [-outtype] “{parsed.value('outtype')}”: cli is the only one")
    names = [parsed.one("config1") or "ns.conf", parsed.one("config2") or "running"]
    old, new = (comparable(_text_of(context, name)).splitlines() for name in names)
    found = list(difflib.unified_diff(old, new, fromfile=names[0], tofile=names[1], lineterm="", n=0))
    yield from found or ["The configurations do not differ."]


def _text_of(context: Context, name: str) -> str:
    if name.lower() in {"running", "runningconfig", "ns.runningconfig"}:
        return configuration()
    if name.lower() in {"saved", "savedconfig", "ns.conf"}:
        return saved.saved() or ""
    return "\n".join(line for _number, line in logical_lines(read(context, name)) if not line.startswith("#"))


def _version(_context: Context, _parsed: Parsed) -> Iterator[str]:
    try:
        number = version("halfpipe")
    except PackageNotFoundError:  # run from its folder
        number = "from source"
    yield f"Halfpipe {number}, in the words of NetScaler 12.0's command line"


def _whoami(context: Context, _parsed: Parsed) -> Iterator[str]:
    yield f"User: {context.actor.name}"


def _history(context: Context, _parsed: Parsed) -> Iterator[str]:
    for index, line in enumerate(context.session.history, start=1):
        yield f"{index}\t{line}"


def _exit(context: Context, _parsed: Parsed) -> None:
    context.closes = True


def _help(_context: Context, parsed: Parsed) -> Iterator[str]:
    from webui.nscli.session import commands  # noqa: PLC0415 - it knows this module

    wanted = tuple(word.lower() for word in parsed.all("command"))
    found = [
        command
        for key, command in sorted(commands().all.items())
        if all(any(part.startswith(word) for part in key) for word in wanted)
    ]
    if not found:
        raise CliError(f"No such command [{' '.join(parsed.all('command'))}]; help alone lists them")
    if len(found) > 3:
        yield from table(["Command", ""], [[" ".join(one.words), one.about] for one in found])
        yield "help <command> tells its arguments."
        return
    for one in found:
        yield one.usage
        yield f"\t{one.about}"
        for option in one.options:
            choices = f" ({', '.join(option.choices)})" if option.choices else ""
            if option.about or choices:
                yield f"\t-{option.name}{choices}: {option.about}".rstrip(": ")


def read(context: Context, name: str) -> str:
    """The text of a file on this machine. Raises CliError."""
    if not context.session.files:
        raise CliError(f"“{name}” cannot be read from here: files are for manage.py ns; the console imports by a page")
    try:
        path = Path(name)
        if path.stat().st_size > LONGEST_FILE:
            raise CliError(f"“{name}” is larger than {LONGEST_FILE // 1024 // 1024} MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise CliError(f"“{name}” cannot be read: {reason}") from error


def _batch(context: Context, parsed: Parsed) -> list[str]:
    if not parsed.has("filename"):
        raise CliError("Required argument missing [-fileName]")
    told = _run_file(context, parsed.value("filename"), keep_going=True)
    if not parsed.has("outfile"):
        return told
    if not context.session.files:
        raise CliError("Files are for manage.py ns")
    try:
        Path(parsed.value("outfile")).write_text("".join(f"{line}\n" for line in told), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CliError(f"“{parsed.value('outfile')}” cannot be written: {error}") from error
    return []


def _source(context: Context, parsed: Parsed) -> list[str]:
    return _run_file(context, parsed.one("fileName"), keep_going=False)


def _run_file(context: Context, name: str, *, keep_going: bool) -> list[str]:
    session = context.session
    text = read(context, name)
    if session.depth >= MOST_NESTED:
        raise CliError(f"“{name}” is the {MOST_NESTED + 1}th file that runs a file; that is one too many")
    told: list[str] = []
    failed = 0
    session.depth += 1
    try:
        for number, line in logical_lines(text):
            answer = session.run(line)
            if answer.ok and len(answer.lines) > 1:
                told += answer.lines[:-1]
            if not answer.ok:
                failed += 1
                told.append(f"line {number}: {answer.lines[-1]}")
                if not keep_going:
                    raise CliError(f"“{name}” stopped at line {number}: {answer.lines[-1].removeprefix('ERROR: ')}")
            if answer.closes:
                break
    finally:
        session.depth -= 1
    if failed:
        raise CliError(f"{failed} lines of “{name}” failed; {'; '.join(one for one in told if one[:5] == 'line ')}")
    return told
