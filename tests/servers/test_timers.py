"""timerbench: every mix on every facility does what it says, and refuses what it has not."""

import json
import subprocess

import pytest

import servers

OURS = ["list", "heap", "heap4", "hashed", "wheel", "lazy"]
TIMERS = 200


def bench(*words):
    """Run timerbench; returns its exit code, report if any, and last line."""
    words = [str(servers.binary("timerbench")), *words, "--seconds=0.01", f"--timers={TIMERS}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.strip()


@pytest.mark.parametrize("facility", [*OURS, "libev", "libuv"])
@pytest.mark.parametrize("mix", ["tcp", "expiry", "cancel", "rearm", "start-only", "cancel-only"])
def test_a_mix_does_what_it_says(release, mix, facility):
    code, report, said = bench(mix, f"--facility={facility}")
    if code == 3 and "make system" in said:
        pytest.skip(said)
    assert (code, said) == (0, "")
    assert (report["experiment"], report["facility"], report["beside"]) == (mix, facility, "wheel")
    assert report["operations"] > 0
    assert report["operation_ns"] > 0
    assert report["ratio_beside"] > 0
    expiries = {report["expiries"], report["beside_expiries"]}
    if mix == "expiry":
        assert report["expiries"] == report["operations"]
    elif mix == "tcp":
        assert max(expiries) < report["operations"] / 50  # time-outs are made not to happen
    else:
        assert expiries == {0}
    if mix.endswith("-only"):
        assert report["operations"] % TIMERS == 0
    if mix == "expiry":
        assert report["loop_ns"] is None  # a loop without timers has no expiries
    else:
        assert report["loop_ns"] > 0


@pytest.mark.parametrize("facility", ["heap", "wheel", "libev", "libuv"])
def test_timers_may_lie_on_huge_pages(release, facility):
    code, report, said = bench("rearm", f"--facility={facility}", "--pages=huge")
    if code == 3 and "make system" in said:
        pytest.skip(said)
    assert (code, said) == (0, "")
    assert report["pages"] == "huge"
    assert bench("rearm", f"--facility={facility}")[1]["pages"] == "small"


def test_timerfd_goes_by_the_kernels_clock(release):
    assert bench("rearm", "--facility=timerfd")[0] == 0
    code, _, said = bench("expiry", "--facility=timerfd")
    assert code == 3
    assert "virtual clock" in said


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["tcp"], "--facility"),
        (["tcp", "--facility=sundial"], "sundial"),
        (["waltz", "--facility=wheel"], "waltz"),
        (["tcp", "--facility=wheel", "--seed=-1"], "--seed"),
    ],
)
def test_bad_options_are_named(release, words, names):
    code, report, said = bench(*words)
    assert (code, report) == (2, None)
    assert names in said
    assert "\n" not in said
