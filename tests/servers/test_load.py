"""The client `load` as a program: kinds of files, many connections, patience, and what it refuses."""

import json
import subprocess

import pytest

import servers
from retrospective.lab import filesets, traces

FOOTPRINT_BYTES = traces.LEAST_FOOTPRINT_BYTES


def run(*words):
    return subprocess.run(
        [servers.binary("load"), *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return filesets.trace_like(tmp_path_factory.mktemp("filesets"), "berkeley-like", FOOTPRINT_BYTES)


@pytest.fixture(scope="module")
def lazy(trace):
    with servers.Server("lazy", root=trace.root, engine="pool", backlog=1024) as server:
        yield f"{server.address[0]}:{server.address[1]}"


def load(at, manifest, mode, *words):
    always = ("--connect", at, "--files", manifest, "--mode", mode, "--timeout-ms", 60_000, "--warmup-s", 0.2)
    done = run(*always, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "mode", [("closed", "--clients", 8), ("open", "--rate", 300)], ids=lambda mode: mode[0]
)
def test_kinds_of_files_are_told_apart(lazy, trace, mode):
    report = load(lazy, trace.manifest, *mode, "--duration-s", 0.6)
    assert report["bodies_mismatched"] == report["lengths_mismatched"] == report["replies_not_200"] == 0
    assert list(report["kinds"]) == ["hot", "other"]
    latency = report["latency"]
    for count in ("count", "censored", "in_flight"):
        assert sum(kind[count] for kind in report["kinds"].values()) == latency[count]
    of_hot = report["kinds"]["hot"]
    spread = (of_hot["count"] * (1 - of_hot["count"] / latency["count"])) ** 0.5
    assert abs(of_hot["count"] - latency["count"] * traces.HOT_REQUEST_SHARE) < 6 * spread + 2
    assert (
        0 < of_hot["p50_us"] <= of_hot["p90_us"] <= of_hot["p99_us"] <= of_hot["max_us"] <= latency["max_us"]
    )
    assert max(kind["max_us"] for kind in report["kinds"].values()) == latency["max_us"]


def test_without_kinds_none_are_reported(lazy, trace, tmp_path):
    plain = tmp_path / "manifest.tsv"
    lines = [line.rsplit("\t", 1)[0] for line in trace.manifest.read_text().splitlines()]
    plain.write_text("\n".join(lines))
    report = load(lazy, plain, "closed", "--duration-s", 0.1)
    assert report["replies"] > 0
    assert "kinds" not in report


def test_a_thousand_patient_clients(lazy, trace):
    report = load(lazy, trace.manifest, "closed", "--clients", 1024, "--duration-s", 0.8)
    assert report["connections_peak"] == 1024
    assert report["replies"] > 0
    assert report["latency"]["in_flight"] <= 1024
    assert report["connections_refused"] == report["connections_failed_other"] == 0
    assert report["replies_timed_out"] == report["bodies_mismatched"] == 0


@pytest.mark.parametrize(
    ("kinds", "complaint"),
    [
        (["hot", ""], "line 2: KIND must be a name"),
        (["hot", "Very Hot"], "line 2: KIND must be a name"),
        (["a" * 16], "line 1: KIND must be a name of a-z, 0-9, - and _ of at most 15 bytes"),
        (["a", "b", "c", "d", "e"], "line 5: 'e' is one KIND more than the 4 there may be"),
        (["hot", None], "line 2: KIND is to be in every line or in none"),
    ],
)
def test_kinds_that_are_refused(tmp_path, kinds, complaint):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("".join(f"/a\t1\t00000000\t1{'' if k is None else chr(9) + k}\n" for k in kinds))
    done = run("--connect", "127.0.0.1:1", "--files", manifest, "--rate", 1)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
