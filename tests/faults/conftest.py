"""Fixtures: what disturbed jobs are run on, and what jobs leave that are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faulty import Bench, UnavailableError


@pytest.fixture(scope="session")
def bench(model_json: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """What jobs are run on."""
    try:
        return Bench.create(tmp_path_factory.mktemp("bench"), model_json)
    except UnavailableError as error:
        (pytest.fail if os.environ.get("REQUIRE_GCC") else pytest.skip)(str(error))
