"""Where things lie. One place, so that nothing else spells a folder."""

from __future__ import annotations

import os
from pathlib import Path

#: The project's root: the folder that holds pyproject.toml.
ROOT = Path(__file__).resolve().parent.parent
#: Everything generated.
BUILD = Path(os.environ.get("NAI_BUILD_DIR") or ROOT / "build")
NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = ROOT / "retrospective" / "chapters"
PUBLISHED = ROOT / "data" / "published"
REFERENCE = ROOT / "data" / "reference"
