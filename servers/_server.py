"""A running design: started, awaited, read while it runs, stopped."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from servers._build import binary

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_HEADER = struct.Struct("<8sQ")
_RECORD = struct.Struct("<24sQ")
_MAGIC = b"NAICNT01"


class ServerError(RuntimeError):
    """A server did not start or ended by itself; holds what it said."""


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as words: ``_`` becomes ``-``, ``True`` a bare flag, ``None`` and ``False`` are left out."""
    words: list[str] = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(f"{value:.10g}" if isinstance(value, float) else str(value))
    return words


class Counters:
    """Live counters of one running design (``servers/common/counters.h``), in memory that no folder names.

    Hand ``fileno()`` down to the server under some number n and tell it ``--counters /proc/self/fd/n``.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("counters", os.MFD_CLOEXEC)

    def fileno(self) -> int:
        """Descriptor of the shared memory."""
        return self._file

    def raw(self) -> bytes:
        """Return the memory as it stands; cheap, for readings that are decoded later."""
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    @staticmethod
    def decode_workers(raw: bytes) -> list[dict[str, int]]:
        """Counter name -> value for each process; empty if no server has mapped the memory yet."""
        workers = []
        at = 0
        while len(raw) - at >= _HEADER.size:
            magic, number = _HEADER.unpack_from(raw, at)
            begin, at = at + _HEADER.size, at + _HEADER.size + number * _RECORD.size
            if magic != _MAGIC or at > len(raw):
                break
            records = _RECORD.iter_unpack(raw[begin:at])
            workers.append({name.rstrip(b"\0").decode(): value for name, value in records})
        return workers

    @classmethod
    def decode(cls, raw: bytes) -> dict[str, int]:
        """Counter name -> value, of all processes together; empty if no server has mapped the memory yet.

        Gauges are summed too: ``connections_peak`` is exact for one process, else the most that there can
        have been. Of ``turn_max_us`` it is the longest of any process.
        """
        workers = cls.decode_workers(raw)
        if not workers:
            return {}
        total = {name: sum(worker[name] for worker in workers) for name in workers[0]}
        return total | {
            name: max(worker[name] for worker in workers) for name in total if name == "turn_max_us"
        }

    def workers(self) -> list[dict[str, int]]:
        """Counter name -> value for each process, now."""
        return self.decode_workers(self.raw())

    def read(self) -> dict[str, int]:
        """Counter name -> value, of all processes together, now."""
        return self.decode(self.raw())

    def forget_longest(self) -> None:
        """Let the longest turn be that of the turns from now on."""
        at, raw = 0, self.raw()
        for worker in self.decode_workers(raw):
            at += _HEADER.size
            if "turn_max_us" in worker:
                value = at + list(worker).index("turn_max_us") * _RECORD.size + _RECORD.size - 8
                os.pwrite(self._file, bytes(8), value)
            at += len(worker) * _RECORD.size

    def close(self) -> None:
        """Give the memory back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Server:
    """A design serving ``root`` on a local address, as a context manager.

    ``options`` are the design's own (``accept_limit=10``). The server is killed when the thread that started
    it ends without stopping it (PR_SET_PDEATHSIG), so none outlives a test run or a notebook.
    """

    def __init__(
        self,
        design: str,
        *,
        root: Path | str,
        listen: str = "127.0.0.1:0",
        variant: str = "release",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.design = design
        self.address: tuple[str, int] = ("", 0)
        self._counters = Counters()
        self._command = [
            str(binary(design, variant)),
            *arguments({"listen": listen, "root": root, **options}),
            *("--counters", f"/proc/self/fd/{self._counters.fileno()}"),
        ]
        self._env = dict(os.environ) | dict(env or {})
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the server)
        self._process: subprocess.Popen[bytes] | None = None
        self._final = b""

    def start(self, timeout_s: float = 10.0) -> Self:
        """Start and wait until the design says that it listens. Raises ``ServerError``."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=self._env,
            pass_fds=(self._counters.fileno(),),
            preexec_fn=_die_with_parent,  # noqa: PLW1509 (touches no lock; the C library is loaded)
        )
        line = first_line(self._process.stdout.fileno(), timeout_s)
        if not line.startswith("listening "):
            self.kill()
            self._close()
            raise ServerError(
                f"{self.design} did not listen: {(self.log or line).strip() or 'it said nothing'}"
            )
        host, port = line.split()[1].rsplit(":", 1)
        self.address = host, int(port)
        return self

    @property
    def pid(self) -> int:
        """Process id."""
        if self._process is None:
            raise ServerError(f"{self.design} has not been started")
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        return (
            os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace") if not self._log.closed else ""
        )

    def counters(self) -> dict[str, int]:
        """Live counters; after the end their last values."""
        return Counters.decode(self._final or self._counters.raw())

    def workers(self) -> list[dict[str, int]]:
        """Live counters of each process; after the end their last values."""
        return Counters.decode_workers(self._final or self._counters.raw())

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout_s: float = 10.0) -> int:
        """Ask it to drain (SIGTERM) and return its exit code, negative if it had to be killed."""
        if self._process is None:
            raise ServerError(f"{self.design} has not been started")
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        try:
            self.stop()
        finally:
            self._final = self._counters.raw()
            self._close()

    def _close(self) -> None:
        self._counters.close()
        if self._process is not None and self._process.stdout:
            self._process.stdout.close()


def first_line(file: int, timeout_s: float) -> str:
    """First line that arrives on a pipe, without its end, or what came until the time-out."""
    deadline = time.monotonic() + timeout_s
    line = b""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    while b"\n" not in line:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            break
        piece = os.read(file, 4096)
        if not piece:
            break
        line += piece
    return line.split(b"\n", 1)[0].decode(errors="replace")


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
