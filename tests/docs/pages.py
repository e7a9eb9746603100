"""Fenced code and commands in the pages of the documentation."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "benchmarks" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
]

_FENCE = re.compile(r"^( *)(`{3,})([^`\n]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:dldl-fast|pytest|pip|python3?|torchrun|sphinx-build) [^`]+)`")
_SCRIPT = re.compile(r"`((?:tools/|\.ci/)[^`\s]+)`")


class Block(NamedTuple):
    """Code between two fences."""

    language: str
    line: int
    """Of the first line of the code, from 1."""
    text: str


class Command(NamedTuple):
    """A shell command of a page."""

    line: int
    words: list[str]
    mentioned: bool
    """In a sentence, where it may be cut short, and not in a block."""

    def __str__(self) -> str:
        return shlex.join(self.words)


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(match[3].strip(), text.count("\n", 0, match.start(4)) + 1, textwrap.dedent(match[4]))
        for match in _FENCE.finditer(text)
    ]


def runs(page: str) -> list[tuple[Block, Block | None]]:
    """The blocks of Python, each with the block of text after it, which is what it prints."""
    found = [*blocks(page), Block("", 0, "")]
    return [
        (block, after if after.language == "text" else None)
        for block, after in zip(found, found[1:], strict=False)
        if block.language == "python"
    ]


def commands(page: str) -> Iterator[Command]:
    """Commands in blocks (``console``: after the prompt; ``bash``, or no language: all lines)."""
    for block in blocks(page):
        if block.language not in ("", "bash", "console"):
            continue
        prompt = "$ " if block.language == "console" else ""
        # A line that goes on in the next one keeps its number.
        for number, line in enumerate(block.text.replace("\\\n", "  ").splitlines()):
            if line.strip() and line.startswith(prompt):
                for words in _split(line.removeprefix(prompt)):
                    yield Command(block.line + number, words, mentioned=False)
    text = (ROOT / page).read_text(encoding="utf-8")
    outside = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    for pattern in (_INLINE, _SCRIPT):
        for match in pattern.finditer(outside):
            line_number = outside.count("\n", 0, match.start()) + 1
            for words in _split(match[1].replace("\n", " ")):
                yield Command(line_number, words, mentioned=True)


def _split(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without settings of the environment."""
    words = shlex.split(line, comments=True)
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        command, words = words[:end], words[end + 1 :]
        while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
            del command[0]
        if command:
            yield command
