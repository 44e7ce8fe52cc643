"""The Python door: designs, builds, running servers, counters."""

import os
import subprocess
import sys
import time

import pytest

import servers


def test_designs_come_from_meson_s_table():
    designs = servers.designs()
    assert {"select", "epoll", "floor"} <= set(designs)
    assert all(source.is_file() for source in designs.values())


def test_an_unknown_design_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no design 'apache'.*select.*epoll.*floor"):
        servers.binary("apache")
    with pytest.raises(ValueError, match="no variant"):
        servers.build("fast")


def test_a_second_build_is_free_and_silent(release, capfd):
    begin = time.monotonic()
    for _ in range(20):
        assert servers.build("release") == release
    assert time.monotonic() - begin < 2
    assert capfd.readouterr() == ("", "")


def test_every_design_and_program_is_built(release):
    for name in (*servers.designs(), *servers.stack_designs(), *servers.PROGRAMS):
        if "is missing" in servers.unavailable().get(name, ""):
            continue
        path = servers.binary(name)
        assert path.is_relative_to(release)
        assert len(servers.binary_hash(path)) == 64


def test_binaries_do_not_hold_the_place_of_their_sources(release):
    source = str(servers.designs()["epoll"].parent.parent).encode()
    assert source not in servers.binary("epoll").read_bytes()


def test_a_missing_compiler_is_said(tmp_path):
    environment = os.environ | {"NAI_BUILD_DIR": str(tmp_path), "CC": str(tmp_path / "no-such-cc")}
    program = "import servers\ntry: servers.build()\nexcept servers.BuildError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "no-such-cc" in done.stdout
    assert "make system" in done.stdout
    assert done.stderr == ""


def run_python(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", f"import servers\n{program}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_without_optional_libraries_what_needs_them_is_listed_and_not_built(tmp_path):
    """pkg-config finds nothing in an empty folder; all else is built, and the remedies are a line each."""
    program = """
print(*servers.designs(), *servers.stack_designs())
for name, remedy in servers.unavailable().items():
    print(name, remedy, sep=": ")
folder = servers.build()
paths = {name: name for name in (*servers.designs(), *servers.stack_designs())} | servers.PROGRAMS
print(*sorted(name for name, path in paths.items() if not (folder / path).exists()))
for name in ("uring", "epoll-lwip", "traffic-lwip"):
    try:
        servers.binary(name)
    except servers.BuildError as error:
        print(error)
"""
    empty = tmp_path / "empty"
    empty.mkdir()
    said = run_python(
        program,
        PKG_CONFIG_LIBDIR=str(empty),
        PKG_CONFIG_PATH="",
        NAI_BUILD_DIR=str(tmp_path / "build"),
    )
    assert {"uring", "drain-uring", "epoll-lwip"} <= set(said[0].split())
    liburing = "liburing is missing: make system (as root)"
    lwip = "lwip is missing: make system (as root)"
    on_lwip = [f"{name}-lwip{how}" for name in ("epoll", "load", "traffic") for how in ("", "-thread")]
    assert said[1:] == [
        f"uring: {liburing}",
        f"drain-uring: {liburing}",
        *(f"{name}: {lwip}" for name in on_lwip),
        " ".join(sorted(["uring", "drain-uring", *on_lwip])),
        f"uring is not built: {liburing}",
        f"epoll-lwip is not built: {lwip}",
        f"traffic-lwip is not built: {lwip}",
    ]


def test_where_io_uring_is_refused_its_designs_say_so(release, small, refuse_io_uring):
    program = (
        refuse_io_uring
        + f"""
for name, remedy in servers.unavailable().items():
    print(name, remedy, sep=": ")
try:
    servers.Server("uring", root={str(small.root)!r}).start()
except servers.ServerError as error:
    print(error)
"""
    )
    said = run_python(program)
    if said == ["no seccomp"]:
        pytest.skip("this kernel has no seccomp filters to refuse it with")
    assert said[0] == "uring: " + said[1].removeprefix("drain-uring: ")
    assert "Operation not permitted: sudo sysctl kernel.io_uring_disabled=0" in said[0]
    assert "cannot set up io_uring" in said[2]
    assert "Operation not permitted" in said[2]


@pytest.fixture
def refuse_io_uring():
    """The beginning of a program: a seccomp filter that refuses io_uring_setup(2), as containers have it."""
    return """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *i) for i in (
    (0x20, 0, 0, 0),             # load the number of the system call
    (0x15, 0, 1, 425),           # io_uring_setup?
    (0x06, 0, 0, 0x00050001),    # EPERM
    (0x06, 0, 0, 0x7FFF0000))))  # else allowed
filter = struct.pack("@HP", 4, ctypes.addressof(code))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter):
    print("no seccomp"), exit()
"""


def test_options_become_words():
    options = {
        "accept_limit": "inf",
        "close-after-reply": True,
        "work_us": 40,
        "rate": 20000.0,
        "cpu": None,
        "x": False,
    }
    assert servers.arguments(options) == [
        *("--accept-limit", "inf", "--close-after-reply", "--work-us", "40", "--rate", "20000"),
    ]


@pytest.mark.parametrize("name", [*servers.designs(), *servers.stack_designs()])
def test_the_command_line(release, tmp_path, name, can_run):
    can_run(name)

    def run(*words):
        return subprocess.run([servers.binary(name), *words], capture_output=True, text=True, timeout=10)

    help_ = run("--help")
    assert help_.returncode == 0
    options = ("listen", "root", "backlog", "accept-limit", "work-us", "cpu", "congestion", "counters")
    assert all(f"--{option}" in help_.stdout for option in options)
    for words in (["--no-such"], ["--listen", "nowhere"], ["--listen", "127.0.0.1:0", "--backlog", "x"], []):
        bad = run(*words)
        assert bad.returncode == 2
        assert len(bad.stderr.strip().splitlines()) == 1, bad.stderr
        assert bad.stdout == ""
    if name in servers.stack_designs():
        return  # it would ask for a stack first: test_userstack_http.py
    refused = run(
        "--listen", "203.0.113.1:80", "--root", str(tmp_path)
    )  # an address that is not ours (RFC 5737)
    assert refused.returncode == 1
    assert "cannot listen" in refused.stderr


def test_a_server_that_cannot_start_says_why(release, tmp_path):
    with (
        pytest.raises(servers.ServerError, match="cannot open the folder"),
        servers.Server("epoll", root=tmp_path / "missing"),
    ):
        pass


def test_counters_are_live_and_stay(serve, small, client, design, eventually):
    server = serve(design, small.root)
    with client(server.address) as c:
        for _ in range(3):
            assert c.ask("/1k.bin").status == 200
        c.ask("/nothing")
        # The client may have a reply before the server has counted it.
        eventually(lambda: server.counters()["replies"] == 4)
        now = server.counters()
        assert now["accepts"] == now["connections_open"] == 1
        assert (now["requests"], now["replies"], now["replies_4xx"]) == (4, 4, 1)
        assert now["bytes_sent"] > 3 * 1024
        assert now["system_calls"] >= 4
        # drain-uring and kernel-threads do not call it for every request, but they do when there is none.
        eventually(lambda: server.counters()["getevents"] > 0)
    assert server.stop() == 0
    assert server.counters()["closes"] == 1
    assert server.log == ""


def test_a_server_dies_with_the_process_that_started_it(release, small, eventually):
    program = (
        "import os, signal, sys, servers\n"
        f"server = servers.Server('epoll', root={str(small.root)!r}).start()\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    eventually(lambda: not os.path.exists(f"/proc/{pid}/exe"))
