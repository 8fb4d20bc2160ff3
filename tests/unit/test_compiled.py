from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from zipcrop import compiled, engine
from zipcrop.model import Model
from zipcrop.persons import Thresholds


def blobs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.blob"))


def test_what_is_new_is_in_the_folder_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    with compiled.cache(folder) as option:
        blob = Path(option["CACHE_DIR"]) / "1.blob"
        blob.write_bytes(b"ha")
        assert list(folder.glob("*.blob")) == []
        blob.write_bytes(b"half and half")
    assert [path.name for path in folder.iterdir()] == ["1.blob"]
    assert (folder / "1.blob").read_bytes() == b"half and half"


def test_what_is_there_is_found_and_to_delete_it_is_nobody_elses_loss(tmp_path: Path) -> None:
    (tmp_path / "1.blob").write_bytes(b"one")
    (tmp_path / "2.blob").write_bytes(b"damaged")
    with compiled.cache(tmp_path) as option:
        own = Path(option["CACHE_DIR"])
        assert (own / "1.blob").read_bytes() == b"one"
        for name in ("1.blob", "2.blob"):
            (own / name).unlink()
        (own / "2.blob").write_bytes(b"two")
        assert (tmp_path / "2.blob").read_bytes() == b"damaged"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["1.blob", "2.blob"]
    assert (tmp_path / "1.blob").read_bytes() == b"one"
    assert (tmp_path / "2.blob").read_bytes() == b"two"


def test_the_second_to_compile_the_same_does_not_write_into_what_others_have_mapped(tmp_path: Path) -> None:
    with compiled.cache(tmp_path) as late:
        with compiled.cache(tmp_path) as early:
            (Path(early["CACHE_DIR"]) / "1.blob").write_bytes(b"early")
        reader = (tmp_path / "1.blob").open("rb", buffering=0)
        (Path(late["CACHE_DIR"]) / "1.blob").write_bytes(b"late")
    with reader:
        assert reader.read() == b"early"
    assert (tmp_path / "1.blob").read_bytes() == b"late"


def test_a_folder_without_room_for_it_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with compiled.cache(tmp_path / "file" / "cache") as option:
        assert option == {}


@pytest.fixture
def model(tmp_path: Path, model_json: Path) -> Model:
    """A prepared model that nothing was compiled of yet."""
    ignored = shutil.ignore_patterns("cache")
    return Model.read(Path(shutil.copytree(model_json.parent, tmp_path / "model", ignore=ignored)) / model_json.name)


def load(model: Model) -> None:
    engine.load(model, "openvino", "cpu", 2, 1, Thresholds(confidence=0.1, iou=0.7, max_detections=300))


def test_the_second_engine_finds_what_the_first_has_compiled(model: Model) -> None:
    folder = Path(model.openvino).parent / "cache"
    load(model)
    (name,) = blobs(folder)
    first = (folder / name).stat().st_mtime_ns
    load(model)
    assert blobs(folder) == [name]
    assert (folder / name).stat().st_mtime_ns == first
    os.truncate(folder / name, 1000)
    load(model)
    assert blobs(folder) == [name]
    assert (folder / name).stat().st_size > 1_000_000


def test_an_engine_loads_while_others_delete_what_they_see(model: Model) -> None:
    """As OpenVINO in another process does with what is not whole yet; it failed with "cannot set permissions"."""
    folder = Path(model.openvino).parent / "cache"
    ended = threading.Event()

    def delete() -> None:
        while not ended.is_set():
            for blob in folder.glob("*.blob"):
                with contextlib.suppress(FileNotFoundError):
                    blob.unlink()

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        for _ in range(5):
            load(model)
    finally:
        ended.set()
        deleting.join()
