"""The FUSE protocol of one file: what is answered, and that bytes from outside never break it."""

import errno
import random
import struct

import pytest

from retrospective.lab import fuse

SIZE = 1_000_000


def message(opcode, node=fuse.ROOT_NODE, body=b"", unique=7, length=None):
    """A request as the kernel would write it."""
    head = struct.pack(
        "=IIQQIIIHH", 40 + len(body) if length is None else length, opcode, unique, node, *[0] * 5
    )
    return head + body


def read(offset, size, node=fuse.FILE_NODE):
    return message(fuse.READ, node, struct.pack("=QQIIQII", 0, offset, size, 0, 0, 0, 0))


def taken_apart(answer):
    """Errno, what it answers to, and the data of an answer that is as long as it says."""
    length, error, unique = struct.unpack_from("=IiQ", answer)
    assert length == len(answer)
    return -error, unique, answer[16:]


@pytest.fixture
def file():
    return fuse.OneFile(SIZE)


def test_a_version_is_agreed_on(file):
    error, unique, data = taken_apart(
        file.answer(message(fuse.INIT, body=struct.pack("=IIII", 7, 45, 131072, ~0 & 0xFFFFFFFF)))
    )
    major, minor, read_ahead, flags, background, _, _, _, pages, _ = struct.unpack_from("=IIIIHHIIHH", data)
    assert (error, unique, len(data)) == (0, 7, 64)
    assert (major, minor, read_ahead) == (7, 31, 131072)
    assert flags & 1 << 15, "reads of the loop device must be able to wait side by side"
    assert background == 128
    assert pages * 4096 == fuse.MOST_READ_BYTES
    # Nothing is taken that was not offered; a kernel older than the protocol is refused.
    _, _, data = taken_apart(file.answer(message(fuse.INIT, body=struct.pack("=IIII", 7, 45, 0, 0))))
    assert struct.unpack_from("=IIII", data)[3] == 0
    assert (
        taken_apart(file.answer(message(fuse.INIT, body=struct.pack("=IIII", 6, 9, 0, 0))))[0] == errno.EPROTO
    )


def test_one_file_is_found_and_described(file):
    error, _, data = taken_apart(file.answer(message(fuse.LOOKUP, body=fuse.NAME + b"\0")))
    assert (error, len(data)) == (0, 128)
    assert struct.unpack_from("=Q", data)[0] == fuse.FILE_NODE
    for node, size in ((fuse.ROOT_NODE, 0), (fuse.FILE_NODE, SIZE)):
        error, _, data = taken_apart(file.answer(message(fuse.GETATTR, node, bytes(16))))
        assert (error, len(data)) == (0, 104)
        assert struct.unpack_from("=QQ", data, 16) == (node, size)
    error, _, data = taken_apart(file.answer(message(fuse.OPEN, fuse.FILE_NODE, bytes(8))))
    assert (error, struct.unpack("=QIi", data)) == (0, (0, 1, 0))  # FOPEN_DIRECT_IO
    error, _, data = taken_apart(file.answer(message(fuse.STATFS)))
    assert (error, len(data)) == (0, 80)
    for unknown in (
        message(fuse.LOOKUP, body=b"other\0"),
        message(fuse.LOOKUP, fuse.FILE_NODE, fuse.NAME + b"\0"),
        message(fuse.GETATTR, 3),
        message(fuse.OPEN, fuse.ROOT_NODE),
        read(0, 4096, node=fuse.ROOT_NODE),
    ):
        assert taken_apart(file.answer(unknown)) == (errno.ENOENT, 7, b"")


def test_a_read_is_kept_within_the_file(file):
    assert file.answer(read(8192, 4096)) == fuse.Read(7, 8192, 4096)
    assert file.answer(read(SIZE - 10, 4096)) == fuse.Read(7, SIZE - 10, 10)
    assert file.answer(read(0, 1 << 31)).size == fuse.MOST_READ_BYTES
    for nothing in (read(SIZE, 4096), read(1 << 63, 4096), read(0, 0)):
        assert taken_apart(file.answer(nothing)) == (0, 7, b"")


def test_what_waits_for_no_answer_gets_none(file):
    for opcode in (fuse.FORGET, fuse.BATCH_FORGET, fuse.INTERRUPT):
        assert file.answer(message(opcode, body=bytes(8))) is None
    for opcode in (fuse.RELEASE, fuse.FLUSH, fuse.ACCESS, fuse.DESTROY):
        assert taken_apart(file.answer(message(opcode, fuse.FILE_NODE, bytes(24)))) == (0, 7, b"")


def test_odd_requests_are_answered_and_counted(file):
    for opcode in (0, 16, 27, 53, 4096, 0xFFFFFFFF):
        assert taken_apart(file.answer(message(opcode, body=b"x"))) == (errno.ENOSYS, 7, b"")
    assert (file.unknown, file.malformed) == (6, 0)
    for odd in (
        message(fuse.READ, fuse.FILE_NODE, b"short"),
        message(fuse.INIT),
        message(fuse.GETATTR, length=39),
        message(fuse.GETATTR, length=1 << 31),
        message(fuse.GETATTR)[:-1],
        message(fuse.GETATTR)[:16],
    ):
        assert taken_apart(file.answer(odd)) == (errno.EINVAL, 7, b"")
    for hopeless in (b"", b"\0", message(fuse.GETATTR)[:15]):
        assert file.answer(hopeless) is None
    assert (file.unknown, file.malformed) == (6, 9)
    assert file.answer(read(0, 512)) == fuse.Read(7, 0, 512)


def test_bytes_from_outside_never_break_it(file):
    """Random bytes, and requests cut, grown and flipped at random: each is answered rightly or not at all."""
    rng = random.Random(2004)
    whole = [message(opcode, rng.choice((1, 2)), rng.randbytes(40)) for opcode in range(60)]
    whole += [read(rng.randrange(2 * SIZE), rng.randrange(1 << 20)) for _ in range(20)]
    answers = {"bytes": 0, "reads": 0, "none": 0}
    for _ in range(20_000):
        mutated = bytearray(rng.choice(whole) if rng.random() < 0.9 else rng.randbytes(rng.randrange(200)))
        for _ in range(rng.randrange(4)):
            if mutated:
                mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        if rng.random() < 0.3:
            mutated = mutated[: rng.randrange(len(mutated) + 1)] + rng.randbytes(rng.randrange(8))
        if rng.random() < 0.5 and len(mutated) >= 4:
            mutated[:4] = struct.pack("=I", len(mutated))
        answer = file.answer(bytes(mutated))
        if isinstance(answer, fuse.Read):
            assert 0 <= answer.offset < SIZE
            assert 0 < answer.size <= min(fuse.MOST_READ_BYTES, SIZE - answer.offset)
            answers["reads"] += 1
        elif answer is not None:
            error, unique, _ = taken_apart(answer)
            assert error == 0 or error in errno.errorcode
            assert unique == struct.unpack_from("=Q", mutated, 8)[0]
            answers["bytes"] += 1
        else:
            answers["none"] += 1
    assert min(answers.values()) > 100, answers
    assert min(file.malformed, file.unknown) > 100
