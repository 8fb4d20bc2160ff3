"""Runs on archives in an object store, and results that go there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.files import make_zip
from helpers.output import results
from helpers.photos import encoded
from helpers.workflow import Workflow

if TYPE_CHECKING:
    from helpers.store import Store

ARCHIVES = ["images(1).zip", "-Größe [2]/it's #1.ZIP", "broken.zip"]


@pytest.fixture
def workflow(prepared: Path, store: Store, tmp_path: Path) -> Workflow:
    """One whose archives are in the store, that has not run yet, but has its model."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copytree(prepared / "models", folder / "models")
    photos = [("bus.jpg", encoded("bus")), ("a/empty.png", encoded("empty", ".png")), ("b.txt", b"no photo")]
    make_zip(tmp_path / "local" / ARCHIVES[0], photos)
    make_zip(tmp_path / "local" / ARCHIVES[1], [("zidane.jpg", encoded("zidane"))])
    (tmp_path / "local" / ARCHIVES[2]).write_bytes(b"<html>not found</html>")
    for name in ARCHIVES:
        store.put("raw", f"my photos/{name}", (tmp_path / "local" / name).read_bytes())
    return Workflow.create(folder)


FROM_STORE = "raw_zips=s3://raw/my photos"


def downloads(store: Store) -> list[str]:
    return [request for request in store.requests() if request.startswith("GET /raw/my")]


@pytest.mark.slow
def test_archives_in_a_store(workflow: Workflow, store: Store, tmp_path: Path) -> None:
    jobs = workflow.jobs("--cores", "2", config=[FROM_STORE])
    assert jobs["crop_archive"] == 3
    assert workflow.jobs("--cores", "2", config=[f"raw_zips={tmp_path / 'local'}", "output=other"])["crop_archive"] == 3
    assert results(workflow.folder / "output") == results(workflow.folder / "other")
    assert not list(workflow.folder.rglob("*.zip"))
    row = workflow.summary()["images(1)"]
    assert row["zip"] == "s3://raw/my photos/images(1).zip"
    assert row["fingerprint"].startswith("etag-")

    before = downloads(store)
    assert workflow.jobs("--cores", "2", config=[FROM_STORE]) == {}
    assert downloads(store) == before

    # Put there again, as it is; and another one.
    store.put("raw", f"my photos/{ARCHIVES[1]}", (tmp_path / "local" / ARCHIVES[1]).read_bytes())
    other = make_zip(tmp_path / "other.zip", [("bus.jpg", encoded("bus"))])
    store.put("raw", f"my photos/{ARCHIVES[0]}", other.read_bytes())
    assert workflow.jobs("--cores", "2", config=[FROM_STORE]) == {"crop_archive": 1, "summarize": 1}
    assert set(downloads(store)[len(before) :]) == {"GET /raw/my photos/images(1).zip"}

    store.client.delete_object(Bucket="raw", Key=f"my photos/{ARCHIVES[1]}")
    result = workflow.run("--cores", "2", config=[FROM_STORE])
    assert "results without an archive: 1" in result.stdout


@pytest.mark.slow
def test_the_options_of_the_storage_plugin_count(
    workflow: Workflow, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in store.variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ACCESS_KEY", "a key")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_SECRET_KEY", "a secret")
    result = workflow.run("--cores", "2", "--storage-s3-endpoint-url", store.url, config=[FROM_STORE])
    assert result.returncode == 0, result.stdout
    assert len(workflow.summary()) == 3


def test_a_store_that_does_not_answer_stops_the_run_in_one_sentence(
    workflow: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = workflow.run("--cores", "2", config=[FROM_STORE])
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if line.startswith("zipcrop: error: ")]
    assert len(errors) == 1
    assert "Could not connect" in errors[0]
    assert "Traceback" not in result.stdout


@pytest.mark.slow
def test_results_go_into_a_store_too(workflow: Workflow, store: Store, tmp_path: Path) -> None:
    config = [f"raw_zips={tmp_path / 'local'}", "upload_to=s3://results/set 1/"]
    failed = workflow.run("--cores", "2", config=config)
    assert failed.returncode != 0
    assert "nothing there (NoSuchBucket)" in failed.stdout
    assert len(workflow.summary()) == 3  # no reason not to do the archives

    store.create_bucket("results")
    assert workflow.jobs("--cores", "2", config=config) == {"upload_archive": 3}
    wanted = {f"set 1/{path}": data for path, data in results(workflow.folder / "output").items()}
    there = {key: store.get("results", key) for key in store.keys("results")}
    assert {key: data for key, data in there.items() if not key.endswith(".json")} == wanted
    assert json.loads(there["set 1/manifests/images(1).json"])["archive"] == "images(1)"
    assert workflow.jobs("--cores", "2", config=config) == {}

    # New results replace the earlier ones, and pruned ones are gone.
    make_zip(tmp_path / "local" / ARCHIVES[0], [("other.jpg", encoded("zidane"))])
    (tmp_path / "local" / ARCHIVES[1]).unlink()
    jobs = workflow.jobs("--cores", "2", config=config)
    assert jobs == {"crop_archive": 1, "summarize": 1, "upload_archive": 1}
    assert workflow.run("prune", "--cores", "1", config=config).returncode == 0
    left = {f"set 1/{path}" for path in results(workflow.folder / "output")}
    assert {key for key in store.keys("results") if not key.endswith(".json")} == left
    assert not any("Größe" in key for key in store.keys("results"))
