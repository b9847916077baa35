"""Named blocks of shared memory and lists in them."""

import importlib
import multiprocessing.shared_memory
import os
import pickle
import struct

import pytest

import procession.shared_memory

ITEMS = ["howdy", b"HoWdY", -273.154, 100, None, True, 42, "", b"", 2**63 - 1, float("inf"), "naïve"]


@pytest.fixture
def module(mp):
    return importlib.import_module(f"{mp.__name__}.shared_memory")


@pytest.fixture
def other(mp):
    """The other implementation, which is to understand the same bytes."""
    return procession.shared_memory if mp is multiprocessing else multiprocessing.shared_memory


@pytest.fixture
def made():
    """Blocks and lists to be closed and unlinked at the end."""
    blocks = []
    yield blocks
    for block in blocks:
        block.close()
    for block in blocks:  # the maker first
        if os.path.exists(f"/dev/shm/{block.name}"):
            block.unlink()


@pytest.fixture
def block(module, made):
    made.append(module.SharedMemory(create=True, size=500))
    return made[0]


@pytest.fixture
def lists(module, made):
    """Makes lists."""

    def make(*args, kind=module, **options):
        made_list = kind.ShareableList(*args, **options)
        made.append(made_list.shm)
        return made_list

    return make


def refusal(action):
    """What an action raises."""
    with pytest.raises(Exception) as caught:
        action()
    error = caught.value
    facts = (error.errno, error.strerror, error.filename) if isinstance(error, OSError) else (str(error),)
    return type(error), *facts


# ---- blocks --------------------------------------------------------------------------


def test_a_new_block(block):
    assert block.name.startswith("psm_") and len(block.name) == 12
    assert (block._name, block.size, len(block.buf)) == (f"/{block.name}", 500, 500)
    assert repr(block) == f"SharedMemory({block.name!r}, size=500)"
    assert bytes(block.buf) == bytes(500)
    status = os.stat(f"/dev/shm/{block.name}")
    assert (status.st_size, status.st_mode & 0o777, status.st_nlink) == (500, 0o600 & ~_umask(), 1)


def _umask():
    before = os.umask(0)
    os.umask(before)
    return before


def test_attached_by_its_name(module, other, block, made):
    block.buf[:3] = b"abc"
    for kind in (module, other):
        again = kind.SharedMemory(block.name, size=1 << 20)
        made.append(again)
        assert (again.size, bytes(again.buf[:3]), again.name) == (500, b"abc", block.name)
    again.buf[0:1] = b"x"
    assert block.buf[0] == ord("x")


def test_closed_and_unlinked(module, block):
    view = block.buf[:10]
    assert refusal(block.close)[0] is BufferError
    view.release()
    block.close()
    assert (block.buf, block.size, repr(block)) == (None, 500, f"SharedMemory({block.name!r}, size=500)")
    block.close()
    block.unlink()
    gone = (FileNotFoundError, 2, "No such file or directory", f"/{block.name}")
    assert refusal(block.unlink) == refusal(lambda: module.SharedMemory(block.name)) == gone


def test_unlinked_while_it_is_used(block):
    block.unlink()
    block.buf[0] = 5
    assert bytes(block.buf[:2]) == b"\5\0"


