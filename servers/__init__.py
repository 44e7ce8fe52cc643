"""What is studied: server designs in C, and the door through which Python builds and runs them.

>>> import servers
>>> with servers.Server("epoll", root="www", accept_limit=10) as server:
...     print(server.address, server.counters()["accepts"])
"""

from servers._build import (
    PROGRAMS,
    VARIANTS,
    BuildError,
    binary,
    binary_hash,
    build,
    build_root,
    designs,
    stack_designs,
    test_program,
    unavailable,
)
from servers._server import Counters, Server, ServerError, arguments

__all__ = [
    "PROGRAMS",
    "VARIANTS",
    "BuildError",
    "Counters",
    "Server",
    "ServerError",
    "arguments",
    "binary",
    "binary_hash",
    "build",
    "build_root",
    "designs",
    "stack_designs",
    "test_program",
    "unavailable",
]
