import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from retrospective.lab import journal as module
from retrospective.lab.journal import Journal, JournalError
from retrospective.lab.trial import ROW_COLUMNS


def row(key, **more):
    return {"key": key, "schema": 1, "round": 0, "attempt": 1, "valid": True, "status": "ok", **more}


def filled(path, count=3):
    with Journal(path) as journal:
        for i in range(count):
            journal.append(row(f"k{i}", replies_per_s=1000.0 + i))
    return path


def test_rows_come_back_and_the_last_attempt_is_the_trial_s(tmp_path):
    path = filled(tmp_path / "new" / "folder" / "j.jsonl")
    with Journal(path) as journal:
        journal.append(row("k1", attempt=2, replies_per_s=5.0))
    with Journal(path) as journal:
        assert [r["key"] for r in journal.rows] == ["k0", "k1", "k2", "k1"]
        assert journal.get("k1")["attempt"] == 2
        assert journal.get("k9") is None
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["k0", "k1", "k2", "k1"]


def test_a_row_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    synced = []
    with Journal(tmp_path / "j") as journal:
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
        journal.append(row("a"))
        journal.append(row("b"))
    assert len(synced) == 2, "one fsync a row"
    assert synced[-1] == (tmp_path / "j").stat().st_size


def test_what_json_lacks_is_stored_as_what_it_has(tmp_path):
    with Journal(tmp_path / "j") as journal:
        given = row("a", replies_per_s=np.float64(2.5), clients=np.int64(3), lag_p99_us=float("nan"))
        stored = journal.append(given)
    assert (stored["replies_per_s"], stored["clients"], stored["lag_p99_us"]) == (2.5, 3, None)
    with Journal(tmp_path / "j") as journal:
        assert journal.rows == [stored]


@pytest.mark.parametrize(
    "torn", [b'{"key":"k3","val', b'{"key":"k3"}', b"\0" * 40, b"\0\0\0\n", b"[1]\n", b'{"a":1}\n']
)
def test_a_torn_last_line_is_dropped_and_the_file_repaired(tmp_path, torn):
    path = filled(tmp_path / "j")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Journal(path) as journal:
        assert len(journal.rows) == 3
        assert path.read_bytes() == whole
        journal.append(row("k3"))
    with Journal(path) as journal:
        assert [r["key"] for r in journal.rows] == ["k0", "k1", "k2", "k3"]


def test_torn_at_every_byte(tmp_path):
    whole = filled(tmp_path / "j", 2).read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(len(whole) + 1):
        path = tmp_path / "torn"
        path.write_bytes(whole[:size])
        with Journal(path) as journal:
            assert len(journal.rows) == (size >= first) + (size == len(whole))


@pytest.mark.parametrize("damage", [b"{", b"", b'{"a":1}', b"\0\0\0"])
def test_damage_in_the_middle_is_named_and_nothing_is_touched(tmp_path, damage):
    path = filled(tmp_path / "j")
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines) + b'{"torn')
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"line 2 of .*j is no row.*delete that line"), Journal(path):
        pass
    assert path.read_bytes() == before
    path.write_bytes(b"\n".join([lines[0], *lines[2:]]))
    with Journal(path) as journal:
        assert [r["key"] for r in journal.rows] == ["k0", "k2"], "the advice holds"


