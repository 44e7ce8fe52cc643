"""The files: deterministic, of the paper's mix, and as their manifest says; and the page cache they lie in."""

import os
import subprocess
import sys
import zlib

import pytest

from retrospective.lab import filesets, pagecache, traces


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


@pytest.mark.parametrize("name", traces.TRACES)
def test_what_a_trace_asks_for_is_like_it(name):
    """Its classes have their shares, whatever the scale; files hold no more than what a server may keep open."""
    for footprint in (traces.LEAST_FOOTPRINT_BYTES, traces.FOOTPRINT_BYTES, 3 * traces.FOOTPRINT_BYTES):
        files = list(traces.files(name, footprint))
        assert sum(file.bytes for file in files) == pytest.approx(footprint, rel=1e-4)
        for (size_class, (least, most)), share in zip(
            traces.SIZE_CLASSES.items(), traces.TRACES[name].class_shares, strict=True
        ):
            sizes = [file.bytes for file in files if size_class in file.path]
            assert least < min(sizes) <= max(sizes) <= most
            assert {traces.size_class(size) for size in sizes} == {size_class}
            assert sum(sizes) / footprint == pytest.approx(share, abs=1e-4)
        assert len({file.path for file in files}) == len(files)
    with pytest.raises(ValueError, match="at least"):
        next(traces.files(name, traces.LEAST_FOOTPRINT_BYTES - 1))


@pytest.mark.parametrize("name", traces.TRACES)
def test_a_trace_s_popularity(name):
    """Zipf-like by rank, the same for all sizes, and cached what is asked for most."""
    files = list(traces.files(name))
    assert 500 <= len(files) <= 2000
    assert sum(file.weight for file in files) == pytest.approx(1)
    for rank in (2, 10, len(files)):
        assert files[rank - 1].weight / files[0].weight == pytest.approx(rank**-traces.ZIPF_EXPONENT)
    mean_file = sum(file.bytes for file in files) / len(files)
    assert sum(file.weight * file.bytes for file in files) == pytest.approx(mean_file, rel=0.15)
    hot = [file for file in files if file.kind == "hot"]
    assert {file.kind for file in files} == {"hot", "other"}
    assert max(file.bytes for file in hot) <= traces.HOT_FILE_BYTES
    assert sum(file.bytes for file in hot) <= traces.HOT_FOOTPRINT_SHARE * traces.FOOTPRINT_BYTES
    assert 0.3 < sum(file.weight for file in hot) <= traces.HOT_REQUEST_SHARE
    colder = [file for file in files if file.kind == "other" and file.bytes <= traces.HOT_FILE_BYTES]
    assert min(file.weight for file in hot) > max(file.weight for file in colder)
    assert files[0].kind == "hot"


def test_a_trace_s_files_lie_where_they_are_said_to(tmp_path):
    made = filesets.trace_like(tmp_path, "rice-like", traces.LEAST_FOOTPRINT_BYTES)
    asked = list(traces.files("rice-like", traces.LEAST_FOOTPRINT_BYTES))
    assert [(f.path, f.bytes, f.kind) for f in made.files] == [(f.path, f.bytes, f.kind) for f in asked]
    assert len({made.on_disk(file).parent for file in made.files}) == traces.DIRECTORIES
    assert zlib.crc32(made.manifest.read_bytes()) == 0x73BA7F6A  # on whatever machine


def test_characteristics(tmp_path):
    told = filesets.characteristics(filesets.trace_like(tmp_path, "berkeley-like"))
    assert told["files"] == told["small_files"] + told["medium_files"] + told["large_files"]
    assert told["footprint_bytes"] < told["in_memory_bytes"] < 1.1 * told["footprint_bytes"]
    for share in ("footprint", "request", "reply"):
        assert sum(told[f"{name}_{share}_share"] for name in traces.SIZE_CLASSES) == pytest.approx(1)
    assert told["medium_footprint_share"] == pytest.approx(0.332, abs=1e-4)
    assert told["mean_request_bytes"] * told["medium_reply_share"] == pytest.approx(
        sum(f.weight * f.bytes for f in traces.files("berkeley-like") if "medium" in f.path), rel=1e-6
    )
    assert 0 < told["hot_reply_share"] < told["hot_request_share"] <= traces.HOT_REQUEST_SHARE
    plain = filesets.characteristics(filesets.specweb99_like(tmp_path, directories=1))
    assert (plain["files"], plain["hot_files"], plain["hot_request_share"]) == (36, 0, 0)


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
