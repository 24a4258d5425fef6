"""USER: a program of the operator."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from monitors.kind import ANY, Kind
from monitors.parameters import text

NAME_LIMIT: Final = 63  # characters; NetScaler's
ARGUMENTS_LIMIT: Final = 512  # characters, and so their number
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def _name_problem(name: str) -> str:
    if _NAME.fullmatch(name):
        return ""
    return f"“{name}” is no name of a program in the scripts folder: letters, digits and . _ + - only, no path."


def _arguments_problem(arguments: str) -> str:
    try:
        shlex.split(arguments)
    except ValueError as error:
        return f"The arguments cannot be taken apart: {str(error).lower()}."
    return ""


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's scriptName, scriptArgs and secureArgs; there is no dispatcher."""

    script_name: str = text(
        required=True, limit=NAME_LIMIT, check=_name_problem, help="Program in a folder of HALFPIPE_MONITOR_SCRIPTS."
    )
    script_args: str = text(
        limit=ARGUMENTS_LIMIT,
        check=_arguments_problem,
        label="Arguments",
        help="Quoted as in a shell. %a stands for the probe address, %p for the port, %v for the VIP, %t for the "
        "seconds left, %% for %. Without any of them, address and port come before the arguments.",
    )
    secure_args: str = text(
        limit=ARGUMENTS_LIMIT,
        secret=True,
        label="Secret arguments",
        help="For the program alone, in its environment as PROBE_SECURE_ARGS: arguments can be seen by every user "
        "of the director.",
    )


KIND = Kind(
    name="USER",
    label="USER (program of yours)",
    success="The program ends with exit code 0, or with 1 and the word WARNING, within the response timeout.",
    parameters_type=Parameters,
    transport=ANY,
    command="check_program {address}",
)
