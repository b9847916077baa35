"""What the tests that kill at every instruction share."""

from collections.abc import Iterator

import pytest
import stepping

from procession import _native


@pytest.fixture(scope="module")
def stepper() -> Iterator[stepping.Stepper]:
    _native.ensure_arena()
    tool = stepping.Stepper(stepping.code_of(_native.__file__))
    yield tool
    tool.close()


@pytest.fixture
def stride(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--stride") or 64
