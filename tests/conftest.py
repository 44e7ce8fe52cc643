"""What many tests share: one build, small sets of files, running designs, and a client that speaks bytes."""

import contextlib
import itertools
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import servers
from retrospective.lab import filesets
from retrospective.lab.holder import CLIENT, SERVER
from retrospective.lab.hosts import Lab, LabUnavailable

#: Designs that speak all of HTTP; *floor* answers the same bytes to everything.
SPEAKING = [name for name in servers.designs() if name != "floor"]

#: The servers of the paper on lazy I/O that *lazy* is with other options than its own: the same tests hold them.
LAZY_SERVERS = {
    "NB-B": {"engine": "plain"},
    "NB-AMPED": {"engine": "amped"},
    "NB-LAIO (uring)": {"engine": "uring"},
    "NB-LAIO (nowait)": {"engine": "nowait"},
    "NB-LAIO (begun)": {"engine": "activation", "reads": "begun"},
    "NB-B (begun)": {"engine": "plain", "reads": "begun"},
    "NB-pool": {"engine": "pool"},
    "NB-POSIX-AIO": {"engine": "posix-aio"},
    "NB-Linux-AIO": {"engine": "linux-aio"},
    "LAIO-LAIO": {"network": "lazy", "engine": "activation"},
    "LAIO-LAIO (uring)": {"network": "lazy", "engine": "uring"},
}


#: Designs on a user-level stack: they serve on a switch in a lab, and the kernel is their client.
STACKED = [*servers.stack_designs()]


class FarAddress(tuple):
    """IP address and port of a server on a switch, as the kernel of the lab's server host reaches it."""

    def __new__(cls, address, lab):
        self = super().__new__(cls, address)
        self.lab = lab
        return self

    def connect(self, timeout_s):
        """A connection to it."""
        one = self.lab.socket(SERVER)
        one.settimeout(timeout_s)
        try:
            one.connect(tuple(self))
        except OSError:
            one.close()
            raise
        return one


@dataclass
class Switch:
    """A switch whose uplink is the lab's wire; beyond that is the kernel of the lab's server host."""

    lab: Lab
    socket: Path
    addresses: itertools.count

    def stack(self, **more):
        """An address that no one had before, and the environment that attaches a stack there."""
        ip = f"10.0.0.{next(self.addresses)}"
        words = {"attach": f"switch:{self.socket}", "address": f"{ip}/16", "connections": 1024} | more
        return ip, {"NAI_STACK": ",".join(f"{name.replace('_', '-')}={word}" for name, word in words.items())}


class StackedServer(servers.Server):
    """A design on a user-level stack, behind the switch."""

    def __init__(self, design, switch, *, listen=None, **options):
        ip, environment = switch.stack()
        super().__init__(design, listen=f"{ip}:80", env=environment, **options)
        self._lab = switch.lab

    def start(self, timeout_s=10.0):
        super().start(timeout_s)
        self.address = FarAddress(self.address, self._lab)
        return self


@dataclass
class Reply:
    """A reply, taken apart; ``fields`` have lower-case names."""

    status: int
    version: str
    fields: dict
    body: bytes


class Client:
    """One connection that sends bytes as they are given and takes replies apart one by one."""

    def __init__(self, address, timeout_s=5.0):
        far = isinstance(address, FarAddress)
        self.socket = address.connect(timeout_s) if far else socket.create_connection(address, timeout_s)
        self.rest = b""

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def _more(self):
        piece = self.socket.recv(1 << 18)
        self.rest += piece
        return bool(piece)

    def reply(self, head=False):
        """The next reply; ``head``: the request was HEAD, so no body follows."""
        while b"\r\n\r\n" not in self.rest:
            assert self._more(), f"the connection ended instead of a reply: {self.rest!r}"
        top, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        version, status = re.fullmatch(r"(HTTP/1\.\d) (\d{3}) [\w ]+", first).groups()
        fields = {}
        for line in lines:
            name, value = re.fullmatch(r"([\w-]+): *(.*)", line).groups()
            assert name.lower() not in fields, f"twice: {name}"
            fields[name.lower()] = value
        length = 0 if head or status == "304" else int(fields["content-length"])
        while len(self.rest) < length:
            assert self._more(), f"the body ended after {len(self.rest)} of {length} bytes"
        body, self.rest = self.rest[:length], self.rest[length:]
        return Reply(int(status), version, fields, body)

    def ended(self):
        """Whether the server has closed, with nothing left to read; waits for it."""
        try:
            return not self.rest and self.socket.recv(1) == b""
        except ConnectionResetError:
            return not self.rest

    def ask(self, path="/", *fields, method="GET", version="1.1"):
        """Send one request and return its reply."""
        self.send("\r\n".join([f"{method} {path} HTTP/{version}", "Host: test", *fields, "", ""]))
        return self.reply(head=method == "HEAD")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()


@pytest.fixture(scope="session")
def release():
    """Folder of the release build."""
    return servers.build("release")


@pytest.fixture(scope="session")
def specweb(tmp_path_factory):
    """A directory of SPECweb99-like files: every size from 102 bytes to 900 KiB."""
    return filesets.specweb99_like(tmp_path_factory.mktemp("filesets"), directories=1)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The one-packet file."""
    return filesets.one_packet(tmp_path_factory.mktemp("filesets"))


@pytest.fixture
def client():
    """``Client`` itself, for tests that talk to servers of their own."""
    return Client


@pytest.fixture
def eventually():
    """Wait until something holds; fails when it does not in time."""

    def wait(condition, timeout_s=5.0):
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.005)
        return value

    return wait


@pytest.fixture(scope="session")
def can_run(release):
    """Skip a test of a design that cannot be built or cannot run here, with the line that brings it."""

    def check(design):
        if design in servers.unavailable():
            pytest.skip(f"{design}: {servers.unavailable()[design]}")

    return check


@pytest.fixture
def serve(can_run, request):
    """Start servers by name; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(design, root, **options):
            if design in LAZY_SERVERS:
                options = LAZY_SERVERS[design] | options
                can_run(options["engine"])  # uring is a design, too, and needs the same
                design = "lazy"
            can_run(design)
            if design in STACKED:
                switch = request.getfixturevalue("switch")
                return stack.enter_context(StackedServer(design, switch, root=root, **options))
            return stack.enter_context(servers.Server(design, root=root, **options))

        yield start


@pytest.fixture(params=[*SPEAKING, *LAZY_SERVERS, *(name for name in STACKED if name != "epoll-lwip-thread")])
def design(request):
    """Every design that speaks HTTP, in turn, what else *lazy* can be, and those on a user-level stack."""
    return request.param


@pytest.fixture(scope="session")
def can_lab(release):
    """Skip where no lab can be made."""
    try:
        with Lab():
            pass
    except LabUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def switch(can_lab, tmp_path_factory):
    """A switch for stacks, with the lab's wire as its uplink."""
    folder = tmp_path_factory.mktemp("switch")
    output, path = folder / "output", folder / "socket"
    with Lab(offloads=False) as lab, output.open("wb") as file:
        words = [servers.binary("stackswitch"), "--socket", path, "--uplink", lab.interface]
        process = lab.spawn(CLIENT, words, stdout=file, stderr=file)
        deadline = time.monotonic() + 10
        while "ready" not in output.read_text():
            assert process.alive(), output.read_text()
            assert time.monotonic() < deadline, "the switch does not get ready"
            time.sleep(0.01)
        yield Switch(lab, path, itertools.count(20))
        process.send_signal(15)
        assert process.wait(10).code == 0, output.read_text()
