"""One module a chapter: which trials, with which parameters, in which profile.

A chapter module offers ``CHAPTER`` (its name), ``PROFILES`` and ``run(profile, ...)``, which measures what the journal
does not hold yet and returns the rows of all complete rounds.
"""

from __future__ import annotations

import importlib
from types import ModuleType

#: chapter -> its notebook, in the order of the retrospective. A new chapter is one line here.
CHAPTERS = {
    "machine": "00_machine.ipynb",
    "accept": "01_accept.ipynb",
    "lazy": "02_lazy_aio.ipynb",
    "timers": "03_timers.ipynb",
    "userstack": "04_user_level_stack.ipynb",
}


def chapter(name: str) -> ModuleType:
    """Return the experiment module of a chapter, imported on demand (``ValueError`` if there is none)."""
    if name not in CHAPTERS:
        raise ValueError(f"no chapter {name!r}: there are {', '.join(CHAPTERS)}")
    return importlib.import_module(f"{__name__}.{name}")