def test_names(module, made):
    names = [f"a {os.getpid()}", f".hidden{os.getpid()}", f"/slash{os.getpid()}", "x" * 250]
    if module is procession.shared_memory:  # theirs has not told its tracker
        names += [f"é{os.getpid()}", f"a:b\n{os.getpid()}"]
    for name in names:
        block = module.SharedMemory(name, create=True, size=1)
        made.append(block)
        assert block.name == name and os.path.exists(f"/dev/shm/{name.lstrip('/')}")
        assert refusal(lambda name=name: module.SharedMemory(name, create=True, size=1)) == (
            FileExistsError, 17, "File exists", f"/{name}"
        )  # fmt: skip


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "x" * 256, "é" * 200, "/", "a/"])
def test_names_that_are_none(name, create):
    kinds = [multiprocessing.shared_memory, procession.shared_memory]
    theirs, ours = (refusal(lambda: kind.SharedMemory(name, create=create, size=1)) for kind in kinds)
    assert ours == theirs


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((), {}),
        ((), {"create": True}),
        (("a", True), {}),
        (("a", True, -1), {}),
        (("a", False, -1), {}),
        ((None, True, "1"), {}),
        ((None, True, 1.5), {}),
        ((None, True, 1 << 62), {}),
        ((1,), {"create": True, "size": 1}),
        ((b"a",), {"create": True, "size": 1}),
    ],
)
def test_refused_arguments(args, options):
    kinds = [multiprocessing.shared_memory, procession.shared_memory]
    theirs = refusal(lambda: kinds[0].SharedMemory(*args, **options))
    before = set(os.listdir("/dev/shm"))
    ours = refusal(lambda: kinds[1].SharedMemory(*args, **options))
    assert ours[0] is theirs[0]
    if ours[0] is not TypeError:  # its texts are the interpreter's
        assert ours == theirs
    assert set(os.listdir("/dev/shm")) == before
    for left in before:  # a block whose size was refused after it was made
        if left.startswith("psm_"):
            os.unlink(f"/dev/shm/{left}")


