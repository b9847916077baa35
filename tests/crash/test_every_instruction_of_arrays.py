"""Death after every instruction of arrays: an item is the old or the new one, and the lock can be had."""

import pytest
import stepping
from campaign import Campaign, acquirable

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
]

KEYS = pytest.mark.parametrize(("key", "value"), [(1, 7), (slice(1, 3), [7, 8])], ids=["item", "slice"])


@KEYS
def test_set(stepper, stride, key, value, request):
    array = _native.Array("q", 4)

    def check() -> None:
        acquirable(array.get_lock())
        items = array[0:4]
        for at, new in {1: 7, 2: 8}.items():
            assert items[at] in (0, new), f"{items}"
        assert (items[0], items[3]) == (0, 0)
        array[0:4] = [0, 0, 0, 0]

    def act(_: object) -> None:
        array[key] = value

    Campaign(stepper, stride, f"Array, {request.node.callspec.id} set").run(
        lambda: stepping.fork_victim(lambda: None, act), check=check
    )


@KEYS
def test_get(stepper, stride, key, value, request):
    del value
    array = _native.Array("q", 4)
    Campaign(stepper, stride, f"Array, {request.node.callspec.id} got").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: array[key]),
        check=lambda: acquirable(array.get_lock()),
    )
