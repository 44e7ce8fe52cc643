"""Where a program's CPU time goes: samples that it took of itself (servers/common/sampler.h), by function and category.

>>> profile = read(Path("server.samples"))
>>> shares(profile)["copies"]
"""

from __future__ import annotations

import bisect
import functools
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import servers

#: Environment variable that names the file to write.
VARIABLE = "NAI_SAMPLES"

#: What a share can be of. ``kernel`` is what programs on the kernel's sockets spend below their system calls; a
#: stack of the program's own enters the kernel only to be woken and to wake: ``crossings``.
CATEGORIES = ("parse", "tcp", "timers", "copies", "crossings", "application", "kernel")

_PARSE = {"ethernet.c", "arp.c", "ipv4.c", "fragments.c", "icmp.c", "path.c", "udp.c"}
_TCP = {
    "socket.c",
    "ready.c",
    "stack.c",
    "siphash.c",
    "transport_user.c",
    "transport_lwip.c",
    "lwip_sockets.c",
}
_COPIES = {"stream.c", "checksum.c"}
_CROSSINGS = {"host.c", "packet_ring.c", "netif_attach.c"}
_COPYING = {"memcpy", "memmove", "memset", "ring_move"}

#: A function's definition as the sources are written: from the line's begin to the brace.
_DEFINITION = re.compile(r"^(?!static\b)[A-Za-z_][\w \*]*?\b(\w+)\(([^;{}]*)\)\s*\{", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where samples were taken: ``library`` is the mapped file's name, ``file`` the source's if it is known."""

    library: str
    function: str
    file: str
    in_kernel: bool  # below a system call that was made here


@dataclass(frozen=True)
class Profile:
    """Samples of one run, each of the same weight."""

    cpu_s: float
    lost: int
    places: Counter[Place]
    kernel_sockets: bool  # the program stands on the kernel's TCP

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.places.total()

    def functions(self) -> Counter[str]:
        """Samples by function; those in the kernel by the function that entered it, in brackets."""
        counted: Counter[str] = Counter()
        for place, count in self.places.items():
            counted[f"[{place.function}]" if place.in_kernel else place.function] += count
        return counted


@dataclass
class _Map:
    begin: int
    end: int
    offset: int
    path: str


@dataclass
class _Symbols:
    """Functions of an ELF file by address; with ``exact``, static ones too, so that none is missing between two."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    units: frozenset[str] = frozenset()  # names of its source files
    segments: list[tuple[int, int, int]] = field(default_factory=list)  # offset, size, address
    exact: bool = False

    def at(self, offset: int) -> tuple[str, str] | None:
        """Name and source file of the function at an offset in the file."""
        for begin, size, address in self.segments:
            if begin <= offset < begin + size:
                place = offset - begin + address
                i = bisect.bisect_right(self.starts, place) - 1
                if i >= 0 and (place < self.ends[i] or not self.exact):
                    return self.names[i], self.files[i]
        return None


def read(path: Path | str) -> Profile:
    """Read what a program has written. Raises ``ValueError`` if it is no such file, or not whole."""
    words = [line.split(maxsplit=4) for line in Path(path).read_text().splitlines()]
    if not words or words[0] != ["nai-samples", "1"]:
        raise ValueError(f"{path} holds no samples: did the program end by itself?")
    facts = {w[0]: int(w[1]) for w in words if w[0] in ("cpu_us", "lost")}
    maps = [_Map(*(int(x, 16) for x in w[1:4]), w[4]) for w in words if w[0] == "map"]
    codes = sorted((int(w[1], 16), w[2]) for w in words if w[0] == "code")
    places: Counter[Place] = Counter()
    for w in words:
        if w[0] == "at":
            places[_place(int(w[1], 16), w[2] == "1", maps, codes)] += int(w[3])
    units = set().union(*(_symbols(m.path).units for m in maps))
    return Profile(facts["cpu_us"] / 1e6, facts["lost"], places, "transport_kernel.c" in units)


def shares(
    profile: Profile | Iterable[Profile], category: Callable[[Place, bool], str] | None = None
) -> dict[str, float]:
    """Share of each category in the samples of a run, or of several processes' together; they sum to 1."""
    profiles = [profile] if isinstance(profile, Profile) else [*profile]
    counted: Counter[str] = Counter()
    for one in profiles:
        for place, count in one.places.items():
            counted[(category or category_of)(place, one.kernel_sockets)] += count
    total = counted.total()
    names = [*CATEGORIES, *(name for name in counted if name not in CATEGORIES)]
    return {name: counted[name] / total if total else 0.0 for name in names}


def category_of(place: Place, kernel_sockets: bool) -> str:
    """Say what a sample was taken of, one of ``CATEGORIES``. What is inlined counts as its caller's."""
    if place.in_kernel:
        return "kernel" if kernel_sockets else "crossings"
    if place.library == "[vdso]" or place.file.startswith("timers/"):
        return "timers"  # the vDSO is where clocks are read
    if place.library.startswith("liblwip"):
        return _lwip_category(place.function)
    name = place.file.rpartition("/")[2]
    if place.function in _COPYING or name in _COPIES:
        return "copies"
    if name in _PARSE:
        return "parse"
    if name.startswith("tcp_") or name in _TCP:
        return "tcp"
    if name in _CROSSINGS or name.startswith("attach") or "/switch/" in place.file:
        return "crossings"
    return "application"


def _lwip_category(function: str) -> str:
    if "chksum" in function or function.startswith(("pbuf_copy", "pbuf_take")):
        return "copies"
    if function.endswith("tmr") or function.startswith(("sys_", "tcp_timer")):
        return "timers"
    if function.startswith(("ethernet_", "etharp_", "ip4_", "ip_", "icmp_", "netif_")):
        return "parse"
    return "tcp"


def _place(address: int, in_kernel: bool, maps: list[_Map], codes: list[tuple[int, str]]) -> Place:
    found = next((m for m in maps if m.begin <= address < m.end), None)
    if found is None:
        return Place("?", f"{address:x}", "", in_kernel)
    library = found.path.rpartition("/")[2]
    symbols = _symbols(found.path)
    named = symbols.at(address - found.begin + found.offset)
    # A C library without its static symbols: those that the program could name lie where it said.
    if not symbols.exact and not in_kernel:
        i = bisect.bisect_right(codes, (address, "\x7f")) - 1
        if i >= 0 and address - codes[i][0] < 2048 and found.begin <= codes[i][0]:
            named = codes[i][1], ""
    name, file = named or (library, "")
    return Place(library, name, _source(name, file, symbols.units), in_kernel)


@functools.lru_cache(maxsize=64)
def _symbols(path: str) -> _Symbols:
    """Symbols of an ELF file (System V ABI, chapter 4); empty for what is none."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return _Symbols()
    if data[:6] != b"\x7fELF\x02\x01":
        return _Symbols()
    programs, sections = struct.unpack_from("<QQ", data, 32)
    program_bytes, program_count, section_bytes, section_count = struct.unpack_from("<4H", data, 54)
    headers = [
        struct.unpack_from("<IIQQQQIIQQ", data, sections + i * section_bytes) for i in range(section_count)
    ]
    segments = []
    for i in range(program_count):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, programs + i * program_bytes)
        if kind == 1:  # PT_LOAD
            segments.append((offset, size, address))
    tables = {header[1]: header for header in headers}
    table = tables.get(2) or tables.get(11)  # SHT_SYMTAB, else SHT_DYNSYM
    if table is None:
        return _Symbols(segments=segments)
    strings = headers[table[6]][4]
    functions: dict[int, tuple[int, str, str]] = {}
    units = set()
    file = ""
    for at in range(table[4], table[4] + table[5], 24):
        name_at, info, _, section, value, size = struct.unpack_from("<IBBHQQ", data, at)
        kind, local = info & 15, info >> 4 == 0
        if kind not in (2, 4, 10) or (kind != 4 and section == 0):  # FUNC, FILE, GNU_IFUNC
            continue
        name = data[strings + name_at : data.index(b"\0", strings + name_at)].decode(errors="replace")
        if kind == 4:
            file = name
            units.add(name.rpartition("/")[2])
        elif value not in functions or functions[value][0] < size:
            functions[value] = size, name.partition(".")[0] or name, file if local else ""
    starts = sorted(functions)
    return _Symbols(
        starts,
        [start + functions[start][0] for start in starts],
        [functions[start][1] for start in starts],
        [functions[start][2] for start in starts],
        frozenset(units),
        segments,
        exact=2 in tables,
    )


@functools.lru_cache(maxsize=1)
def _sources() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Where our sources define functions that others can call; and their paths, below servers/, by name."""
    root = servers.designs()["epoll"].parent.parent
    defined: dict[str, list[str]] = {}
    paths: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.c")):
        relative = str(path.relative_to(root))
        paths.setdefault(path.name, []).append(relative)
        for match in _DEFINITION.finditer(path.read_text(errors="replace")):
            defined.setdefault(match[1], []).append(relative)
    return defined, paths


def _source(function: str, unit: str, units: frozenset[str]) -> str:
    """Path below servers/ of a function's source: of a static one the symbol table names the file, of others we do."""
    defined, paths = _sources()
    if unit:
        name = unit.rpartition("/")[2]
        candidates = paths.get(name, [])
        return next((c for c in candidates if unit.endswith(c)), candidates[0] if candidates else name)
    candidates = [c for c in defined.get(function, []) if c.rpartition("/")[2] in units]
    return candidates[0] if candidates else ""
