"""The errors a caller can mend: each is one line that names the place, the rule and what was found."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Report bad input: a file, a name, a setting. The command line prints it and leaves with code 2."""

    def __init__(self, message: object = ""):
        super().__init__(" ".join(str(message).splitlines()))  # what is quoted from a file may have lines


class Stopped(Exception):
    """Report that long work noticed a request to stop before it had anything to give."""


class IllegalAction(ValueError):
    """Report an action that the legal mask forbids."""


def at(path: Path | str, line: int | None, message: str) -> InputError:
    """Return an `InputError` that names the file and, where known, the line.

    >>> print(at("la99.txt", 3, "expected an integer, got 'x'."))
    la99.txt, line 3: expected an integer, got 'x'.
    """
    place = f"{path}, line {line}" if line is not None else str(path)
    return InputError(f"{place}: {message}")
