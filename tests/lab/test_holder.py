"""The holder: one thread, a lifetime bound to its parent's, and nothing left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from retrospective.lab.hosts import Lab, LoopbackLab

pytestmark = pytest.mark.usefixtures("can_lab")

#: Opens a lab of some kind, starts a sleeper that ignores what it can on each side, says their pids, and
#: waits.
PARENT = """
import os, signal, sys, threading, time
from retrospective.lab.hosts import Lab, LoopbackLab
def work():
    lab = (Lab if sys.argv[1] == "Lab" else LoopbackLab)().__enter__()
    stubborn = "trap '' HUP INT TERM; while :; do sleep 0.1; done"
    started = [lab.spawn(side, ["sh", "-c", stubborn]) for side in ("server", "client")]
    scratch = lab.scratch if sys.argv[1] != "Lab" else ""
    print(lab._holder.pid, *[process.pid for process in started], scratch, flush=True)
    keep.append(lab)
keep = []
if sys.argv[2] == "thread":  # the thread that makes the lab ends; the lab must not
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
# A child that inherits every descriptor must not keep the lab alive.
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(30)
time.sleep(30)
"""


def gone(pid):
    """Whether a process has ended; a zombie that init has not yet taken is gone too."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.parametrize("kind", ["Lab", "LoopbackLab"])
@pytest.mark.parametrize("how", ["plain", "thread", "fork"])
def test_all_dies_with_the_parent_even_by_sigkill(kind, how, eventually):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, kind, how], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        holder, server, client, *scratch = parent.stdout.readline().split()
        time.sleep(0.05)
        assert not any(gone(pid) for pid in (holder, server, client))
        parent.kill()
        parent.wait()
        eventually(lambda: all(gone(pid) for pid in (holder, server, client)))
        eventually(lambda: not any(os.path.exists(folder) for folder in scratch))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.stdout.close()


def test_it_has_one_thread_and_its_own_session():
    with Lab() as lab:
        outer = lab._holder.pid
        assert os.listdir(f"/proc/{outer}/task") == [str(outer)]
        assert os.getsid(outer) == outer != os.getsid(0)


def test_programs_get_only_the_descriptors_they_are_given(tmp_path):
    with Lab() as lab, (tmp_path / "out").open("w+") as out:
        read, write = os.pipe()
        process = lab.spawn("server", ["ls", "/proc/self/fd"], stdout=out, pass_files=[read, write])
        assert process.wait(10).code == 0
        out.seek(0)
        assert out.read().split() == ["0", "1", "2", "3", "4", "5"]  # 5 is ls's own
        os.close(read)
        os.close(write)


def test_a_program_that_does_not_exist_says_so(tmp_path):
    with Lab() as lab, (tmp_path / "err").open("w+") as err:
        assert lab.spawn("server", ["/no/such/program"], stderr=err).wait(10).code == 127
        err.seek(0)
        assert "/no/such/program" in err.read()


def test_nothing_of_ours_changes():
    """Networks, mounts and host name of the caller are what they were."""

    def mine():
        with open("/proc/net/dev") as devices, open("/proc/self/mountinfo") as mounts:
            return sorted(line.split(":")[0] for line in devices), mounts.read(), os.uname().nodename

    before = mine()
    with Lab() as lab:
        assert mine() == before
        lab.write("x.conf", "text")
        assert not os.path.exists("/dev/shm/x.conf")
    assert mine() == before


def test_loopback_needs_no_namespace_and_cleans_its_folder():
    with LoopbackLab() as lab:
        path = lab.write("x.conf", "text")
        with open(path) as file:
            assert file.read() == "text"
    assert not os.path.exists(lab.scratch)
