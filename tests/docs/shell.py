"""Whether a command of a page is one that exists, with options and values that it takes."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from typing import Any

from tests.docs.pages import ROOT, Command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_EXTRAS = _PROJECT["project"]["optional-dependencies"]
_MARKERS = {
    marker.partition(":")[0] for marker in _PROJECT["tool"]["pytest"]["ini_options"]["markers"]
}
_OF_THE_SHELL = {"cd", "export", "source", "sphinx-build"}


def check(command: Command) -> None:
    """Raise ValueError with what is wrong with a command; it is not run."""
    program, *words = command.words
    if program == "dldl-fast":
        _check_dldl_fast(words, command.mentioned)
    elif program in ("python", "python3", "torchrun"):
        _check_python(words, command.mentioned)
    elif program == "pip":
        _check_pip(words)
    elif program == "pytest":
        _check_pytest(words)
    elif program.startswith(("tools/", ".ci/")):
        if not (ROOT / program).is_file():
            raise ValueError(f"{program}: no such file")
        if not command.mentioned and not os.access(ROOT / program, os.X_OK):
            raise ValueError(f"{program}: cannot be executed")
    elif program not in _OF_THE_SHELL:
        raise ValueError(f"{program}: unknown to this test")


def _check_dldl_fast(words: list[str], mentioned: bool) -> None:
    import typer
    from typer.main import get_command

    from dldl_fast.cli.app import app

    group: Any = get_command(app)
    if not words and mentioned:
        return
    name, *words = words
    if name not in group.commands:
        raise ValueError(f"no command {name!r} of dldl-fast: {', '.join(group.commands)}")
    command = group.commands[name]
    # "..." stands for what a reader has to put there.
    partly = mentioned or "..." in words
    context = typer.Context(command)
    try:
        options, rest, _ = command.make_parser(context).parse_args(
            [*words, "..."] if mentioned else list(words)
        )
    except Exception as error:  # of click, or of typer's copy of it
        raise ValueError(getattr(error, "message", str(error))) from error
    for parameter in command.params:
        value = options.get(parameter.name)
        if value is None or value == ():
            if parameter.required and not partly:
                raise ValueError(f"{parameter.name} is missing")
        elif not partly:
            try:
                parameter.process_value(context, value)  # numbers and choices
            except Exception as error:
                message = getattr(error, "message", str(error))
                if "does not exist" not in message:  # files of the reader
                    raise ValueError(f"{parameter.name}: {message}") from error
    if rest and rest != ["..."]:
        raise ValueError(f"{name} takes no further {' '.join(rest)}")


def _check_python(words: list[str], mentioned: bool) -> None:
    if "-m" in words:
        at = words.index("-m") + 1
        module, arguments = words[at], words[at + 1 :]
        if importlib.util.find_spec(module) is None and module not in ("build", "venv"):
            raise ValueError(f"no module {module}")
        if module == "dldl_fast.train":
            _check_dldl_fast(["train", *arguments], mentioned)
    elif not (ROOT / words[0]).is_file():
        raise ValueError(f"{words[0]}: no such file")


def _check_pip(words: list[str]) -> None:
    for word in words:
        own = re.fullmatch(r"(?:\.|dldl_fast)(?:\[(.*)\])?", word)
        if own and own[1]:
            unknown = set(own[1].split(",")) - set(_EXTRAS)
            if unknown:
                raise ValueError(f"no extra {', '.join(unknown)}")
        elif "==" in word and not any(word in packages for packages in _EXTRAS.values()):
            raise ValueError(f"{word} is another version than pyproject.toml's, or not in it")


def _check_pytest(words: list[str]) -> None:
    for before, word in zip(["", *words], words, strict=False):
        if before == "-m":
            unknown = set(re.findall(r"\w+", word)) - _MARKERS - {"and", "or", "not"}
            if unknown:
                raise ValueError(f"no marker {', '.join(unknown)}")
        elif not word.startswith("-") and before not in ("-n", "-k") and not (ROOT / word).exists():
            raise ValueError(f"{word}: no such file or folder")
