"""What outsiders' scripts say of our TCP: packetdrill's public ones, those on a fixed list.

``data/reference/conformance.csv`` has what became of each script of the list, on our stack and on the kernel of the
machine that recorded it; ``tests/conformance/packetdrill.csv`` is the list, with the reason for each that is not on it.
``make conformance`` runs them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retrospective import paths

#: What is promised of the scripts on the list.
SHARE = 0.9
PASSES, FAILS = "passes", "fails"
STACKS = {"ours": "ours", "kernel": "Linux"}
LIST = paths.ROOT / "tests" / "conformance" / "packetdrill.csv"


@dataclass(frozen=True)
class Conformance:
    """Scripts that were run (``script``, ``ours``, ``kernel``, ``note``), and why others were not."""

    scripts: pd.DataFrame
    excluded: pd.Series

    @property
    def measured(self) -> bool:
        """Whether any script was run on our stack."""
        return bool(len(self.scripts))

    def passed(self, stack: str) -> int:
        """How many scripts pass."""
        return int((self.scripts[stack] == PASSES).sum())

    @property
    def share(self) -> float:
        """Share of the scripts that passes on our stack (NaN of nothing)."""
        return self.passed("ours") / len(self.scripts) if self.measured else float("nan")

    @property
    def kernel_ran(self) -> bool:
        """Whether the kernel was asked, too."""
        return bool(self.scripts["kernel"].isin([PASSES, FAILS]).any())

    def unlike(self) -> pd.DataFrame:
        """Scripts that fail on either, with the reason."""
        either = (self.scripts["ours"] == FAILS) | (self.scripts["kernel"] == FAILS)
        return self.scripts[either]


def load(file: Path | None = None, listed: Path | None = None) -> Conformance:
    """Read what was recorded, and the list; a file that is not there holds nothing."""
    table = _words(file or paths.REFERENCE / "conformance.csv", ("script", *STACKS))
    table = table[table["ours"].isin([PASSES, FAILS])]
    notes = [_note(row) for row in table.to_dict("records")]
    scripts = table[["script", *STACKS]].assign(note=pd.Series(notes, index=table.index, dtype=object))
    others = _words(listed or LIST, ("script", "eligible", "reason"))
    return Conformance(scripts, others.loc[others["eligible"] == "no", "reason"])


def _words(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = pd.read_csv(file, dtype=str).fillna("") if file.exists() else pd.DataFrame()
    missing = [name for name in columns if name not in table]
    return table.assign(**{name: pd.Series("", index=table.index, dtype=object) for name in missing})


def _note(row: dict[str, str]) -> str:
    """Why it fails, by stack: the explanation that was written, or else packetdrill's own words."""
    why = {
        name: row.get(f"{stack}_explanation") or row.get(f"{stack}_said") or "not explained"
        for stack, name in STACKS.items()
        if row[stack] == FAILS
    }
    return "; ".join(f"{name}: {text}" for name, text in why.items())
