"""Faults planted on purpose: each must make its trial invalid or failed, and for the reason that was planted.

A faulty server is the real one with something done to it: before it starts (``command``), or when the
measuring window begins (``disturbance``).
"""

import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading

import pytest

import servers
from retrospective import paths
from retrospective.lab.filesets import one_packet
from retrospective.lab.hosts import Lab, LabUnavailable
from retrospective.lab.pagecache import evict, resident_share
from retrospective.lab.trial import Trial, run_trial

#: Reasons that a busy machine (or its kernel, reclaiming idle pages) may give any trial: no fault of ours.
WEATHER = ("disturbed", "cache-cold", "generator-late", "generator-saturated")

OPEN = {"mode": "open", "rate": 500.0, "requests-per-connection": 1, "timeout-ms": 150}
CLOSED = {"mode": "closed", "clients": 4, "requests-per-connection": "inf", "timeout-ms": 150}
RAW = {"mode": "raw", "rate": 500.0, "timeout-ms": 150}
LOADS = pytest.mark.parametrize("load", [OPEN, CLOSED, RAW], ids=["open", "closed", "raw"])


@pytest.fixture(scope="module", autouse=True)
def lab():
    servers.build("release")
    try:
        with Lab():
            pass
    except LabUnavailable as error:
        pytest.skip(str(error))


def trial(load=OPEN):
    return Trial(
        chapter="lab",
        experiment="planted-fault",
        kind="trial",
        profile="smoke",
        design="epoll",
        options={"backlog": 128},
        workload="one-packet",
        load=load | {"warmup-s": 0.1, "duration-s": 0.5},
        charge="receiver",
        x_ratio=None,
        label="planted fault",
    )


def epoll(address, root, counters):
    """Command line of the design, as a trial starts it."""
    return [str(servers.binary("epoll")), "--listen", address, "--root", str(root), "--counters", counters]


def caught(row, reason):
    assert not row["valid"], row
    assert row["status"] in {"invalid", "failed"}
    assert row["reason"].startswith(reason), row["reason"]


@LOADS
def test_without_a_fault_nothing_is_caught(load):
    row = run_trial(trial(load), command=epoll, disturbance=lambda lab, server: None)
    assert row["valid"] or row["reason"].startswith(WEATHER), row["reason"]
    assert row["replies_per_s"] > 0
    assert row["bodies_verified"] > 0
    assert row["bodies_mismatched"] == 0


@pytest.fixture
def copied(tmp_path):
    """A copy of the files, so that one can be spoilt; returns root and file."""
    right = one_packet(paths.BUILD / "filesets")
    root = shutil.copytree(right.root, tmp_path / "files")
    return root, root / right.files[0].path.lstrip("/")


def flip_a_bit(file):
    """In the middle of 1 KiB, in place: status, head and length stay right."""
    with file.open("r+b") as opened:
        opened.seek(500)
        byte = opened.read(1)[0]
        opened.seek(500)
        opened.write(bytes([byte ^ 1]))


@LOADS
def test_a_wrong_body(load, copied):
    root, file = copied
    row = run_trial(
        trial(load),
        command=lambda address, _, counters: [*epoll(address, root, counters), "--file-cache-bytes", "0"],
        disturbance=lambda lab, server: flip_a_bit(file),
    )
    caught(row, "wrong-body")
    assert row["bodies_mismatched"] > 0


def test_a_body_wrong_from_the_start(copied):
    root, file = copied
    flip_a_bit(file)
    row = run_trial(trial(), command=lambda address, _, counters: epoll(address, root, counters))
    assert not row["valid"]
    assert "bytes are wrong" in row["reason"]


@LOADS
def test_a_server_that_stops_answering(load):
    row = run_trial(trial(load), disturbance=lambda lab, server: server.send_signal(signal.SIGSTOP))
    caught(row, "not-answering")


def test_a_server_that_never_answers():
    caught(run_trial(trial(), command=lambda *_: ["sleep", "60"]), "not-answering")


@LOADS
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_server_that_crashes(load, number):
    row = run_trial(trial(load), disturbance=lambda lab, server: server.send_signal(number))
    caught(row, "server-failed")
    assert str(-number) in row["reason"]


def test_a_server_that_does_not_start():
    row = run_trial(trial(), command=lambda *_: ["sh", "-c", "echo no such thing >&2; exit 3"])
    caught(row, "server-failed")
    assert "no such thing" in row["log"]


