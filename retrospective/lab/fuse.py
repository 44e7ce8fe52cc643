"""The kernel's FUSE protocol (linux/fuse.h, version 7) as far as one read-only file needs it, without a library.

A file system of one file, :data:`NAME` in its root. Everything but a READ is answered here at once; what a READ
costs and returns is the affair of whoever serves. Messages are bytes from outside: whatever they hold, they are
answered or dropped, counted, and survived.
"""

from __future__ import annotations

import errno
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass

NAME = b"disk"
ROOT_NODE, FILE_NODE = 1, 2

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS = 1, 2, 3, 14, 15, 17
RELEASE, FLUSH, INIT, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 18, 25, 26, 34, 36, 38, 42

#: The most a READ asks for, bytes: as much as a command of an ATA disk with 28-bit addresses moves (256 sectors).
MOST_READ_BYTES = 128 << 10
#: Buffer for one message; the kernel refuses to fill less than 8 KiB (FUSE_MIN_READ_BUFFER).
MESSAGE_BYTES = 64 << 10

_PAGE_BYTES = 4096
_MAJOR, _MINOR = 7, 31
_ASYNC_READ, _ASYNC_DIO, _MAX_PAGES = 1 << 0, 1 << 15, 1 << 22
_DIRECT_IO = 1 << 0  # FOPEN_DIRECT_IO: the page cache above holds the data, so this file's shall not
#: Requests that may wait for the arm at once (max_background): as many as a loop device has room for.
_MOST_WAITING = 128
_FOR_EVER_S = 1 << 30

_IN = struct.Struct("=IIQQIIIHH")  # fuse_in_header
_OUT = struct.Struct("=IiQ")  # fuse_out_header
_INIT_IN = struct.Struct("=IIII")
_READ_IN = struct.Struct("=QQIIQII")
_INIT_OUT = struct.Struct("=IIIIHHIIHH32x")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_OPEN_OUT = struct.Struct("=QIi")
_STATFS_OUT = struct.Struct("=QQQQQIIII24x")
_UNIQUE_END = 16  # a message this long says what to answer to


class MalformedError(ValueError):
    """A message that is no request; ``unique`` is what an answer would refer to, if that much could be read."""

    def __init__(self, what: str, unique: int | None = None) -> None:
        super().__init__(what)
        self.unique = unique


@dataclass(frozen=True)
class Request:
    """A request of the kernel: operation, identifier, node, and the operation's own bytes."""

    opcode: int
    unique: int
    node: int
    body: bytes


@dataclass(frozen=True)
class Read:
    """A READ to be served: ``size`` bytes from ``offset``; both lie within the file."""

    unique: int
    offset: int
    size: int


def parse(message: bytes) -> Request:
    """Take a message apart; raises ``MalformedError``."""
    if len(message) < _IN.size:
        unique = _OUT.unpack_from(message)[2] if len(message) >= _UNIQUE_END else None
        raise MalformedError(f"{len(message)} bytes are no header", unique)
    length, opcode, unique, node, *_ = _IN.unpack_from(message)
    if length != len(message):
        raise MalformedError(f"{len(message)} bytes that call themselves {length}", unique)
    return Request(opcode, unique, node, bytes(message[_IN.size :]))


def reply(unique: int, data: bytes = b"") -> bytes:
    """Return the answer to a request that succeeded."""
    return _OUT.pack(_OUT.size + len(data), 0, unique) + data


def refusal(unique: int, error: int) -> bytes:
    """Return the answer to a request that failed with ``error``, an errno."""
    return _OUT.pack(_OUT.size, -error, unique)


