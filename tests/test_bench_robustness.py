"""What the benchmark of fuzzing calls a plateau, and that its campaigns are of targets that are built."""

import re
import subprocess

import pytest

import servers
from retrospective import bench_robustness as robustness
from retrospective.bench_robustness import FLAT, INPUTS_LEAST, TESTS, Campaign, campaigns


def ended(tried, new=0, returncode=0):
    told = (
        f"{tried} iterations, 900 inputs kept, 2700 edges, the last of them at iteration 7\n"
        f"edges by iterations: 0: 2000, 1024: 2100, {tried // 2}: {2700 - new}, {tried}: 2700\n"
    )
    return subprocess.CompletedProcess([], returncode, told, "fuzz_stack.c:1: false\n" if returncode else "")


@pytest.mark.parametrize(
    ("tried", "new", "flat"),
    [
        (INPUTS_LEAST, 0, True),
        (INPUTS_LEAST, 2700 // FLAT, True),
        (INPUTS_LEAST, 2700 // FLAT + 1, False),
        (INPUTS_LEAST // 2, 0, False),
    ],
)
def test_a_plateau_is_a_last_half_with_hardly_a_new_edge(tried, new, flat):
    found, told = robustness._plateau("stack", ended(tried, new))
    assert found is flat
    assert f"{tried:,} sequences, 2,700 edges, {new} of them new between {tried // 2:,} and {tried:,}" in told
    assert ("no plateau" in told) is not flat


def test_a_finding_is_no_plateau_and_is_told():
    assert robustness._plateau("stack", ended(INPUTS_LEAST, 0, 1)) == (False, "stack: fuzz_stack.c:1: false")


def test_what_is_not_flat_or_not_found_is_counted(monkeypatch):
    outcomes = {"fuzz_stack": ended(INPUTS_LEAST, 100), "fuzz_stack_planted_leak": ended(5, 5, 1)}
    monkeypatch.setattr(servers, "test_program", lambda name, variant: name)
    monkeypatch.setattr(Campaign, "run", lambda one: outcomes.get(one.program, ended(INPUTS_LEAST, 0)))
    measured = robustness.fuzz()
    assert measured.value == 2
    assert "no plateau" in measured.note
    assert "fuzz_stack_planted_leak: not found" in measured.note
    assert f"{len(campaigns()) - 2} bugs planted" in measured.note


def test_every_campaign_is_a_target_of_the_build_and_has_what_it_begins_with():
    build = (TESTS / "meson.build").read_text()
    for one in campaigns():
        assert re.search(rf"^  '{one.target}': ", build, re.MULTILINE)
        assert (TESTS / "corpus" / f"{one.target}.found").is_file()
        assert any((TESTS / "corpus" / one.target).iterdir())


def fuzzed(*words):
    """What the driver says at the end of a run of a small target: edges at first, and at last."""
    inputs = sorted((TESTS / "corpus" / "manifest").iterdir())
    command = [servers.test_program("fuzz_manifest", "asan"), "--seed", "1", *words, *inputs]
    told = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout
    return tuple(int(re.search(what, told)[1]) for what in (r"iterations: 0: (\d+)", r"kept, (\d+) edges"))


def test_the_inputs_that_a_run_keeps_reach_all_that_it_has_found(tmp_path):
    kept = tmp_path / "kept"
    first, last = fuzzed("--iterations", "3000", "--keep", kept)
    assert first < last
    assert fuzzed("--inputs", kept) == (last, last)
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(lines[:-1]))
    assert fuzzed("--inputs", kept)[0] < last, "the last line was not needed"