def test_a_second_sweep_is_told_who_has_the_journal(tmp_path):
    path = tmp_path / "j"
    program = (
        "import sys, time\nfrom retrospective.lab.journal import Journal\n"
        "with Journal(sys.argv[1]): print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(JournalError, match=rf"in use by process {holder.pid}\b.*wait"), Journal(path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with Journal(path):
        pass  # the kernel let go of the killed holder's lock


def test_a_journal_s_lock_is_not_inherited(tmp_path):
    with Journal(tmp_path / "j"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with Journal(tmp_path / "j"):
            pass
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("failing", ["short write", "write", "fsync", "interrupt"])
def test_what_cannot_be_stored_leaves_whole_lines(tmp_path, monkeypatch, failing):
    path = filled(tmp_path / "j")
    before = path.read_bytes()
    write, no_space = os.write, OSError(28, "No space left on device")

    def fail(error):
        raise error

    with Journal(path) as journal:
        with monkeypatch.context() as patch:
            if failing == "short write":
                patch.setattr(module.os, "write", lambda fd, data: write(fd, data[:20]))
            elif failing == "write":
                patch.setattr(module.os, "write", lambda fd, data: fail(no_space))
            else:
                error = no_space if failing == "fsync" else KeyboardInterrupt()
                patch.setattr(module.os, "fsync", lambda fd: fail(error))
            expected = KeyboardInterrupt if failing == "interrupt" else JournalError
            with pytest.raises(expected) as caught:
                journal.append(row("k3"))
        if expected is JournalError:
            assert "No space left on device" in str(caught.value)
            assert "3 rows in it are kept: make room" in str(caught.value)
        assert path.read_bytes() == before
        assert journal.get("k3") is None
        journal.append(row("k3"))  # once there is room
    with Journal(path) as journal:
        assert len(journal.rows) == 4


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=r"cannot open .*make it writable"):
        Journal(tmp_path / "file" / "j").__enter__()
    closed = Journal(tmp_path / "j")
    with pytest.raises(JournalError, match="not open"):
        closed.append(row("a"))


@pytest.mark.parametrize("count", [0, 3])
def test_a_frame_always_has_every_column_and_its_dtype(tmp_path, count):
    with Journal(filled(tmp_path / "j", count)) as journal:
        if count:
            journal.append({"key": "failed", "valid": False, "status": "failed", "extra": 1})
        frame = journal.to_frame()
    assert list(frame.columns[: len(ROW_COLUMNS)]) == list(ROW_COLUMNS)
    assert set(ROW_COLUMNS) >= module.TEXT | module.COUNTS
    for name in ROW_COLUMNS:
        expected = "bool" if name == "valid" else "str" if name in module.TEXT else None
        expected = expected or ("Int64" if name in module.COUNTS else "float64")
        assert str(frame[name].dtype) == expected, name
    if count:
        assert frame["replies_per_s"].tolist()[:3] == [1000.0, 1001.0, 1002.0]
        assert pd.isna(frame["replies_per_s"].iloc[3])
        assert pd.isna(frame["attempt"].iloc[3])
        assert frame["valid"].tolist() == [True] * 3 + [False]
        assert frame["workload"].tolist() == [""] * 4
        assert frame.columns[-1] == "extra"


def test_consolidated_rows_are_small_equal_and_replaced_as_a_whole(tmp_path, monkeypatch):
    target = tmp_path / "data" / "accept.parquet"
    with Journal(tmp_path / "j") as journal:
        bulk = {"per_second": "[…]", "log": "noise", "latency_histogram": "[[1,2]]"}
        journal.append(row("a", replies_per_s=12345.678901, **bulk))
        journal.append(row("b", valid=False, status="failed", reason="server-failed", log="why"))
        journal.consolidate(target, {"cpu": "some"})
        frame = pd.read_parquet(target)
        assert frame.loc[0, "replies_per_s"] == 12345.7
        assert frame["per_second"].tolist() == ["", ""]
        assert frame["log"].tolist() == ["", "why"]
        assert frame.loc[0, "latency_histogram"] == "[[1,2]]"
        assert frame.dtypes.equals(journal.to_frame().dtypes)
        assert json.loads((tmp_path / "data" / "accept.provenance.json").read_text()) == {"cpu": "some"}

        journal.consolidate(target, {"cpu": "some"}, journal.to_frame().query("key == 'b'"))
        assert pd.read_parquet(target)["key"].tolist() == ["b"]

        before = target.read_bytes()
        monkeypatch.setattr(
            pd.DataFrame, "to_parquet", lambda self, path, **_: path.write_bytes(b"half") and 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            journal.consolidate(target, {})
    assert target.read_bytes() == before
    assert sorted(p.name for p in target.parent.iterdir()) == ["accept.parquet", "accept.provenance.json"]


def test_a_paper_profile_s_rows_stay_under_two_megabytes(tmp_path):
    """1,300 rows with the histogram of a saturated server each: some 300 buckets with counts."""
    rng = np.random.default_rng(1)
    with Journal(tmp_path / "j") as journal:
        for i in range(1300):
            buckets = 1500 + np.sort(rng.choice(900, 300, replace=False))
            counts = rng.geometric(0.02, 300)
            floats = [name for name in ROW_COLUMNS if module._dtype(name) == "float64"]
            measured = {name: float(rng.normal(1e4, 10)) for name in floats}
            histogram = json.dumps([[int(b), int(c)] for b, c in zip(buckets, counts, strict=True)])
            journal._remember(row(f"{i:064x}", **measured, latency_histogram=histogram, per_second="[" * 900))
        journal.consolidate(tmp_path / "paper.parquet", {})
    assert (tmp_path / "paper.parquet").stat().st_size < 2e6
