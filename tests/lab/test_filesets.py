"""The files: deterministic, of the paper's mix, and as their manifest says; and the page cache they lie in."""

import os
import subprocess
import sys
import zlib

import pytest

from retrospective.lab import filesets, pagecache


def test_the_same_bytes_wherever_they_are_made(tmp_path):
    one, other = (filesets.specweb99_like(tmp_path / place, directories=1) for place in "ab")
    assert one.files == other.files
    assert one.manifest.read_bytes() == other.manifest.read_bytes()
    assert zlib.crc32(one.manifest.read_bytes()) == 0xFF14C1A9  # on whatever machine


def test_the_manifest_says_what_lies_there(tmp_path):
    for make in (*filesets.WORKLOADS.values(), filesets.canned):
        made = make(tmp_path)
        for file in made.files:
            content = made.on_disk(file).read_bytes()
            assert (len(content), zlib.crc32(content)) == (file.bytes, file.crc32)
        assert sum(file.weight for file in made.files) == pytest.approx(1)


def test_specweb99_s_mix(tmp_path):
    made = filesets.specweb99_like(tmp_path, directories=4)
    assert len(made.files) == 4 * 36
    a_directory = [file for file in made.files if file.path.startswith("/dir00000/")]
    assert 4.9e6 < sum(file.bytes for file in a_directory) < 5.2e6
    for number, share in enumerate(filesets.CLASS_SHARES):
        in_class = [file for file in made.files if f"/class{number}_" in file.path]
        assert sum(file.weight for file in in_class) == pytest.approx(share)
    first, second = (sum(f.weight for f in made.files if f.path.startswith(f"/dir0000{d}/")) for d in (0, 1))
    assert first == pytest.approx(2 * second)


def test_one_packet_holds_head_and_body(tmp_path):
    (file,) = filesets.one_packet(tmp_path).files
    assert (file.path, file.bytes) == ("/1k.bin", 1024)


def test_the_slow_way_leads_to_the_same_file(tmp_path):
    made = filesets.mixed(tmp_path)
    fast, slow = made.files
    assert (fast.path, slow.path) == ("/1k.bin", "/slow/1k.bin")
    assert made.on_disk(fast) == made.on_disk(slow)
    assert (fast.bytes, fast.crc32) == (slow.bytes, slow.crc32)
    assert slow.weight == pytest.approx(filesets.SLOW_SHARE)
    assert [path.name for path in made.root.rglob("*")] == ["1k.bin"]
    assert fast.crc32 == filesets.one_packet(tmp_path).files[0].crc32


def test_two_processes_may_make_them_at_once(tmp_path):
    program = (
        "import sys; from pathlib import Path; from retrospective.lab import filesets;"
        "print(len(filesets.specweb99_like(Path(sys.argv[1])).files))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in both] == [b"144"] * 3
    assert sorted(os.listdir(tmp_path)) == [".lock", "specweb99-like-4"]


def test_the_page_cache_is_seen_through(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(300_000))
    pagecache.warm([path])
    assert pagecache.resident_share(path) == 1
    pagecache.evict(path)
    if pagecache.resident_share(path) > 0:
        pytest.skip("this file system keeps its files in memory")
    assert pagecache.cold([path]) == [path]
    pagecache.warm([path])
    assert pagecache.cold([path]) == []
    (tmp_path / "empty").touch()
    assert pagecache.resident_share(tmp_path / "empty") == 1


def test_held_files_stay_in_memory(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    pagecache.evict(path)
    if pagecache.resident_share(path) > 0:
        pytest.skip("this file system keeps its files in memory")
    open_before = len(os.listdir("/proc/self/fd"))
    with pagecache.held([path]):
        pagecache.evict(path)
        assert pagecache.cold([path]) == []
    assert len(os.listdir("/proc/self/fd")) == open_before
    pagecache.evict(path)
    assert pagecache.cold([path]) == [path]
