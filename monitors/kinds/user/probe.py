"""USER: a program of the operator; its exit code and the first line of its output are the verdict.

Programs follow the plugin development guidelines of Nagios and the Monitoring Plugins (exit codes, performance data),
or are scripts as for NetScaler, where 0 passes and anything else fails. A program that crashes often ends with 1, so 1
passes only together with the word WARNING, which every plugin says with it.
"""

from __future__ import annotations

import asyncio
import math
import shlex
import signal
from dataclasses import dataclass
from ipaddress import ip_address
from time import perf_counter
from typing import Final

from monitors import trace
from monitors.kinds.user import folder
from monitors.kinds.user.kind import Parameters
from monitors.kinds.user.output import performance, read_output
from monitors.kinds.user.process import FloodError, Process
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec

AT_ONCE: Final = 64  # programs of one worker
_POLL: Final = 0.02  # seconds until a place is looked for again
_OK, _WARNING, _CRITICAL, _UNKNOWN = range(4)
_NAMES: Final = {_CRITICAL: "CRITICAL", _UNKNOWN: "UNKNOWN"}


@dataclass(slots=True)
class _Places:
    taken: int = 0


_places = _Places()


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Run the program once, without privileges; it and its children are killed when the time is over.

    Raises ValueError when ``spec.address`` is no IP address.
    """
    ip_address(spec.address)
    given = read(Parameters, spec)
    start = perf_counter()

    def result(message: str, *, success: bool = False, sent: bool = True) -> ProbeResult:
        return ProbeResult(success=success, message=message, duration=perf_counter() - start, sent=sent)

    try:
        path = folder.find(given.script_name)
    except folder.RefusedError as error:
        return result(str(error), sent=False)
    try:
        async with asyncio.timeout(spec.timeout):
            while _places.taken >= AT_ONCE:  # noqa: ASYNC110 - an event would belong to one loop
                await asyncio.sleep(_POLL)
    except TimeoutError:
        return result(f"{given.script_name} was not started: {AT_ONCE} programs are running already", sent=False)
    _places.taken += 1
    command, surroundings = [str(path), *arguments(spec, given)], environment(spec, given)
    _tell_start(command, surroundings, given)
    try:
        process = Process(command, surroundings)
    except OSError as error:
        _places.taken -= 1
        return result(f"{given.script_name} cannot be started: {error.strerror}", sent=False)
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + spec.timeout - (perf_counter() - start)):
            code = await process.ended()
        _tell_output(process)
        trace.note("exit", f"ended by {_signal_name(-code)}" if code < 0 else f"exit code {code}")
    except TimeoutError:
        _tell_output(process)
        trace.note("exit", "killed: the time is over")
        said = _said(process, given)
        return result(f"{given.script_name} did not end within {spec.timeout:g} s{f': {said}' if said else ''}")
    except FloodError as error:
        _tell_output(process)
        trace.note("exit", f"killed: {error}")
        return result(f"{given.script_name} was ended: {error}")
    finally:
        process.kill()
        _places.taken -= 1
    success, message = verdict(code, process.output.decode(errors="replace"), _said(process, given))
    # UNKNOWN is about the program, not the server; a reversed monitor must not pass by it.
    return result(f"{given.script_name}: {message}", success=success, sent=code != _UNKNOWN)


def _tell_start(command: list[str], surroundings: dict[str, str], given: Parameters) -> None:
    if (recorder := trace.recorder()) is not None:
        recorder.hide({*_words(given.secure_args)})
        recorder.note("program", shlex.join(command))
        told = {name: value for name, value in surroundings.items() if name.startswith("PROBE_")}
        recorder.note("environment", "\n".join(f"{name}={value}" for name, value in told.items()))


def _tell_output(process: Process) -> None:
    if (recorder := trace.recorder()) is None:
        return
    for name, data in (("output", process.output), ("errors", process.errors)):
        if data:
            recorder.data(name, data, id(process))
    if found := performance(process.output.decode(errors="replace")):
        trace.note("performance data", "\n".join(found))


def _words(secret: str) -> list[str]:
    """A secret of several words may be used one by one."""
    try:
        return [*secret.split(), *shlex.split(secret)]
    except ValueError:  # a quote without its end: programs take it apart as they like
        return secret.split()


def verdict(code: int, output: str, said: str) -> tuple[bool, str]:
    """Success and message for an exit code (negative: a signal), the output, and what to show of it."""
    addition = f": {said}" if said else ""
    if code == _OK:
        return True, said or "exit code 0"
    if code == _WARNING and "WARNING" in output.partition("\n")[0].upper():
        return True, said
    if code < 0:
        return False, f"ended by {_signal_name(-code)}{addition}"
    if code in _NAMES and _NAMES[code] in output.upper():
        return False, said
    return False, f"exit code {code}{f' ({_NAMES[code]})' if code in _NAMES else ''}{addition}"


def arguments(spec: ProbeSpec, given: Parameters) -> list[str]:
    """The program's arguments, with macros replaced."""
    values = {
        "%a": spec.address,
        "%p": str(spec.port),
        "%v": spec.vip,
        "%t": str(max(1, math.ceil(spec.timeout))),
        "%%": "%",
    }
    words = shlex.split(given.script_args)
    replaced = [_replaced(word, values) for word in words]
    return replaced if replaced != words else [spec.address, str(spec.port), *words]


def environment(spec: ProbeSpec, given: Parameters) -> dict[str, str]:
    """All that the program sees of the environment."""
    found = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/",
        "PROBE_ADDRESS": spec.address,
        "PROBE_PORT": str(spec.port),
        "PROBE_VIP": spec.vip,
        "PROBE_TIMEOUT": f"{spec.timeout:g}",
    }
    return found | ({"PROBE_SECURE_ARGS": given.secure_args} if given.secure_args else {})


def _replaced(word: str, values: dict[str, str]) -> str:
    """Left to right, so that ``%%a`` is ``%a``."""
    out, rest = "", word
    while rest:
        macro = rest[:2]
        out += values.get(macro, rest[0])
        rest = rest[2:] if macro in values else rest[1:]
    return out


def _said(process: Process, given: Parameters) -> str:
    """The first line and the performance data; of the errors, when that is all; secrets hidden."""
    text = process.output or process.errors
    secrets = {given.secure_args, *given.secure_args.split()} - {""}
    return read_output(text.decode(errors="replace"), secrets)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
