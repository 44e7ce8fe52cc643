"""Memory cgroups of both versions: where one may be made, what is written to it and read from it."""

import os

import pytest

from retrospective.lab import cgroups
from retrospective.lab.hosts import SERVER, Lab, LoopbackLab

V1_STAT = "cache 9000\nrss 400\nshmem 1000\n"
V2_STAT = "anon 400\nfile 9000\nkernel 100\nshmem 1000\n"


@pytest.fixture(params=[1, 2])
def faked(request, monkeypatch, tmp_path):
    """A group of either version whose files are ordinary ones; returns it and its folder."""
    if request.param == 2:
        (tmp_path / "cgroup.controllers").touch()
    monkeypatch.setattr(cgroups, "memory_parent", lambda: tmp_path)
    with cgroups.MemoryGroup() as group:
        yield group, group.path
        for file in group.path.iterdir():
            file.unlink()
    assert not group.path.exists()


def test_either_version_is_spoken_to_in_its_own_words(faked):
    group, folder = faked
    assert group.peak_bytes() is None
    v2 = group.version == 2
    group.limit(12345)
    assert (folder / ("memory.max" if v2 else "memory.limit_in_bytes")).read_text() == "12345"
    assert (folder / ("memory.swap.max" if v2 else "memory.swappiness")).read_text() == "0"
    (folder / ("memory.current" if v2 else "memory.usage_in_bytes")).write_text("10000\n")
    (folder / ("memory.peak" if v2 else "memory.max_usage_in_bytes")).write_text("11000\n")
    (folder / "memory.stat").write_text(V2_STAT if v2 else V1_STAT)
    (folder / "cgroup.procs").write_text("12\n13\n")
    (folder / ("memory.events" if v2 else "memory.oom_control")).write_text("oom 3\noom_kill 2\n")
    assert (group.used_bytes(), group.other_bytes(), group.peak_bytes()) == (10000, 2000, 11000)
    assert group.pids() == (12, 13)
    assert group.oom_kills() == 2


def test_of_version_2_one_is_made_where_memory_is_handed_down_and_processes_may_move(monkeypatch, tmp_path):
    home = tmp_path / "user" / "session"
    home.mkdir(parents=True)
    texts = {
        "/proc/self/cgroup": "0::/user/session\n",
        "/proc/self/mounts": f"cgroup2 {tmp_path} cgroup2 rw 0 0\n",
    }
    read_text, access = cgroups.Path.read_text, os.access
    monkeypatch.setattr(cgroups.Path, "read_text", lambda path: texts.get(str(path)) or read_text(path))
    assert cgroups.memory_parent() is None
    (tmp_path / "user" / "cgroup.subtree_control").write_text("cpu memory\n")
    (tmp_path / "user" / "cgroup.procs").touch()
    assert cgroups.memory_parent() == tmp_path / "user"
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "cgroup.procs" and access(path, mode))
    assert cgroups.memory_parent() is None


@pytest.mark.parametrize("kind", [Lab, LoopbackLab])
def test_a_process_is_in_its_group_before_it_is_the_program_and_so_are_its_children(
    can_lab, kind, eventually
):
    if cgroups.memory_parent() is None:
        pytest.skip("no writable memory cgroup here")
    with kind() as lab, cgroups.MemoryGroup() as group:
        process = lab.spawn(SERVER, ["sh", "-c", "sleep 60 & wait"], cgroup=group.path)
        other = lab.spawn(SERVER, ["sleep", "60"])
        eventually(lambda: len(process.family()) == 2)
        assert set(group.pids()) == set(process.family())
        assert other.pid not in group.pids()
        assert 0 < group.other_bytes() <= group.used_bytes() <= group.peak_bytes()
        for pid in process.family():
            os.kill(pid, 9)
        process.wait(5)
        other.kill()
    assert not group.path.exists()


def test_a_group_that_cannot_be_joined_is_said_by_the_program_that_was_to_join(can_lab, tmp_path):
    (tmp_path / "cgroup.procs").symlink_to("/dev/full")
    with Lab() as lab, (tmp_path / "err").open("w+") as err:
        assert lab.spawn(SERVER, ["true"], stderr=err, cgroup=tmp_path).wait(10).code == 127
        err.seek(0)
        assert "cannot start true" in err.read()
