"""From C to executables: Meson drives the compiler, this module drives Meson, only when a source changed."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).resolve().parent

#: Variant -> what Meson is told beside the project's own defaults.
VARIANTS: dict[str, tuple[str, ...]] = {
    "release": ("--buildtype=release",),
    "debug": ("--buildtype=debug",),
    "asan": ("--buildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Db_lundef=false"),
    "tsan": ("--buildtype=debugoptimized", "-Db_sanitize=thread", "-Db_lundef=false"),
}

#: The system call has this number on every architecture; the structure holds all defaults when it is zero.
_IO_URING_SETUP = 425
_IO_URING_PARAMS_BYTES = 120

#: Executables that are no designs -> where a build has them: the generators of load, and what measures lazy I/O.
PROGRAMS = {
    "load": "load/load",
    "load-user": "load/load-user",
    "load-lwip": "load/load-lwip",
    "load-lwip-thread": "load/load-lwip-thread",
    "rawload": "load/rawload",
    "traffic": "load/traffic",
    "traffic-user": "load/traffic-user",
    "traffic-lwip": "load/traffic-lwip",
    "traffic-lwip-thread": "load/traffic-lwip-thread",
    "lazybench": "lazy_io/bench/lazybench",
    "timerbench": "timers/bench/timerbench",
    "timercost": "timers/bench/timercost",
    "ticker": "timers/drivers/ticker",
    "stackhost": "userstack/stackhost",
    "stackswitch": "userstack/stackswitch",
    "stackincast": "userstack/stackincast",
    "packetdrill-userstack": "userstack/libpacketdrill_userstack.so",
}


#: Libraries that are optional; each has a list ``on_…`` in ``meson.build``.
_LIBRARIES = ("liburing", "lwip")


class BuildError(RuntimeError):
    """The servers could not be built: the compiler's words, and what to do."""


def designs() -> dict[str, Path]:
    """Name -> source file of every design on the kernel's sockets, from ``meson.build``'s table; needs no build."""
    return _table("designs")


def stack_designs() -> dict[str, Path]:
    """Name -> source file of every design on a user-level stack; they run where NAI_STACK attaches one.

    They are no ``designs()``: to serve, those need no more than an address of the machine's.
    """
    return _table("stack_designs")


def _table(of: str) -> dict[str, Path]:
    table = re.search(
        rf"^{of} = \{{(.*?)^\}}", (SOURCE / "meson.build").read_text(), re.DOTALL | re.MULTILINE
    )
    if table is None:
        raise BuildError(
            f"servers/meson.build has no table `{of} = {{...}}`: restore it, it names the designs"
        )
    return {
        name: SOURCE / file
        for name, file in re.findall(r"^\s*'([^']+)'\s*:\s*'([^']+)'", table[1], re.MULTILINE)
    }


def unavailable() -> dict[str, str]:
    """Design or program -> the one line that brings it, for what cannot be built or cannot run here."""
    remedies = {"liburing": _missing("liburing") or _no_io_uring(), "lwip": _missing("lwip")}
    return {name: remedy for library, remedy in remedies.items() if remedy for name in _on(library)}


def _on(library: str) -> list[str]:
    """Names of the designs and programs that ``meson.build`` leaves out without a library."""
    names = re.search(
        rf"^on_{library} = \[(.*?)\]", (SOURCE / "meson.build").read_text(), re.DOTALL | re.MULTILINE
    )
    if names is None:
        raise BuildError(f"servers/meson.build has no list `on_{library} = [...]`: restore it")
    return re.findall(r"'([^']+)'", names[1])


@functools.cache
def _missing(library: str) -> str | None:
    """Ask pkg-config, as Meson does."""
    try:
        found = subprocess.run(["pkg-config", "--exists", library], capture_output=True).returncode == 0
    except OSError:
        found = False
    return None if found else f"{library} is missing: make system (as root)"


@functools.lru_cache(maxsize=1)
def _no_io_uring() -> str | None:
    """Ask the kernel for a ring: it is too old, or ``kernel.io_uring_disabled`` or a container forbids it."""
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(_IO_URING_PARAMS_BYTES))
    if ring >= 0:
        os.close(ring)
        return None
    reason = os.strerror(ctypes.get_errno())
    return f"io_uring: {reason}: sudo sysctl kernel.io_uring_disabled=0, and allow it in the container"


def binary(name: str, variant: str = "release") -> Path:
    """Path of a design's or other program's executable, built if need be; ``ValueError`` names the known ones."""
    known = [*designs(), *stack_designs(), *PROGRAMS]
    if name not in known:
        raise ValueError(f"no design {name!r}: there are {', '.join(known)}")
    if name in _not_built():
        raise BuildError(f"{name} is not built: {unavailable()[name]}")
    # Meson builds an executable in the folder that its source's meson.build names.
    path = build(variant) / PROGRAMS.get(name, name)
    if not path.is_file():
        raise BuildError(
            f"{name} is not among what was built: is it in servers/**/meson.build as an executable?"
        )
    return path


