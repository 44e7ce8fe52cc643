"""On what a folder lies: file system, device and whether that device turns. No folder's or volume's name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

#: File systems whose files are memory, or layers over another: what is read there says nothing about a disk.
NO_DISK = {
    "tmpfs": "its files are memory: no read of them ever waits for a disk",
    "ramfs": "its files are memory: no read of them ever waits for a disk",
    "overlay": "its files lie on layers of another file system, which treats RWF_NOWAIT and O_DIRECT as it likes",
}


def disk_of(folder: Path) -> dict[str, Any]:
    """File system and block device that hold a folder; what cannot be told is ``None``.

    ``warning`` says why measurements of waiting for a disk are worth little there, if they are.
    """
    number = os.stat(folder).st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    found = device.resolve() if device.exists() else None
    # A partition lies in the folder of its disk, which has the queue.
    whole = (
        next((place for place in (found, found.parent) if (place / "queue").is_dir()), None)
        if found
        else None
    )
    file_system = _file_system(number)
    return {
        "file_system": file_system,
        "device": found.name if found else None,
        "model": _text(whole / "device" / "model") if whole else None,
        "rotational": {"0": False, "1": True}.get(_text(whole / "queue" / "rotational") or "")
        if whole
        else None,
        "scheduler": _text(whole / "queue" / "scheduler") if whole else None,
        "warning": NO_DISK.get(file_system or "", ""),
    }


def _file_system(device: int) -> str | None:
    """Type of the file system with this device number, by /proc/self/mountinfo (proc(5))."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in (_text(Path("/proc/self/mountinfo")) or "").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted and after:
            return after.split()[0]
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
