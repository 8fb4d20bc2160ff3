"""Fixtures: the bench for disturbed jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faulty import Bench, UnavailableError


@pytest.fixture(scope="session")
def bench(model_json: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The bench that jobs are run on."""
    try:
        return Bench.create(tmp_path_factory.mktemp("bench"), model_json)
    except UnavailableError as error:
        (pytest.fail if os.environ.get("REQUIRE_GCC") else pytest.skip)(str(error))
