"""Fixtures: the bundled detector, the crop job, and workflows that have run once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from helpers.store import Store, without_credentials
from helpers.support import ROOT, SETTINGS, WEIGHTS, Workflow, encoded, make_zip, read_csv, without_network

if TYPE_CHECKING:
    from zipcrop.settings import DeviceSetting, EngineSetting

Crop = Callable[..., list[dict[str, str]]]


@pytest.fixture(scope="session")
def model_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled detector, prepared by the script that the workflow calls."""
    target = tmp_path_factory.mktemp("model") / "model.json"
    command = [sys.executable, str(ROOT / "workflow/scripts/prepare_model.py")]
    subprocess.run([*command, f"--weights={WEIGHTS}", f"--target={target}"], check=True)
    return target


@pytest.fixture(scope="session")
def crop_in(model_json: Path) -> Callable[[Path], Crop]:
    """For a folder, what runs the crop job on an archive, with `settings` over the defaults, and gives the manifest;
    output and logs are in that folder."""
    from zipcrop.archive.source import LocalZip
    from zipcrop.job import run
    from zipcrop.job.task import Job
    from zipcrop.settings import Settings, Speed

    def crop_in(folder: Path) -> Crop:
        def crop(
            zip_path: Path,
            device: DeviceSetting = "cpu",
            engine: EngineSetting = "openvino",
            batch: int = 16,
            workers: int | Literal["auto"] = 1,
            gpus_per_archive: int = 1,
            output: str = "output",
            **settings: Any,
        ) -> list[dict[str, str]]:
            archive = zip_path.stem
            run.run(
                Job(
                    archive=archive,
                    zip=str(zip_path),
                    fingerprint=LocalZip(str(zip_path)).fingerprint(),
                    model=model_json,
                    output=folder / output,
                    log=folder / "logs" / f"{archive}.log",
                    settings=Settings.from_flat(
                        {**SETTINGS, **{key.replace("__", "."): value for key, value in settings.items()}}
                    ),
                    speed=Speed(device, engine, batch, workers, gpus_per_archive),
                    threads=2,
                )
            )
            return read_csv(folder / output / "manifests" / f"{archive}.csv")

        return crop

    return crop_in


@pytest.fixture
def crop(tmp_path: Path, crop_in: Callable[[Path], Crop]) -> Crop:
    """Runs the crop job as `crop_in` says, in `tmp_path`."""
    return crop_in(tmp_path)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 server."""
    store = Store(tmp_path_factory.mktemp("store"))
    yield store
    store.stop()


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The server with an empty bucket `raw`, where boto3 in this process and in others finds it, and nothing else."""
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
    """A workflow that has run once, without a network, over two archives with ugly names; copied by `workflow`."""
    folder = tmp_path_factory.mktemp("prepared")
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
    return folder


@pytest.fixture
def workflow(prepared: Path, tmp_path: Path) -> Workflow:
    """A workflow of one's own that has run once."""
    folder = tmp_path / "run"
    shutil.copytree(prepared, folder, symlinks=True)
    return Workflow(folder)
