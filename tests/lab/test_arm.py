"""The arm of the disk of 2004: pure functions of place and time."""

import math
import random
from dataclasses import dataclass

import pytest

from retrospective.lab import arm

DISK_BYTES = 40 << 20


@dataclass
class At:
    offset: int


def test_seeks_grow_with_the_distance_and_average_what_the_maker_says():
    assert arm.seek_s(0) == 0
    assert arm.seek_s(1e-9) == pytest.approx(arm.TRACK_TO_TRACK_S, rel=1e-2)
    times = [arm.seek_s(i / 1000) for i in range(1001)]
    assert times == sorted(times)
    assert times[-1] == arm.FULL_STROKE_S == pytest.approx(15.2e-3, rel=0.01)
    rng = random.Random(2004)
    mean = sum(arm.seek_s(abs(rng.random() - rng.random())) for _ in range(100_000)) / 100_000
    assert mean == pytest.approx(arm.AVERAGE_SEEK_S, rel=0.01)


def test_the_platter_turns():
    rng = random.Random(2004)
    waits = []
    for _ in range(20_000):
        offset, now = rng.randrange(DISK_BYTES), rng.uniform(0, 1e6)
        waits.append(arm.rotation_s(offset, now))
        assert 0 <= waits[-1] < arm.REVOLUTION_S
        # Having waited, the byte is there; a revolution later it is there again.
        angle = (offset / arm.TRACK_BYTES - (now + waits[-1]) / arm.REVOLUTION_S) % 1
        assert min(angle, 1 - angle) < 1e-5
    assert sum(waits) / len(waits) == pytest.approx(arm.REVOLUTION_S / 2, rel=0.02)
    assert arm.rotation_s(0, math.nextafter(0, 1)) < arm.REVOLUTION_S


def test_what_follows_on_costs_its_transfer_only():
    disk = arm.Arm(DISK_BYTES)
    disk.read(8 << 20, 65536, now_s=12.3)
    for now_s in (0.0, 1.004, 77.7):
        size = 32768
        assert disk.read(disk.at, size, now_s) == pytest.approx(
            arm.COMMAND_S + size / arm.MEDIA_BYTES_PER_S, rel=1e-12
        )
    assert disk.read(disk.at + 4096, 4096, 1.0) > arm.COMMAND_S + arm.TRACK_TO_TRACK_S


def test_a_read_has_bounds():
    rng = random.Random(2004)
    disk = arm.Arm(DISK_BYTES)
    most = arm.COMMAND_S + arm.FULL_STROKE_S + arm.REVOLUTION_S
    for _ in range(5000):
        offset, size = rng.randrange(0, DISK_BYTES - 131072, 512), rng.randrange(512, 131073, 512)
        transfer = size / arm.MEDIA_BYTES_PER_S
        took = disk.read(offset, size, rng.uniform(0, 1e5))
        assert arm.COMMAND_S + transfer <= took <= most + transfer


@pytest.mark.parametrize(
    ("size", "waiting", "per_s"),
    [(4096, 1, 77), (16384, 1, 75), (65536, 1, 69), (4096, 8, 110), (4096, 32, 140)],
)
def test_the_budget_is_as_stated(size, waiting, per_s):
    """Operations a second at random places, as the module says."""
    rng = random.Random(2004)
    disk = arm.Arm(DISK_BYTES)
    queue, now_s = [], 0.0
    for _ in range(10_000):
        queue += [At(rng.randrange(0, DISK_BYTES - size, 4096)) for _ in range(waiting - len(queue))]
        chosen = queue.pop(arm.next_in_sweep(queue, disk.at))
        now_s += disk.read(chosen.offset, size, now_s)
    assert 10_000 / now_s == pytest.approx(per_s, rel=0.03)


def test_one_sweep_after_the_other():
    waiting = [At(50), At(10), At(90), At(60)]
    order, at = [], 55
    while waiting:
        chosen = waiting.pop(arm.next_in_sweep(waiting, at))
        order.append(chosen.offset)
        at = chosen.offset + 5
    assert order == [60, 90, 10, 50]
    # Of two for the same place, the one that came first.
    assert arm.next_in_sweep([At(7), At(5), At(5)], 5) == 1