def test_an_empty_block_cannot_be_attached(module):
    path = f"/dev/shm/empty{os.getpid()}"
    with open(path, "xb"):
        assert refusal(lambda: module.SharedMemory(os.path.basename(path)))[0] is ValueError
    assert os.path.exists(path)
    os.unlink(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled(module, block, lists, made, protocol):
    again = pickle.loads(pickle.dumps(block, protocol))
    made.append(again)
    again.buf[0] = 3
    assert (type(again), again.name, again.size, block.buf[0]) == (module.SharedMemory, block.name, 500, 3)
    numbers = lists(range(3))
    same = pickle.loads(pickle.dumps(numbers, protocol))
    made.append(same.shm)
    same[1] = 9
    assert (type(same), list(numbers)) == (module.ShareableList, [0, 9, 2])
    for each in (block, numbers.shm):
        each.unlink()
    for each in (block, numbers):
        with pytest.raises(FileNotFoundError):
            pickle.loads(pickle.dumps(each, protocol))


def test_a_subclass_may_open_or_create(module, block, made):
    class Either(module.SharedMemory):
        _flags = os.O_CREAT | os.O_RDWR

    made.append(Either(block.name))
    assert made[-1].size == 500 and repr(made[-1]).startswith("Either(")


def test_new_names_are_drawn_until_one_is_free(module, made, monkeypatch):
    names = [f"/psm_drawn{os.getpid()}", f"/psm_drawn{os.getpid()}", f"/psm_other{os.getpid()}"]
    monkeypatch.setattr(module, "_make_filename", iter(names).__next__)
    made += [module.SharedMemory(create=True, size=1) for _ in range(2)]
    assert [block._name for block in made] == [names[0], names[2]]


def write(block, name, values):
    block.buf[:5] = b"child"
    block.close()
    values[0] = "set"
    values.shm.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_as_arguments(mp, module, made, lists, method):
    ctx = mp.get_context(method)
    block, values = module.SharedMemory(create=True, size=10), lists(["a long text", 1])
    made.append(block)
    child = ctx.Process(target=write, args=(block, block.name, values))
    child.start()
    child.join()
    assert (child.exitcode, bytes(block.buf[:5]), list(values)) == (0, b"child", ["set", 1])
    child.close()


def test_a_name_with_a_nul():
    """Up to 3.12 the standard library cuts it short, or hands it on."""
    with pytest.raises(ValueError, match="embedded null character"):
        procession.shared_memory.SharedMemory("nul\0a", create=True, size=1)
    with pytest.raises(ValueError, match="embedded null character"):
        procession.shared_memory.SharedMemory("nul\0a")


# ---- lists ---------------------------------------------------------------------------


def test_a_list(lists):
    values = lists(ITEMS)
    assert list(values) == [values[n] for n in range(len(ITEMS))] == ITEMS
    assert [values[n - len(ITEMS)] for n in range(len(ITEMS))] == ITEMS
    assert len(values) == len(ITEMS) and values.shm.size >= 12 * 17
    assert repr(values) == f"ShareableList({ITEMS}, name={values.shm.name!r})"
    assert values.format == "8s8sdqxxxxxx?xxxxxxxx?q8s8sqd8s"
    assert [values.count(each) for each in (42, True, None, "x")] == [1, 1, 1, 0]
    assert [values.index(each) for each in (42, None, "", "naïve")] == [6, 4, 7, 11]
    assert 100 in values and "x" not in values
    assert refusal(lambda: values.index("x")) == (ValueError, "'x' not in this container")


def test_both_implementations_read_each_others_lists(lists, other, made):
    values = lists(ITEMS)
    theirs = other.ShareableList(name=values.shm.name)
    made.append(theirs.shm)
    assert (list(theirs), theirs.format, len(theirs)) == (ITEMS, values.format, len(ITEMS))
    for change in ((0, 7), (1, None), (3, b"12345678"), (4, "text"), (5, 2.5), (-1, "other"), (6, False)):
        for one, another in ((values, theirs), (theirs, values)):
            one[change[0]] = change[1]
            assert (another[change[0]], another.format) == (change[1], one.format)
    assert bytes(theirs.shm.buf) == bytes(values.shm.buf)
    mirror = lists(values, kind=other)
    size = min(mirror.shm.size, values.shm.size)
    assert list(mirror) == list(values) and mirror.shm.name != values.shm.name and size


@pytest.mark.parametrize("items", [[], None, (), [1], ["é" * 3], ["é" * 4], "abc", {"key": 1}, range(400)])
def test_the_same_bytes(items, lists):
    ours = lists(items, kind=procession.shared_memory)
    theirs = lists(items, kind=multiprocessing.shared_memory)
    assert (list(ours), ours.format, len(ours)) == (list(theirs), theirs.format, len(theirs))
    assert bytes(ours.shm.buf)[: theirs.shm.size] == bytes(theirs.shm.buf)


def test_a_text_is_not_cut_short(lists):
    """The standard library reserves a byte for each character."""
    texts = ["é" * 15, "\U0001f600" * 7]
    assert list(lists(texts, kind=procession.shared_memory)) == texts


def test_places_that_are_none(lists):
    values = lists([1, 2])
    for place in (2, 5):
        assert refusal(lambda place=place: values[place]) == (IndexError, "index out of range")
        setting = refusal(lambda place=place: values.__setitem__(place, 1))
        assert setting == (IndexError, "assignment index out of range")
    assert refusal(lambda: values["1"])[0] is refusal(lambda: values[0:1])[0] is TypeError
    assert refusal(lambda: lists()[0]) == (IndexError, "index out of range")


def test_values_that_do_not_fit(lists):
    values = lists(["12345678", b"1234567", 5, None])
    full = (ValueError, "bytes/str item exceeds available storage")
    for place, value in ((0, "x" * 17), (0, "é" * 9), (1, b"123456789"), (2, "123456789"), (3, b"123456789")):
        assert refusal(lambda place=place, value=value: values.__setitem__(place, value)) == full
    values[0], values[1], values[2] = "é" * 8, b"12345678", "12345678"
    assert list(values) == ["é" * 8, b"12345678", "12345678", None]
    for value in ([], 1j, object, 2**63, -(2**63) - 1):
        assert refusal(lambda value=value: values.__setitem__(3, value))[0] in (KeyError, struct.error)


@pytest.mark.parametrize("item", [[], (1,), 1j, object()])
def test_types_that_are_none(item, module):
    before = set(os.listdir("/dev/shm"))
    assert refusal(lambda: module.ShareableList([1, item])) == (KeyError, str(type(item)))
    assert set(os.listdir("/dev/shm")) == before


def test_zeros_at_the_end_are_lost(lists):
    assert list(lists([b"a\0b\0\0", "a\0", b"\0"])) == [b"a\0b", "a", b""]


def test_a_list_whose_block_is_closed(lists):
    values = lists([1])
    values.shm.close()
    assert refusal(lambda: len(values))[0] is TypeError


def test_generic(module):
    assert module.ShareableList[int].__origin__ is module.ShareableList
