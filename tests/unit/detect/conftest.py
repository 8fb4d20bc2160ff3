"""Engine processes for the tests of the server and of its clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.engine_process import EngineProcess, serving, short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with short_folder() as made:
        yield made


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    """One process that all tests of a module may use that leave it alive."""
    with short_folder() as made, serving(made) as process:
        yield process
