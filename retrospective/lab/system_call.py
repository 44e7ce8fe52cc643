"""System calls that neither Python nor the C library has a function for, by their numbers (syscall(2))."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: object) -> int:
    """Return what the kernel does; what it refuses is an ``OSError``. Arguments are as ctypes passes them."""
    result = _LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
