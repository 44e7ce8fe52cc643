"""Threads: under the thread sanitizer, on the other processor, and by the thousand."""

import os
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import servers

SOURCE = servers.designs()["user-threads"].parent.parent

#: A race ends the program with this status, besides its report.
TSAN = {"TSAN_OPTIONS": "exitcode=66:halt_on_error=1"}

CROSS = ("aarch64-linux-gnu-gcc", "qemu-aarch64")


def run(command, timeout_s, **environment):
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | environment,
        timeout=timeout_s,
    )


@pytest.fixture(scope="module")
def tsan():
    """Folder of the thread sanitizer's build, with the tests that this module runs."""
    folder = servers.build("tsan")
    ninja = Path(sys.executable).with_name("ninja")
    done = run([ninja, "-C", folder, "tests/test_fiber", "tests/test_designs"], 300)
    assert done.returncode == 0, done.stdout[-4000:]
    return folder


def test_the_thread_sanitizer_is_on(tsan, tmp_path):
    """A race planted in the flags that the build uses is reported, or the tests below would show nothing."""
    source = tmp_path / "race.c"
    source.write_text(
        "#include <pthread.h>\nint n;\nvoid *add(void *a) { for (int i = 0; i < 1000; i++) n++; return a; }\n"
        "int main(void) { pthread_t t; pthread_create(&t, 0, add, 0); add(0); return pthread_join(t, 0); }\n"
    )
    options = (tsan / "compile_commands.json").read_text()
    assert "-fsanitize=thread" in options
    compiler = os.environ.get("CC", "cc")
    assert run([compiler, "-g", "-fsanitize=thread", source, "-o", tmp_path / "race"], 60).returncode == 0
    done = run([tmp_path / "race"], 60, **TSAN)
    assert done.returncode == 66
    assert "data race" in done.stderr


def test_fibers_under_the_thread_sanitizer(tsan):
    """It is told of every switch and follows it. What it cannot hold are more than some 8,000 fibers at a time:
    thousands are stressed at random without it and under the address sanitizer (``servers/tests/test_fiber.c``).
    """
    done = run([tsan / "tests" / "test_fiber"], 300, **TSAN)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("name", ["kernel-threads", "user-threads"])
def test_designs_under_the_thread_sanitizer(tsan, name):
    done = run([tsan / "tests" / "test_designs", name, tsan / name], 300, **TSAN)
    assert done.returncode == 0, done.stderr[-8000:]
    assert "WARNING: ThreadSanitizer" not in done.stderr


def test_the_timer_domain_under_the_thread_sanitizer():
    """As threads of one process: what processes share it cannot follow."""
    done = run([servers.test_program("test_domain_processes", "tsan"), "threads"], 300, **TSAN)
    assert done.returncode == 0, done.stderr[-8000:]
    assert "WARNING: ThreadSanitizer" not in done.stderr


@pytest.mark.parametrize("name", ["test_switch_ring", "test_switch_threads"])
def test_the_switch_under_the_thread_sanitizer(name):
    """A ring between threads, and stacks as threads of one process."""
    done = run([servers.test_program(name, "tsan")], 300, **TSAN)
    assert done.returncode == 0, done.stderr[-8000:]
    assert "WARNING: ThreadSanitizer" not in done.stderr


def test_fibers_on_aarch64(tmp_path):
    """The other processor's switch, compiled by a cross compiler and run by an emulator."""
    missing = [tool for tool in CROSS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed; as root: make system")
    program = tmp_path / "test_fiber"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-static", "-pthread"]
    folders = [f"-I{SOURCE / folder}" for folder in ("common", "threads", "tests")]
    files = [SOURCE / "threads" / "fiber.c", SOURCE / "tests" / "test_fiber.c"]
    done = run([CROSS[0], *flags, *folders, *files, "-o", program, "-lm"], 120)
    assert done.returncode == 0, done.stderr[-4000:]
    done = run([CROSS[1], program, "1000"], 300)
    assert done.returncode == 0, done.stderr[-4000:]


def resident_bytes(pid):
    """Memory of a process that is in RAM (VmRSS), bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def test_ten_thousand_parked_threads_are_small(serve, small, eventually):
    """Each holds an idle persistent connection that it served once; together they take less than 100 MB."""
    many = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < many + 3000:
        pytest.skip(f"the hard limit of descriptors is {hard}; ulimit -Hn {many + 3000} would do")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = serve("user-threads", small.root, threads=many, backlog=4096)
    idle = []
    try:
        for _ in range(many):
            connection = socket.create_connection(server.address, 5)
            idle.append(connection)
            connection.sendall(b"GET /1k.bin HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.counters()["connections_open"] == many
        assert resident_bytes(server.pid) < 100e6
        for connection in (idle[0], idle[many // 2], idle[-1]):
            connection.sendall(b"GET /1k.bin HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    eventually(lambda: server.counters()["connections_open"] == 0, 20)
    assert server.stop() == 0
