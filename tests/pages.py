"""Pages of markdown as doctests: what a page says is run, from top to bottom, and compared with what it shows.

A fenced block is one of

    pycon             a Python session; a page has one namespace
    console           lines `$ python run.py ...` (or `$ orl ...`), each followed by what it prints on stdout; with
                      `; echo $?` behind it the exit code is a line more, else it must be 0. Other programs run, too
    anything with a line such as "In `plant.toml`:" above it: a file of that name, for the blocks that follow
    text              neither run nor compared

`...` in what is expected stands for anything, and white space counts once. The working directory is a folder of the
page's own.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from orl import cli

FENCE = re.compile(r"```(\w*)$")
FILE = re.compile(r"[Ii]n `([\w./-]+)`:$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A fenced block: its kind, the file that it is, if any, its text, and the line (from 0) where that begins."""

    kind: str
    file: str | None
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    found, above = [], ""
    lines = iter(enumerate(page.splitlines()))
    for number, line in lines:
        if fence := FENCE.match(line):
            text = []
            for _, inner in lines:
                if inner == "```":
                    break
                text.append(inner)
            else:
                raise ValueError(f"the block in line {number + 1} has no end.")
            file = FILE.search(above)
            found.append(Block(fence[1], file and file[1], "".join(f"{row}\n" for row in text), number + 1))
        elif line.startswith("```"):
            raise ValueError(f"line {number + 1} is no fence that is known: {line}")
        if line.strip():
            above = line
    return found


def examples(page: str) -> list[doctest.Example]:
    """Return what a page has run, in order; a kind of block that nobody runs is an error."""
    made: list[doctest.Example] = []
    for kind, file, text, line in blocks(page):
        if file:
            made.append(doctest.Example(f"write({file!r}, {text!r})", "", lineno=line))
        elif kind == "pycon":
            for example in doctest.DocTestParser().get_examples(text):
                example.lineno += line
                made.append(example)
        elif kind == "console":
            made += _commands(text, line)
        elif kind != "text":
            raise ValueError(f"the {kind or 'nameless'} block in line {line} is neither run nor a file.")
    return made


def _commands(text: str, line: int) -> list[doctest.Example]:
    """Return the commands of a console block with what each is to print."""
    made = []
    for command in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        where = line + text.count("\n", 0, command.start())
        made.append(doctest.Example(f"command({command[1]!r})", command[2], lineno=where))
    return made


def run(page: Path, folder: Path) -> str:
    """Run a page in a folder and return what did not come out as the page says: nothing if all did."""
    test = doctest.DocTest([], {"write": _write, "command": _command}, page.name, str(page), 0, None)
    test.examples = examples(page.read_text(encoding="utf-8"))
    told = io.StringIO()
    path = list(sys.path)
    modules = set(sys.modules)
    try:
        sys.path.insert(0, str(folder))  # as a session that is begun there
        with contextlib.chdir(folder):
            doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=told.write, clear_globs=False)
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:  # a page's own modules: the next page may have others of that name
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder):
                del sys.modules[name]
    return told.getvalue()


def _write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


def _command(line: str) -> None:
    """Run a line of a console: our own command line in this process, other programs as they are."""
    command, _, rest = line.partition("; ")
    words = shlex.split(command.replace("\\\n", " "))
    own = 2 if words[:2] == ["python", "run.py"] else 1 if words[0] == "orl" else 0
    if own:
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            is_limited = words[own] in ("solve", "compare") and "--time-limit" not in words
            code = cli.main(words[own:] + ["--time-limit", "900"] * is_limited)  # kernels may have to be compiled first
        said = errors.getvalue().rpartition("orl: ")
        if said[1]:
            print(f"orl: {said[2]}", end="")
    else:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        code = done.returncode
        print(done.stdout + done.stderr, end="")
    if rest == "echo $?":
        print(code)
    elif code:
        raise AssertionError(f"exit code {code}")
