"""The disk of 2004: the files it holds, its one arm, its faults, and that nothing is left of it."""

import concurrent.futures
import contextlib
import errno
import os
import random
import subprocess
import sys
import time
import urllib.request
import zlib
from pathlib import Path

import pytest

import servers
from retrospective.lab import cgroups, disk_2004, disks, filesets, pagecache
from retrospective.lab.disk_2004 import Disk2004
from retrospective.lab.hosts import SERVER, Lab

needs_a_disk = pytest.mark.skipif(
    disk_2004.absent() is not None, reason=disk_2004.absent() or "there can be one"
)
#: Reads of one page in random order, so that each is a request of its own.
PAGE = 4096


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return filesets.specweb99_like(tmp_path_factory.mktemp("filesets"), directories=1)


@pytest.fixture(autouse=True)
def _own_images(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(disk_2004.paths, "BUILD", tmp_path_factory.getbasetemp() / "build")


@pytest.fixture
def disk(files):
    with Disk2004(files) as made:
        made.evict()
        yield made


def below(disk, file):
    return disk.folder / file.path.lstrip("/")


def largest(files):
    return max(files.files, key=lambda file: file.bytes)


@contextlib.contextmanager
def by_the_page(path):
    """A descriptor without read-ahead."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        yield descriptor
    finally:
        os.close(descriptor)


def read_pages(path, pages):
    with by_the_page(path) as descriptor:
        for page in pages:
            assert len(os.pread(descriptor, PAGE, page * PAGE)) == PAGE


def attached(device):
    return Path(f"/sys/block/{device}/loop").exists()


@needs_a_disk
def test_it_holds_the_files(disk, files):
    for _ in range(2):
        disk.evict()
        assert all(pagecache.resident_share(below(disk, file)) == 0 for file in files.files)
        served, served_bytes = disk.served, disk.served_bytes
        for file in files.files:
            assert zlib.crc32(below(disk, file).read_bytes()) == file.crc32
        assert disk.served_bytes - served_bytes >= sum(file.bytes for file in files.files)
        read = disk.served - served
        for file in files.files:
            below(disk, file).read_bytes()
        # What is in memory needs no disk; but a machine may reclaim idle pages by itself.
        assert disk.served - served - read < read / 2
    told = disk.counters()
    assert told["busy_ns"] / 1e9 == disk.busy_s > 0
    assert (told["failed"], told["stalled"], told["malformed"]) == (0, 0, 0)
    assert told["late_ns"] > 0, "this program is no faster than the arm"
    on = disks.disk_of(disk.folder)
    assert (on["device"], on["rotational"], on["warning"]) == (disk.device, True, "")
    if "[mq-deadline]" in on["scheduler"]:
        assert Path(f"/sys/block/{disk.device}/queue/nr_requests").read_text().strip() == "2048"
    with pytest.raises(OSError, match="Read-only"):
        (disk.folder / "new").touch()


@needs_a_disk
def test_the_image_is_made_once_and_the_same(files, tmp_path, monkeypatch):
    first = disk_2004.image(files)
    made = first.stat().st_mtime_ns
    assert disk_2004.image(files) == first
    assert first.stat().st_mtime_ns == made
    assert first.stat().st_size < 1.5 * sum(file.bytes for file in files.files)
    monkeypatch.setattr(disk_2004.paths, "BUILD", tmp_path)
    with first.open("rb") as one, disk_2004.image(files).open("rb") as other:
        # Times of the files' last reading aside, which lie in the first blocks.
        assert one.read()[-(4 << 20) :] == other.read()[-(4 << 20) :]
    assert sorted(path.name for path in (tmp_path / "disks").iterdir()) == [".lock", first.name]


@needs_a_disk
def test_one_arm_serves_one_request_at_a_time(disk, files):
    """Two readers at once keep it busy for about the sum of what each alone does, and it is never at two places."""
    path = below(disk, largest(files))
    pages = list(range(largest(files).bytes // PAGE))
    random.Random(2004).shuffle(pages)
    halves = pages[:40], pages[40:80]
    alone = []
    for half in halves:
        before = disk.busy_s, disk.served
        read_pages(path, half)
        assert disk.served - before[1] >= 40
        alone.append(disk.busy_s - before[0])
    disk.evict()
    before, began = (disk.busy_s, disk.served), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as readers:
        list(readers.map(read_pages, [path, path], halves))
    elapsed = time.monotonic() - began
    assert disk.served - before[1] >= 80
    assert 0.6 * sum(alone) < disk.busy_s - before[0] < 1.4 * sum(alone)
    assert disk.busy_s - before[0] <= elapsed + 0.001
    assert disk.counters()["waiting_most"] >= 1


@needs_a_disk
def test_a_disk_in_a_hurry_takes_no_time(disk, files):
    disk.hurry(True)
    busy, served = disk.busy_s, disk.served
    read_pages(below(disk, largest(files)), range(100, 140))
    assert disk.busy_s == busy
    assert disk.served - served >= 40
    disk.hurry(False)
    read_pages(below(disk, largest(files)), range(150, 155))
    assert disk.busy_s > busy


@needs_a_disk
def test_a_failing_disk_fails_the_read_and_no_other(disk, files):
    with by_the_page(below(disk, largest(files))) as descriptor:
        disk.fail_reads(True)
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                os.pread(descriptor, PAGE, 0)
        disk.fail_reads(False)
        assert len(os.pread(descriptor, PAGE, 0)) == PAGE
    assert disk.counters()["failed"] >= 2
    assert zlib.crc32(below(disk, largest(files)).read_bytes()) == largest(files).crc32


@needs_a_disk
def test_a_stalled_disk_holds_a_read_once(disk, files):
    with by_the_page(below(disk, largest(files))) as descriptor:
        disk.stall_s(0.4)
        busy, began = disk.busy_s, time.monotonic()
        assert len(os.pread(descriptor, PAGE, 0)) == PAGE
        assert time.monotonic() - began >= 0.4
        assert len(os.pread(descriptor, PAGE, 10 * PAGE)) == PAGE
        assert disk.counters()["stalled"] == 1
        assert disk.counters()["stall_ns"] == 0
        assert disk.busy_s - busy < 0.1, "a stall is no work"


#: Reads files by small pieces, so that they and not the program need memory, and says when it has.
READER = """
import sys
input()
for path in sys.argv[1:]:
    with open(path, "rb", buffering=0) as file:
        while file.read(65536):
            pass
print("read", flush=True)
input()
"""


@needs_a_disk
def test_the_reader_s_memory_group_pays_for_the_page_cache(tmp_path):
    """And one that is smaller than the files reads them all the same."""
    if cgroups.memory_parent() is None:
        pytest.skip("no memory cgroup here")
    more = filesets.specweb99_like(tmp_path, directories=4)
    footprint = sum(file.bytes for file in more.files)
    with Disk2004(more) as disk:
        argv = [sys.executable, "-I", "-S", "-c", READER, *(str(below(disk, file)) for file in more.files)]
        half = footprint // 2
        # Not all of the footprint: a machine may reclaim idle pages by itself.
        for limit, least, most in ((None, 0.8 * footprint, 2 * footprint), (half, 0, half)):
            disk.evict()
            with cgroups.MemoryGroup(limit) as group:
                reader = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                try:
                    group.add(reader.pid)
                    before = group.used_bytes()
                    reader.stdin.write(b"\n")
                    reader.stdin.flush()
                    assert reader.stdout.readline() == b"read\n"
                    assert least <= group.used_bytes() - before <= most
                    if limit:
                        assert pagecache.cold(below(disk, file) for file in more.files)
                finally:
                    reader.kill()
                    reader.communicate()


@needs_a_disk
@pytest.mark.parametrize(
    ("design", "options"), [("lazy", []), ("kernel-threads", []), ("prefork", ["--workers", "2"])]
)
def test_servers_of_every_kind_serve_from_it(disk, files, design, options, can_lab, can_run, release):
    """On a host of the lab, which has its own /proc: by the descriptor."""
    can_run(design)
    with Lab() as lab:
        address = f"{lab.server_address}:8080"
        listen = ["--listen", address, "--root", "/proc/self/fd/3"]
        server = lab.spawn(SERVER, [str(release / design), *listen, *options], pass_files=[disk])
        program = (
            "import sys, time, urllib.request as u, zlib\n"
            "def get(path):\n"
            "    for _ in range(500):\n"
            "        try: return u.urlopen(f'http://{sys.argv[1]}{path}', timeout=20).read()\n"
            "        except ConnectionRefusedError: time.sleep(0.01)\n"
            "        except u.URLError as e:\n"
            "            if not isinstance(e.reason, ConnectionRefusedError): raise\n"
            "            time.sleep(0.01)\n"
            "for path in sys.argv[2:]: print(zlib.crc32(get(path)))\n"
        )
        served = disk.served_bytes
        read, write = os.pipe()
        with open(read) as said:
            argv = [sys.executable, "-c", program, address, *(file.path for file in files.files)]
            lab.spawn("client", argv, stdout=write)
            os.close(write)
            assert [int(line) for line in said] == [file.crc32 for file in files.files]
        assert disk.served_bytes > served
        assert server.alive()


@needs_a_disk
def test_a_server_on_this_host_serves_from_it(disk, files, serve):
    server = serve("epoll", disk.folder)
    file = largest(files)
    with urllib.request.urlopen(f"http://{':'.join(map(str, server.address))}{file.path}") as reply:
        assert zlib.crc32(reply.read()) == file.crc32
    assert isinstance(server, servers.Server)


@needs_a_disk
def test_nothing_is_left_of_it(files, eventually):
    open_before = len(os.listdir("/proc/self/fd"))
    mounts = Path("/proc/self/mountinfo").read_text()
    with Disk2004(files) as disk:
        device = disk.device
        assert attached(device)
        assert Path("/proc/self/mountinfo").read_text() == mounts
    eventually(lambda: not attached(device))
    assert len(os.listdir("/proc/self/fd")) <= open_before + 1  # the memory of its counters can still be read
    assert disk.served > 0


#: Makes a disk, says which, stalls it when told to, and lives until it is killed.
MAKER = """
import sys, time
from pathlib import Path
from retrospective.lab import disk_2004, filesets
disk_2004.paths.BUILD = Path(sys.argv[2])
with disk_2004.Disk2004(filesets.specweb99_like(Path(sys.argv[1]), directories=1)) as disk:
    disk.evict()
    print(disk.device, disk._process.pid, disk.folder, flush=True)
    input()
    disk.stall_s(3600)
    print("stalls", flush=True)
    time.sleep(3600)
"""


@needs_a_disk
@pytest.mark.parametrize("somebody_waits", [False, True])
def test_a_killed_maker_leaves_nothing(files, somebody_waits, eventually):
    """Not even where somebody waits for a read that was to take an hour: that fails."""
    folder = files.root.parent.parent
    argv = [sys.executable, "-c", MAKER, folder, disk_2004.paths.BUILD]
    maker = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    reader = None
    try:
        device, pid, tree = maker.stdout.readline().split()
        if somebody_waits:
            with (Path(tree) / largest(files).path.lstrip("/")).open("rb") as file:
                maker.stdin.write("\n")
                maker.stdin.flush()
                assert maker.stdout.readline() == "stalls\n"
                program = "import os; os.pread(0, 4096, 0)"
                reader = subprocess.Popen([sys.executable, "-c", program], stdin=file, stderr=subprocess.PIPE)
            stat = Path(f"/proc/{reader.pid}/stat")
            eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "D")
        assert attached(device)
    finally:
        maker.kill()
        maker.communicate()
        if reader is not None:
            said = reader.communicate(timeout=10)[1]
            assert os.strerror(errno.EIO).encode() in said
    eventually(lambda: not attached(device))
    eventually(lambda: not Path(f"/proc/{pid}").exists())


@needs_a_disk
def test_a_disk_that_dies_is_an_error_and_not_a_hang(files, eventually):
    with Disk2004(files) as disk:
        device = disk.device
        disk.evict()
        path = below(disk, largest(files))
        with path.open("rb", buffering=0) as file:
            disk._process.kill()
            disk._process.wait()
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                file.read(PAGE)
    eventually(lambda: not attached(device))


@needs_a_disk
def test_what_cannot_be_mounted_is_said_in_one_line(files, tmp_path, monkeypatch):
    """And leaves nothing either."""
    open_before = len(os.listdir("/proc/self/fd"))
    no_file_system = tmp_path / "zeros"
    no_file_system.write_bytes(bytes(1 << 20))
    for picture, said in (
        (no_file_system, "mounting ext4: Invalid argument"),
        (tmp_path / "absent", "No such file"),
    ):
        monkeypatch.setattr(disk_2004, "image", lambda _, picture=picture: picture)
        with pytest.raises(disk_2004.DiskUnavailable, match=said) as refused, Disk2004(files):
            pass
        assert "\n" not in str(refused.value)
    assert len(os.listdir("/proc/self/fd")) <= open_before + 2


def test_why_there_is_none(monkeypatch, files):
    monkeypatch.setattr(disk_2004.os, "geteuid", lambda: 1000)
    assert "run as root" in disk_2004.absent()
    with pytest.raises(disk_2004.DiskUnavailable, match="run as root"):
        Disk2004(files).__enter__()
    monkeypatch.setattr(disk_2004.os, "geteuid", lambda: 0)
    monkeypatch.setattr(disk_2004.shutil, "which", lambda *_, **__: None)
    assert "make system" in disk_2004.absent()
    monkeypatch.setattr(disk_2004.shutil, "which", lambda *_, **__: "/sbin/mkfs.ext4")

    def refused(path, *_):
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    with monkeypatch.context() as inner:
        inner.setattr(disk_2004.os, "open", refused)
        assert "/dev/fuse (Operation not permitted)" in disk_2004.absent()
    if disk_2004.absent() is None:
        monkeypatch.setattr(disk_2004.disk_daemon, "file_system", refused)
        assert "CAP_SYS_ADMIN" in disk_2004.absent()
