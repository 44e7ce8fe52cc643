"""The library of lazy I/O where the suite under the address sanitizer does not look: races, and no privilege."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import servers

#: Engines with threads in this process. The thread sanitizer is told of what `activation` orders in assembly.
THREADED = [("activation",), ("activation", "--watch", "timer"), ("nowait",), ("pool",)]
TSAN = {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"}
NOBODY = 65534


def run(command, timeout_s, environment=None, user=None):
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | (environment or {}),
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )


@pytest.mark.parametrize("words", THREADED, ids=" ".join)
def test_engines_under_the_thread_sanitizer(words):
    done = run([servers.test_program("test_laio", "tsan"), *words, "--operations", "3000"], 300, TSAN)
    assert "WARNING: ThreadSanitizer" not in done.stderr, done.stderr[-8000:]
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite runs without privilege already")
@pytest.mark.parametrize("words", [("activation", "--watch", "perf"), ("nowait",), ("amped",)], ids=" ".join)
def test_engines_without_privilege(words):
    """As an unprivileged user everything works alike, switch records included."""
    program = Path("/tmp") / f"nai-test-laio-{os.getpid()}"  # where anybody may read it
    shutil.copy2(servers.test_program("test_laio", "release"), program)
    program.chmod(0o755)
    try:
        done = run([program, *words, "--operations", "3000"], 300, {"TMPDIR": "/tmp"}, user=NOBODY)
    finally:
        program.unlink()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
