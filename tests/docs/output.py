"""What a block printed beside what the page says that it prints."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")


def difference(printed: str, shown: str) -> str | None:
    """The first line that differs, or None.

    Words must be the same. Numbers may differ by a tenth and two units of the last digit shown:
    other processors and numbers of threads add in another order, and a training makes that larger.
    """
    got, expected = printed.strip().splitlines(), shown.strip().splitlines()
    for mine, theirs in zip(got, expected, strict=False):
        if not _same_line(mine, theirs):
            return f"printed {mine!r}, the page shows {theirs!r}"
    if len(got) != len(expected):
        return f"printed {len(got)} lines, the page shows {len(expected)}"
    return None


def _same_line(printed: str, shown: str) -> bool:
    if "".join(_NUMBER.split(printed)).split() != "".join(_NUMBER.split(shown)).split():
        return False
    got, expected = _NUMBER.findall(printed), _NUMBER.findall(shown)
    return len(got) == len(expected) and all(map(_close, got, expected))


def _close(printed: str, shown: str) -> bool:
    expected = float(shown.replace(",", ""))
    mantissa, _, exponent = shown.lower().partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(printed.replace(",", "")) - expected) <= 0.1 * abs(expected) + 2 * unit
