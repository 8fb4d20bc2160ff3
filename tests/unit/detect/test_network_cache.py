from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from helpers.files import flip
from zipcrop.detect import engine, network_cache, openvino
from zipcrop.detect import model as prepared
from zipcrop.detect.model import Model
from zipcrop.settings import Thresholds

THRESHOLDS = Thresholds(confidence=0.1, iou=0.7, max_detections=300)


def kept_name(key: str, content: bytes) -> str:
    return f"{key}.{hashlib.sha256(content).hexdigest()}.blob"


def keep(folder: Path, key: str, content: bytes) -> Path:
    path = folder / kept_name(key, content)
    path.write_bytes(content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_new_is_in_the_folder_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    with network_cache.cache(folder) as option:
        blob = Path(option["CACHE_DIR"]) / "1.blob"
        blob.write_bytes(b"ha")
        assert list(folder.glob("*.blob")) == []
        blob.write_bytes(b"half and half")
    assert names(folder) == [kept_name("1", b"half and half")]
    assert (folder / kept_name("1", b"half and half")).read_bytes() == b"half and half"


def test_what_is_there_is_found_and_to_delete_it_is_nobody_elses_loss(tmp_path: Path) -> None:
    one, two = keep(tmp_path, "1", b"one"), keep(tmp_path, "2", b"damaged")
    with network_cache.cache(tmp_path) as option:
        own = Path(option["CACHE_DIR"])
        assert (own / "1.blob").read_bytes() == b"one"
        for name in ("1.blob", "2.blob"):
            (own / name).unlink()
        (own / "2.blob").write_bytes(b"two")
        assert two.read_bytes() == b"damaged"
    assert names(tmp_path) == sorted([one.name, kept_name("2", b"two")])
    assert one.read_bytes() == b"one"


def test_what_has_no_hash_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "1.blob").write_bytes(b"of an older version")
    with network_cache.cache(tmp_path) as option:
        assert names(Path(option["CACHE_DIR"])) == []


def test_nothing_is_kept_of_a_load_that_failed(tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), network_cache.cache(tmp_path) as option:
        (Path(option["CACHE_DIR"]) / "1.blob").write_bytes(b"one")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_the_second_to_compile_the_same_does_not_write_into_what_others_have_mapped(tmp_path: Path) -> None:
    with network_cache.cache(tmp_path) as late:
        with network_cache.cache(tmp_path) as early:
            (Path(early["CACHE_DIR"]) / "1.blob").write_bytes(b"early")
        reader = (tmp_path / kept_name("1", b"early")).open("rb", buffering=0)
        (Path(late["CACHE_DIR"]) / "1.blob").write_bytes(b"late")
    with reader:
        assert reader.read() == b"early"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"late"]


def test_the_damaged_are_removed_and_others_stay(tmp_path: Path) -> None:
    good = keep(tmp_path, "1", b"good")
    keep(tmp_path, "2", b"bad").write_bytes(b"bax")
    keep(tmp_path, "3", b"cut").write_bytes(b"")
    assert network_cache.remove_damaged(tmp_path) == 2
    assert names(tmp_path) == [good.name]
    assert network_cache.remove_damaged(tmp_path) == 0
    assert network_cache.remove_damaged(tmp_path / "nowhere") == 0


def test_what_was_compiled_anew_while_the_damaged_was_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = keep(tmp_path, "1", b"good")
    blob.write_bytes(b"bad")
    original = hashlib.file_digest

    def file_digest(file: Any, name: str) -> Any:
        digest = original(file, name)
        (tmp_path / "new").write_bytes(b"good")
        (tmp_path / "new").replace(blob)
        return digest

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    assert network_cache.remove_damaged(tmp_path) == 0
    assert blob.read_bytes() == b"good"


def test_a_folder_without_room_for_it_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with network_cache.cache(tmp_path / "file" / "cache") as option:
        assert option == {}


@pytest.fixture
def model(tmp_path: Path, model_json: Path) -> Model:
    """A prepared model that nothing was compiled of yet."""
    ignored = shutil.ignore_patterns("cache")
    return Model.read(Path(shutil.copytree(model_json.parent, tmp_path / "model", ignore=ignored)) / model_json.name)


def load(model: Model) -> None:
    engine.load(model, "openvino", 2, THRESHOLDS)


def test_the_second_engine_finds_what_the_first_has_compiled(model: Model) -> None:
    folder = network_cache.folder(Path(model.openvino), 2)
    load(model)
    (blob,) = folder.iterdir()
    first = blob.stat().st_mtime_ns
    load(model)
    assert list(folder.iterdir()) == [blob]
    assert blob.stat().st_mtime_ns == first
    os.truncate(blob, 1000)
    load(model)
    assert network_cache.remove_damaged(folder) == 0
    (blob,) = folder.iterdir()
    assert blob.stat().st_size > 1_000_000


def test_engines_on_other_numbers_of_cores_have_their_own_folder(model: Model) -> None:
    """A job reads all that is in the folder."""
    for threads in (1, 2):
        engine.load(model, "openvino", threads, THRESHOLDS)
        assert len(list(network_cache.folder(Path(model.openvino), threads).iterdir())) == 1


def test_flipped_bits_are_noticed_which_openvino_does_not(model: Model) -> None:
    folder = network_cache.folder(Path(model.openvino), 2)
    load(model)
    assert prepared.check(model, "openvino", 2)
    (blob,) = folder.iterdir()
    flip(blob)
    load(model)
    assert list(folder.iterdir()) == [blob]  # it was taken as it is
    assert not prepared.check(model, "openvino", 2)
    assert list(folder.iterdir()) == []
    load(model)
    assert prepared.check(model, "openvino", 2)


def test_an_engine_loads_while_others_delete_what_they_see(model: Model) -> None:
    """OpenVINO in other processes deletes files that are not whole yet; loading failed, "cannot set permissions"."""
    folder = network_cache.folder(Path(model.openvino), 2)
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


def test_a_compiled_network_that_goes_while_it_is_loaded_is_compiled_anew(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(model)
    really_compile = openvino._compile

    def compile_unless_cached(model: Model, threads: int, kept: dict[str, str]) -> object:
        if kept:
            raise RuntimeError("filesystem error: cannot set permissions: No such file or directory")
        return really_compile(model, threads, kept)

    monkeypatch.setattr(openvino, "_compile", compile_unless_cached)
    load(model)
