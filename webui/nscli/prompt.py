"""The interactive command line: history in a file of the user alone, completion from the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from django.db import connections
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from webui.nscli.masking import has_secret
from webui.nscli.names import completions
from webui.nscli.session import Answer, Session

PROMPT = "> "


class PrivateHistory(FileHistory):
    """A history that nobody else reads (mode 0600), and that no line with a secret enters."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
        super().__init__(str(path))

    def append_string(self, string: str) -> None:
        """Remember a line, in memory and in the file; one with a secret in neither."""
        if not has_secret(string):
            super().append_string(string)


class FromDatabase(Completer):
    """Offers what :func:`webui.nscli.names.completions` finds."""

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        """Runs in a thread of its own, as the prompt has an event loop; its connection is closed again."""
        try:
            found = completions(document.text_before_cursor)
        finally:
            connections.close_all()
        for one in found:
            yield Completion(one.text, start_position=-one.length, display_meta=one.about)


def history_path() -> Path:
    """Where the history of the user of the operating system is kept."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local" / "state") / "halfpipe" / "ns-history"


def confirmed(question: str) -> bool:
    """Whether the answer is Y or YES; the end of the input, or Ctrl-C, is none."""
    try:
        answer = PromptSession[str]().prompt(question)  # of its own: an answer is no line to remember
    except (KeyboardInterrupt, EOFError):
        return False
    return answer.strip().upper() in {"Y", "YES"}


def interact(session: Session, tell: Callable[[Answer], None]) -> bool:
    """Read lines until the session ends; returns whether the last one went well."""
    ask: PromptSession[str] = PromptSession(
        history=PrivateHistory(history_path()),
        completer=FromDatabase(),
        complete_in_thread=True,
        complete_while_typing=False,
    )
    session.confirm = confirmed
    well = True
    while True:
        try:
            line = ask.prompt(PROMPT)
        except KeyboardInterrupt:  # forgets the line, as shells do
            continue
        except EOFError:
            return well
        answer = session.run(line)
        if not answer.silent:
            well = answer.ok
        tell(answer)
        if answer.closes:
            return well
