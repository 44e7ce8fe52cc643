"""Others' CPU time: whoever computes is seen, whoever sleeps is not, and what is not counted is not known."""

import subprocess
import sys
import time

import pytest

from retrospective.lab.others import Others


@pytest.fixture
def counted(tmp_path):
    """A folder like /proc with tasks that ran so many nanoseconds."""

    def write(**tasks):
        for task, ns in tasks.items():
            folder = tmp_path / task.strip("_") / "task" / task.strip("_")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "schedstat").write_text(f"{ns} 5 7\n")
        return tmp_path

    return write


def test_the_time_of_those_who_were_there_is_added_up(counted, monkeypatch):
    clock = iter([5_000_000_000, 6_000_000_000, 7_000_000_000])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
    others = Others(counted(_1=100, _2=2_000_000_000))
    assert others.cores() == 0
    counted(_1=250_000_100, _2=2_250_000_000, _3=9_000_000_000)
    assert others.cores() == pytest.approx(0.25), "half a second in two; who came later is not among them"


def test_where_nothing_is_counted_nothing_is_known(tmp_path):
    (tmp_path / "1" / "task" / "1").mkdir(parents=True)
    assert Others(tmp_path).cores() is None


def test_who_computes_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(0.2)  # it has begun
        others = Others()
        time.sleep(0.3)
        cores = others.cores()
        other.kill()
    assert cores is None or cores > 0.03
