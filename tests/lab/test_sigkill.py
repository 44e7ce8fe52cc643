"""A sweep killed at any moment leaves nothing behind (50 moments: the benchmark ``sigkill-sweep``)."""

import os
import subprocess
import sys

import pytest

from retrospective.lab import kill_check


def test_a_killed_sweep_leaves_nothing_and_goes_on():
    result = kill_check.kill_and_resume(moments=5, seed=1)
    assert result["leftovers"] == []
    assert result["repeated_max"] <= 1
    assert result["same_keys"]
    assert result["moments"] == 5
    assert result["processes"] > 5, "more than the sweeps themselves"


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / "built").mkdir()
    return kill_check._Sweep(tmp_path / "sweep", tmp_path / "built")


def test_a_process_left_behind_is_seen_from_outside_its_namespaces(sweep, monkeypatch):
    monkeypatch.setattr(kill_check, "GRACE_S", 0.1)
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]
    program = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    left = subprocess.Popen(
        [*unshare, *program], env=os.environ | {kill_check.MARK: sweep.mark}, stdout=subprocess.PIPE
    )
    try:
        if left.stdout.readline() != b"up\n":
            pytest.skip("no user namespaces here")
        sweep._take_stock()
        lines = sweep.left_behind("a test")
        assert sum("process" in line and "time.sleep(60)" in line for line in lines) >= 2
        assert any("namespace net:[" in line for line in lines)
        assert len(sweep.namespaces) >= 3
    finally:
        left.kill()
        left.communicate()
    monkeypatch.setattr(kill_check, "GRACE_S", 5.0)
    assert sweep.left_behind("its end") == []


def test_a_file_left_behind_is_seen(sweep, monkeypatch):
    monkeypatch.setattr(kill_check, "GRACE_S", 0.0)
    sweep.journal.touch()
    assert sweep.left_behind("a test") == []
    (sweep.temporary / "nai-scratch").mkdir()
    (sweep.build / "half.tmp").touch()
    assert sweep.left_behind("a test") == [
        "after a test: file build/half.tmp",
        "after a test: temporary file tmp/nai-scratch",
    ]


def test_trials_begun_twice_are_counted(sweep):
    for life, lines in enumerate(["a 1\nb 1\n", "b 1\nc 1\n", "c 1\na 1\n"], 1):
        (sweep.folder / f"started-{life}").write_text(lines)
    sweep.lives = 4
    assert sweep.repeated() == [0, 1, 2, 0]
