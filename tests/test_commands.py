"""The command line: what programs read is JSON of a fixed form; what people get wrong is answered with a sentence."""

import json
import os
import re
import subprocess
import sys

import pytest

import servers
from retrospective import bench, commands, paths
from retrospective.lab import filesets

VERDICTS = {
    "reproduced",
    "shrunk",
    "reversed",
    "vanished",
    "analog agrees",
    "undecided",
    "depends on who pays",
    "not testable here",
}


def command(*words, **more):
    return subprocess.run(
        [sys.executable, "-m", "retrospective", *words],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        **more,
    )


def test_claims_as_json():
    result = command("claims", "--json")
    assert result.returncode == 0, result.stderr
    claims = json.loads(result.stdout)
    assert {c["id"] for c in claims} >= {"A1", "A2", "A3", "A4", "A7", "A8", "L1", "V3"}
    for claim in claims:
        assert {
            "id",
            "source",
            "statement",
            "published",
            "value",
            "low",
            "high",
            "mechanism",
            "verdict",
        } <= set(claim)
        assert claim["verdict"] in VERDICTS
        if claim["low"] is not None and claim["high"] is not None:
            assert claim["low"] <= claim["value"] <= claim["high"]


def test_claims_for_people():
    result = command("claims")
    assert result.returncode == 0, result.stderr
    assert "verdict" in result.stdout.splitlines()[0]
    assert "A1" in result.stdout


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("designs", "--set wants NAME=VALUE"),
        ("designs=[epoll", "--set: "),
        ("desings=[epoll]", "01_accept.ipynb has no parameter desings: it has .*designs.*work_us"),
    ],
)
def test_run_says_what_is_wrong_with_a_parameter(word, said):
    result = command("run", "accept", "--profile", "smoke", "--set", word)
    assert result.returncode == 1
    assert re.search(said, result.stderr), result.stderr


def test_changed_parameters_are_read_as_yaml():
    given = commands.changes(["designs=[epoll, poll]", "work_us=20", "limits=['1', inf]"])
    assert given == {"designs": ["epoll", "poll"], "work_us": 20, "limits": ["1", "inf"]}


def test_bench_lists_its_ids_and_refuses_others():
    listed = command("bench", "--list")
    assert listed.returncode == 0
    for name in bench.BENCHMARKS:
        assert name in listed.stdout
    refused = command("bench", "cpu-of-nothing")
    assert refused.returncode == 1
    assert "no benchmark cpu-of-nothing" in refused.stderr


def test_a_long_benchmark_that_is_not_named_reports_its_last_recorded_run():
    result = bench._result(bench.BENCHMARKS["sigkill-sweep"], named=False)
    assert set(result) == {"id", "measures", "value", "low", "high", "bound", "holds", "note"}
    recorded = json.loads(bench.RECORDED.read_text())["sigkill-sweep"]
    assert result["value"] == recorded["value"]
    assert recorded["date"] in result["note"]
    assert result["holds"] is (recorded["value"] <= 0)


@pytest.mark.parametrize(
    ("value", "holds"), [(1.0, True), (1.10, True), (1.1001, False), (float("nan"), None)]
)
def test_a_bound_holds_up_to_its_edge(value, holds):
    assert bench.BENCHMARKS["cpu-epoll-floor"].holds(value) is holds


def test_serve_and_load_meet(tmp_path):
    files = filesets.one_packet(tmp_path)
    with servers.Server("epoll", root=files.root) as server:
        host, port = server.address
        result = command(
            *("load", f"http://{host}:{port}/1k.bin", "--clients", "2"),
            *("--warmup-s", "0.1", "--duration-s", "0.2"),
        )
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
        assert report["replies"] > 0
        assert report["bodies_verified"] > 0
        assert report["bodies_mismatched"] == report["replies_not_200"] == 0


def test_load_says_what_is_wrong(tmp_path):
    files = filesets.one_packet(tmp_path)
    with servers.Server("epoll", root=files.root) as server:
        missing = command("load", f"http://{server.address[0]}:{server.address[1]}/nothing")
    assert missing.returncode == 1
    assert "answers 404" in missing.stderr
    assert "nothing answers" in command("load", "http://127.0.0.1:9/").stderr
    assert "is no http://" in command("load", "127.0.0.1:8080").stderr


def test_serve_becomes_the_design():
    result = command("serve", "select", "--help")
    assert result.returncode == 0
    assert "--accept-limit" in result.stdout
    refused = command("serve", "nothing")
    assert refused.returncode == 1
    assert "epoll" in refused.stderr, "an unknown design is answered with those there are"


def test_unknown_chapter_and_profile_are_named():
    assert "there are machine, accept, lazy" in command("run", "nothing").stderr
    assert "there are smoke, quick, paper" in command("run", "machine", "--profile", "big").stderr


def test_capabilities_as_json():
    result = command("capabilities", "--json")
    assert result.returncode == 0, result.stderr
    for row in json.loads(result.stdout):
        assert set(row) == {"name", "available", "detail", "remedy"}
        assert row["available"] or row["remedy"], f"{row['name']} is missing and nobody says how to get it"


def test_an_unwritable_home_does_no_harm(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    result = command("claims", "--json", env=environment | {"HOME": "/nonexistent"})
    assert result.returncode == 0, result.stderr