def _not_built() -> list[str]:
    return [name for library in _LIBRARIES if _missing(library) for name in _on(library)]


def binary_hash(path: Path | str) -> str:
    """SHA-256 of an executable, hexadecimal: it stands for source, compiler and flags in a trial's key."""
    path = Path(path)
    status = path.stat()
    return _hash(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _hash(path: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(variant: str = "release") -> Path:
    """Build every executable of a variant, if a source changed, and return the folder that holds them.

    Processes that build at the same time wait for one another. Raises ``BuildError``.
    """
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}: there are {', '.join(VARIANTS)}")
    folder = build_root() / variant
    stamp = folder / ".sources"
    sources = _sources_state()
    if _text(stamp) == sources:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if _text(stamp) != sources:  # another process may have built it while this one waited
            stamp.unlink(missing_ok=True)
            _configure(folder, variant)
            # Tests and fuzz targets are built by who runs them (meson test).
            paths = {name: name for name in (*designs(), *stack_designs())} | PROGRAMS
            targets = [path for name, path in paths.items() if name not in _not_built()]
            _run([_ninja(), "-C", str(folder), *targets], f"the {variant} build of the servers failed")
            stamp.write_text(sources)
    return folder


def test_program(name: str, variant: str = "asan") -> Path:
    """Path of a C test's executable, built if need be: ``build`` leaves tests to who runs them."""
    folder = build(variant)
    with _locked(folder.with_suffix(".lock")):
        _run([_ninja(), "-C", str(folder), f"tests/{name}"], f"the {variant} build of {name} failed")
    return folder / "tests" / name


def build_root() -> Path:
    """Folder of the variants; NAI_BUILD_DIR moves everything generated, as in ``retrospective.paths``."""
    return Path(os.environ.get("NAI_BUILD_DIR") or SOURCE.parent / "build").absolute() / "servers"


def _sources_state() -> str:
    """State of the sources that people edit: stat(2) of 50 files costs less than starting ninja."""
    setting = f"{SOURCE} {os.environ.get('CC')} {os.environ.get('CFLAGS')} {[*map(_missing, _LIBRARIES)]} {PROGRAMS}"
    digest = hashlib.sha256(setting.encode())
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix in {".c", ".h", ".S"} or path.name in {"meson.build", "meson.options"}:
            status = path.stat()
            digest.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
    return digest.hexdigest()


def _configure(folder: Path, variant: str) -> None:
    """Set the build folder up, anew if it was made for another place, compiler or Meson."""
    setting = "\n".join(
        [
            str(SOURCE),
            str(folder),
            sys.executable,
            importlib.metadata.version("meson"),
            str(os.environ.get("CC")),
            str(os.environ.get("CFLAGS")),
            str([*map(_missing, _LIBRARIES)]),
            *VARIANTS[variant],
        ]
    )
    stamp = folder / ".setting"
    if (folder / "build.ninja").exists() and _text(stamp) == setting:
        return
    shutil.rmtree(folder, ignore_errors=True)
    meson = [sys.executable, "-m", "mesonbuild.mesonmain"]
    _run(
        [*meson, "setup", *VARIANTS[variant], str(folder), str(SOURCE)], "Meson could not set the servers up"
    )
    stamp.write_text(setting)


def _ninja() -> str:
    """Path of the ninja wheel's executable, else of the system's."""
    beside = Path(sys.executable).with_name("ninja")
    found = str(beside) if beside.exists() else shutil.which("ninja")
    if not found:
        raise BuildError("ninja is missing: pip install ninja (it is among the project's dependencies)")
    return found


def _run(command: Sequence[str], failure: str) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    }
    environment["NINJA"] = _ninja()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode == 0:
        return
    output = (done.stdout + done.stderr).strip()
    if re.search(r"Unknown compiler|could not be invoked|No C compiler|not found or not executable", output):
        remedy = "install a C compiler: make system (as root), or name one with CC=…"
    elif "cannot find -l" in output and "san" in output:
        remedy = "the compiler's sanitizer runtime is missing: install it, or build another variant"
    else:
        remedy = "mend what the compiler names above and run the same command again"
    raise BuildError(f"{failure}:\n{_last_lines(output, 40)}\n{remedy}")


def _last_lines(text: str, count: int) -> str:
    lines = text.splitlines()
    return "\n".join((["…"] if len(lines) > count else []) + lines[-count:])


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold flock(2) on a file; the kernel releases it however the holder ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
