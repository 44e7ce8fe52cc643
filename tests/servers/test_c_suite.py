"""All C runs its unit tests and fuzz targets under the address and undefined-behaviour sanitizers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import servers


def test_c_tests_and_fuzz_targets_pass_under_sanitizers(tmp_path):
    build = servers.build("asan")
    meson = Path(sys.executable).with_name("meson")
    environment = os.environ | {
        "PATH": f"{meson.parent}{os.pathsep}{os.environ['PATH']}",
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    result = subprocess.run(
        [str(meson), "test", "-C", str(build), "--print-errorlogs", "--logbase", "c-suite"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    log = (Path(build) / "meson-logs" / "c-suite.json").read_text().splitlines()
    outcomes = {entry["name"]: entry["result"] for entry in map(json.loads, log)}
    print("\n".join(f"{name}: {outcome}" for name, outcome in outcomes.items()))
    assert len(outcomes) >= 8, "the C suite has shrunk"
    # EXPECTEDFAIL is a fuzz target built with a planted bug: its driver must find it.
    # SKIP is a design or an engine of io_uring where that is refused.
    skipped = {name for name, outcome in outcomes.items() if outcome == "SKIP"}
    assert not skipped or ("uring" in servers.unavailable() and all("uring" in name for name in skipped)), (
        outcomes
    )
    assert set(outcomes.values()) <= {"OK", "EXPECTEDFAIL", "SKIP"}, outcomes
