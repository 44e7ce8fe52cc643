"""What lab/probe.py must know of a program that measures by itself: its words, its columns, and when a run counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Program:
    """A program of the build that prints one JSON object, or what ``parse`` makes one of.

    ``text``, ``counts``, ``levels`` and ``flags`` are the columns that it brings; a column that two programs bring has
    the same type in both. ``leads`` names what stands first on its command line, without a name: ``experiment``, or one
    of the options. ``defaults`` gives the options that it always has, by round; a probe's own go before them.
    ``asked`` gives the columns that are known before it runs, ``columns`` makes those of its report, and ``judge``
    raises ``Rejected`` for a run that does not count: it gets row, report, and how long the run took, seconds.
    ``measures_s`` is for how long it measures, ``overhead_s`` what it takes besides on our reference machine, seconds.
    Columns ``preemptions`` and ``others_cores`` are of whoever runs it: how often it lost its CPU, and how many CPUs
    others kept busy meanwhile, if they are to be ``watched``, which takes hundredths of a second.
    What it says is kept without the name of its ``folder``.
    """

    name: str
    text: tuple[str, ...]
    counts: tuple[str, ...]
    levels: tuple[str, ...]
    defaults: Callable[[int], dict[str, Any]]
    asked: Callable[[Options], Row]
    columns: Callable[[Options, Mapping[str, Any]], Row]
    judge: Callable[[Row, Mapping[str, Any], float], None]
    measures_s: Callable[[Options], float]
    overhead_s: Callable[[Options], float]
    flags: tuple[str, ...] = ()
    leads: str | None = None
    watched: Callable[[Options], bool] = lambda options: False
    folder: Path | None = None
    parse: Callable[[str], Any] = json.loads

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column that it brings, in the order of the tables."""
        return (*self.text, *self.counts, *self.levels, *self.flags)


__all__ = ["Options", "Program", "Row"]