def test_a_server_that_leaks_descriptors(tmp_path):
    """One socket for every descriptor it closes."""
    source, shim = tmp_path / "leak.c", tmp_path / "leak.so"
    source.write_text(
        "#include <sys/socket.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n"
        "int close(int fd) { socket(AF_UNIX, SOCK_STREAM, 0); return (int)syscall(SYS_close, fd); }\n"
    )
    compiler = shlex.split(os.environ.get("CC") or "cc")
    subprocess.run([*compiler, "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", shim, source], check=True)
    row = run_trial(trial(), command=lambda *where: ["env", f"LD_PRELOAD={shim}", *epoll(*where)])
    caught(row, "fd-leak")
    assert row["fds_leaked"] > 50


@pytest.mark.parametrize("load", [OPEN, RAW], ids=["open", "raw"])
def test_a_saturated_generator(load):
    """No CPU sends a million requests a second. (A closed loop has no rate to miss.)"""
    for _ in range(5):  # only the first reason is told, and a busy machine may have another
        row = run_trial(trial(load | {"rate": 1e6}))
        assert not row["valid"]
        assert row["achieved_ratio"] < 0.98
        if row["reason"].startswith("generator-"):
            break
    caught(row, WEATHER)


def test_a_file_that_leaves_the_page_cache():
    fileset = one_packet(paths.BUILD / "filesets")
    path = fileset.on_disk(fileset.files[0])
    evict(path)
    if resident_share(path) > 0:
        pytest.skip("the build folder's file system keeps its files in memory")
    ended = threading.Event()

    def keep_evicting():
        while not ended.wait(0.002):
            evict(path)

    thread = threading.Thread(target=keep_evicting)
    try:
        row = run_trial(trial(), disturbance=lambda lab, server: thread.start())
    finally:
        ended.set()
        thread.join()
    caught(row, "cache-cold")


@LOADS
@pytest.mark.parametrize("options", [{}, {"workers": 3, "sharing": "reuseport"}], ids=["one", "several"])
def test_a_second_load_on_the_server_s_cpu(load, options):
    def start(lab, server):
        lab.spawn("server", ["sh", "-c", "while :; do :; done"], cpu=lab.server_cpu)

    design = "prefork" if options else "epoll"
    alone = trial(load)
    row = run_trial(
        dataclasses.replace(alone, design=design, options=alone.options | options), disturbance=start
    )
    caught(row, "disturbed")


def test_a_worker_that_crashes():
    def kill(lab, server):
        os.kill(server.family()[2], signal.SIGKILL)

    alone = trial()
    several = dataclasses.replace(alone, design="prefork", options=alone.options | {"workers": 3})
    row = run_trial(several, disturbance=kill)
    caught(row, "server-failed")
    assert "it ended with code 1" in row["reason"]
    assert "was ended by signal 9" in row["log"]


FULL_DISK = """
import json, os, sys
from pathlib import Path
from retrospective.lab.journal import Journal, JournalError
disk = Path(sys.argv[1])
(disk / "ballast").write_bytes(bytes(100_000))
stored = 0
with Journal(disk / "journal.jsonl") as journal:
    try:
        while stored < 1000:
            journal.append({"key": str(stored), "valid": True, "log": "x" * 3000})
            stored += 1
    except JournalError as error:
        message = str(error)
    lines = (disk / "journal.jsonl").read_bytes().splitlines(keepends=True)
    whole = all(line.endswith(b"}\\n") and json.loads(line) for line in lines)
    os.unlink(disk / "ballast")
    journal.append({"key": "after", "valid": True, "log": "x" * 3000})
with Journal(disk / "journal.jsonl") as journal:
    last = journal.rows[-1]["key"]
    print(json.dumps([stored, len(lines), whole, message, last, len(journal.rows)]))
"""


def test_a_full_disk_under_the_journal(tmp_path):
    """A real one: a tmpfs of 256 KiB in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=256k none {shlex.quote(str(disk))}"
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*unshare, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    run = f'{mount} && exec "$0" -c "$1" {shlex.quote(str(disk))}'
    done = subprocess.run(
        [*unshare, "sh", "-c", run, sys.executable, FULL_DISK], capture_output=True, text=True, check=True
    )
    stored, lines, whole, message, last, rows = json.loads(done.stdout)
    assert 10 < stored < 100
    assert lines == stored
    assert whole
    assert "No space left on device" in message
    assert f"{stored} rows in it are kept: make room on its disk" in message
    assert (last, rows) == ("after", stored + 1)