class OneFile:
    """A file system that holds one file of ``size`` bytes, for its reader's process alone.

    ``malformed`` and ``unknown`` count the messages that made no sense and the operations that are not had.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.malformed = 0
        self.unknown = 0
        self._operations: dict[int, Callable[[Request], bytes | Read | None]] = {
            INIT: self._init,
            LOOKUP: self._lookup,
            GETATTR: self._getattr,
            OPEN: self._open,
            READ: self._read,
            STATFS: self._statfs,
            **dict.fromkeys((RELEASE, FLUSH, ACCESS, DESTROY), lambda request: reply(request.unique)),
            # Nobody waits for an answer to these; an interrupted READ is served like any other.
            **dict.fromkeys((FORGET, BATCH_FORGET, INTERRUPT), lambda request: None),
        }

    def answer(self, message: bytes) -> bytes | Read | None:
        """Return the answer to a message: bytes for the kernel, a READ to be served, or nothing to be sent."""
        try:
            request = parse(message)
            operation = self._operations.get(request.opcode)
            if operation is None:
                self.unknown += 1
                return refusal(request.unique, errno.ENOSYS)
            return operation(request)
        except MalformedError as error:
            self.malformed += 1
            return None if error.unique is None else refusal(error.unique, errno.EINVAL)

    def _init(self, request: Request) -> bytes:
        major, _, read_ahead, offered = _fields(_INIT_IN, request)
        if major < _MAJOR:
            return refusal(request.unique, errno.EPROTO)
        # A newer kernel reads the major number only and asks again in our version.
        flags = offered & (_ASYNC_READ | _ASYNC_DIO | _MAX_PAGES)
        pages = MOST_READ_BYTES // _PAGE_BYTES
        fields = (_MAJOR, _MINOR, read_ahead, flags, _MOST_WAITING, _MOST_WAITING, _PAGE_BYTES, 1, pages, 0)
        return reply(request.unique, _INIT_OUT.pack(*fields))

    def _lookup(self, request: Request) -> bytes:
        if request.node != ROOT_NODE or request.body != NAME + b"\0":
            return refusal(request.unique, errno.ENOENT)
        entry = struct.pack("=QQQQII", FILE_NODE, 0, _FOR_EVER_S, _FOR_EVER_S, 0, 0)
        return reply(request.unique, entry + self._attributes(FILE_NODE))

    def _getattr(self, request: Request) -> bytes:
        if request.node not in (ROOT_NODE, FILE_NODE):
            return refusal(request.unique, errno.ENOENT)
        valid = struct.pack("=QII", _FOR_EVER_S, 0, 0)
        return reply(request.unique, valid + self._attributes(request.node))

    def _open(self, request: Request) -> bytes:
        if request.node != FILE_NODE:
            return refusal(request.unique, errno.ENOENT)
        return reply(request.unique, _OPEN_OUT.pack(0, _DIRECT_IO, 0))

    def _read(self, request: Request) -> bytes | Read:
        _, offset, size, *_ = _fields(_READ_IN, request)
        if request.node != FILE_NODE:
            return refusal(request.unique, errno.ENOENT)
        within = max(0, min(size, self.size - offset, MOST_READ_BYTES))
        return Read(request.unique, offset, within) if within else reply(request.unique)

    def _statfs(self, request: Request) -> bytes:
        blocks = -(-self.size // _PAGE_BYTES)
        return reply(
            request.unique, _STATFS_OUT.pack(blocks, 0, 0, 1, 0, _PAGE_BYTES, len(NAME), _PAGE_BYTES, 0)
        )

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFDIR | 0o500 if node == ROOT_NODE else stat.S_IFREG | 0o400
        size = 0 if node == ROOT_NODE else self.size
        times = (0, 0, 0, 0, 0, 0)
        return _ATTR.pack(node, size, -(-size // 512), *times, mode, 1, 0, 0, 0, _PAGE_BYTES, 0)


def _fields(layout: struct.Struct, request: Request) -> tuple[int, ...]:
    if len(request.body) < layout.size:
        raise MalformedError(f"operation {request.opcode} with {len(request.body)} bytes", request.unique)
    return layout.unpack_from(request.body)
