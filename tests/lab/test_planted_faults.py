"""Faults planted on purpose: each must make its trial invalid or failed, and for the reason that was planted.

A faulty server is the real one with something done to it: a shell script that runs in its stead.
"""

import json
import os
import shlex
import shutil
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

#: Reasons that a busy machine may add to any trial: no fault of ours.
WEATHER = ("disturbed", "generator-late", "generator-saturated")

OPEN = {"mode": "open", "rate": 500.0, "requests-per-connection": 1, "timeout-ms": 150}
CLOSED = {"mode": "closed", "clients": 4, "requests-per-connection": "inf", "timeout-ms": 150}


@pytest.fixture(scope="module", autouse=True)
def lab():
    servers.build("release")
    try:
        with Lab():
            pass
    except LabUnavailable as error:
        pytest.skip(str(error))


def trial(load=OPEN, **changes):
    load = load | {"warmup-s": 0.1, "duration-s": 0.6}
    fields = {
        "chapter": "lab",
        "experiment": "planted-fault",
        "kind": "trial",
        "profile": "smoke",
        "design": "epoll",
        "options": {"backlog": 128},
        "workload": "one-packet",
        "load": load,
        "charge": "receiver",
        "x_ratio": None,
        "label": "planted fault",
    }
    return Trial(**fields | changes)


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Run a shell script in the stead of the epoll design; ``$REAL`` is the design, ``$@`` its arguments."""

    def plant(script):
        faulty = tmp_path / "faulty"
        faulty.write_text(f"#!/bin/sh\nREAL={shlex.quote(str(servers.binary('epoll')))}\n{script}\n")
        faulty.chmod(0o755)
        real = servers.binary
        monkeypatch.setattr(servers, "binary", lambda name, *a: faulty if name == "epoll" else real(name, *a))

    return plant


def caught(row, reason):
    assert not row["valid"], row
    assert row["status"] in {"invalid", "failed"}
    assert row["reason"].startswith(reason), row["reason"]


def test_without_a_fault_the_scripted_server_is_like_any_other(plant):
    plant('exec "$REAL" "$@"')
    for load in (OPEN, CLOSED):
        row = run_trial(trial(load))
        assert row["valid"] or row["reason"].startswith(WEATHER), row["reason"]
        assert row["replies_per_s"] > 0
        assert row["bodies_verified"] > 0
        assert row["bodies_mismatched"] == 0


def test_a_wrong_body(plant, tmp_path):
    """One bit of 1 KiB; status, headers and length are right."""
    right = one_packet(paths.BUILD / "filesets")
    wrong = shutil.copytree(right.root, tmp_path / "wrong")
    file = wrong / right.files[0].path.lstrip("/")
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    plant(f'exec "$REAL" "$@" --root {shlex.quote(str(wrong))}')
    row = run_trial(trial())
    caught(row, "wrong-body")
    assert row["bodies_mismatched"] > 0


@pytest.mark.parametrize("load", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_server_that_stops_answering(plant, load):
    plant('(sleep 0.4; kill -STOP $$) & exec "$REAL" "$@"')
    caught(run_trial(trial(load)), "not-answering")


def test_a_server_that_never_answers(plant):
    plant("echo listening 10.0.0.1:80; exec sleep 60")
    caught(run_trial(trial()), "not-answering")


@pytest.mark.parametrize("name", ["SEGV", "KILL"])
def test_a_server_that_crashes(plant, name):
    plant(f'(sleep 0.4; kill -{name} $$) & exec "$REAL" "$@"')
    caught(run_trial(trial()), "server-failed")


def test_a_server_that_does_not_start(plant):
    plant('echo "no such thing" >&2; exit 3')
    row = run_trial(trial())
    caught(row, "server-failed")
    assert "no such thing" in row["log"]


def test_a_server_that_leaks_descriptors(plant, tmp_path):
    """One socket for every descriptor it closes."""
    source = tmp_path / "leak.c"
    source.write_text(
        "#include <sys/socket.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n"
        "int close(int fd) { socket(AF_UNIX, SOCK_STREAM, 0); return (int)syscall(SYS_close, fd); }\n"
    )
    shim = tmp_path / "leak.so"
    compiler = os.environ.get("CC") or "cc"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", shim, source], check=True)
    plant(f'LD_PRELOAD={shlex.quote(str(shim))} exec "$REAL" "$@"')
    row = run_trial(trial())
    caught(row, "fd-leak")
    assert row["fds_leaked"] > 50


@pytest.mark.parametrize("mode", ["open", "raw"])
def test_a_saturated_generator(mode):
    """No CPU sends a million requests a second."""
    load = {"mode": mode, "rate": 1e6, "timeout-ms": 200}
    caught(run_trial(trial(load | ({"requests-per-connection": 1} if mode == "open" else {}))), "generator-")


def test_a_file_that_leaves_the_page_cache():
    fileset = one_packet(paths.BUILD / "filesets")
    path = fileset.on_disk(fileset.files[0])
    evict(path)
    if resident_share(path) > 0:
        pytest.skip("the build folder's file system keeps its files in memory")
    done = threading.Event()

    def keep_evicting():
        while not done.wait(0.002):
            evict(path)

    thread = threading.Thread(target=keep_evicting)
    thread.start()
    try:
        row = run_trial(trial())
    finally:
        done.set()
        thread.join()
    caught(row, "cache-cold")


def test_a_second_load_on_the_server_s_cpu():
    busy = subprocess.Popen(["taskset", "-c", "0", sys.executable, "-c", "while True: pass"])
    try:
        caught(run_trial(trial(CLOSED)), "disturbed")
    finally:
        busy.kill()
        busy.wait()


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
