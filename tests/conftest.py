"""Fixtures: the bundled detector, the crop job, an S3 server, and workflows that have run once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.environment import without_network
from helpers.files import make_zip
from helpers.job import Crop
from helpers.once import once_per_run
from helpers.photos import encoded
from helpers.project import SCRIPTS, WEIGHTS
from helpers.store import Store, without_credentials
from helpers.workflow import Workflow


@pytest.fixture(scope="session")
def model_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled detector, prepared by the script that the workflow calls."""

    def prepare(folder: Path) -> None:
        command = [sys.executable, str(SCRIPTS / "prepare_model.py")]
        subprocess.run([*command, f"--weights={WEIGHTS}", f"--target={folder / 'model.json'}"], check=True)

    return once_per_run(tmp_path_factory, "model", prepare) / "model.json"


@pytest.fixture
def crop(tmp_path: Path, model_json: Path) -> Crop:
    """Runs crop jobs in `tmp_path`."""
    return Crop(tmp_path, model_json)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 server."""
    store = Store(tmp_path_factory.mktemp("store"))
    yield store
    store.stop()


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The server with an empty bucket `raw`. boto3, in this process and in others, finds it and nothing else."""
    from zipcrop.archive import store as object_store

    without_credentials(monkeypatch)
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    object_store._client.cache_clear()
    server.create_bucket("raw")
    yield server
    server.remove_buckets()
    object_store._client.cache_clear()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow that has run once, without a network, over two archives with ugly names. `workflow` copies it."""
    return once_per_run(tmp_path_factory, "prepared", _run_once)


def _run_once(folder: Path) -> None:
    workflow = Workflow.create(folder)
    make_zip(
        folder / "raw_zips" / "images(1).zip",
        [
            ("bus.jpg", encoded("bus")),
            ("sub/empty.png", encoded("empty", ".png")),
            ("broken.jpg", encoded("zidane")[:2000]),
            ("notes.txt", b"no photo"),
            # Past the size (1 MB) up to which Snakemake would compare content by itself.
            ("filler.bin", bytes(1_200_000)),
        ],
    )
    make_zip(folder / "raw_zips" / "-Größe [2]" / "it's.ZIP", [("zidane.jpg", encoded("zidane"))])
    result = workflow.run("--cores", "2", "--resources", "gpu=1", env=without_network(folder))
    assert result.returncode == 0, result.stdout
    (folder / "first_run.txt").write_text(result.stdout)


@pytest.fixture
def workflow(prepared: Path, tmp_path: Path) -> Workflow:
    """A workflow of the test's own that has run once."""
    folder = tmp_path / "run"
    shutil.copytree(prepared, folder, symlinks=True)
    return Workflow(folder)
