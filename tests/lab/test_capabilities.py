"""What the machine can do is tried, and what it cannot comes with a way to get it."""

import json

import pytest

from retrospective.lab import capabilities as module
from retrospective.lab import cgroups
from retrospective.lab.hosts import LabUnavailable


def test_every_capability_is_there_or_says_how_to_get_it(release):
    found = module.capabilities()
    names = [entry["name"] for entry in found]
    assert len(names) == len(set(names))
    assert {
        "cpus",
        "namespaces",
        "steering",
        "packet-sockets",
        "memory-cgroup",
        "disk-2004",
        "cachestat",
        "io_uring",
    } <= set(names)
    assert {
        "perf-context-switch",
        "fsgsbase",
        "rwf-nowait",
        "io-submit",
        "drop-caches",
        "liburing",
        "lwip",
        "nginx",
        "lighttpd",
        "h2o",
        "wrk",
        "httperf",
        "ab",
        "h2load",
        "curl",
    } <= set(names)
    for entry in found:
        assert set(entry) == {"name", "available", "detail", "remedy"}
        assert entry["detail"] if entry["available"] else entry["remedy"], entry
    json.dumps(found)


def test_a_refusal_becomes_a_remedy(monkeypatch, tmp_path):
    def refuse(*_):
        raise LabUnavailable("no lab can be made here: allow user namespaces with: x")

    def blocked(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(module, "Lab", refuse)
    monkeypatch.setattr(module, "system_call", blocked)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("retrospective.lab.peers._SEARCH", str(tmp_path))
    found = {entry["name"]: entry for entry in module.capabilities()}
    assert "allow user namespaces" in found["namespaces"]["remedy"]
    assert "Operation not permitted: sudo sysctl kernel.io_uring_disabled=0" in found["io_uring"]["remedy"]
    assert "Operation not permitted: a kernel with CONFIG_AIO" in found["io-submit"]["remedy"]
    for name in ("nginx", "wrk", "liburing", "lwip", "compiler"):
        assert not found[name]["available"]
        assert "make system" in found[name]["remedy"]


def test_a_cgroup_of_a_dead_owner_is_removed_at_the_next_start():
    parent = cgroups.memory_parent()
    if parent is None:
        pytest.skip("no writable memory cgroup here")
    dead = parent / "nai-999999999-1-1"
    dead.mkdir()
    with cgroups.MemoryGroup(limit_bytes=1 << 26) as group:
        assert not dead.exists()
        with cgroups.MemoryGroup():
            assert group.path.exists(), "a living owner's stays"
        assert group.used_bytes() < 1 << 26
    assert not group.path.exists()
