from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from helpers.files import flip
from zipcrop.detect import engine
from zipcrop.detect import model as prepared
from zipcrop.detect.model import Model
from zipcrop.errors import ModelError
from zipcrop.prepare import convert
from zipcrop.settings import Thresholds

FILES = ("weights.pt", "openvino.xml", "openvino.bin")
THRESHOLDS = Thresholds(confidence=0.1, iou=0.7, max_detections=300)


@pytest.fixture
def path(tmp_path: Path, model_json: Path) -> Path:
    """The JSON of a prepared model of one's own."""
    ignored = shutil.ignore_patterns("cache")
    return Path(shutil.copytree(model_json.parent, tmp_path / "model", ignore=ignored)) / model_json.name


def test_what_was_prepared_is_whole(path: Path) -> None:
    assert prepared.is_whole(path)
    model = Model.read(path)
    assert {Path(file).name: digest for file, digest in model.files.items()} == {
        name: prepared.sha256(path.parent / name) for name in FILES
    }
    model.check_files("openvino")
    model.check_files("torch")


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_noticed(path: Path, name: str) -> None:
    flip(path.parent / name, size=1)
    assert not prepared.is_whole(path)
    model = Model.read(path)
    damaged, other = ("torch", "openvino") if name == "weights.pt" else ("openvino", "torch")
    model.check_files(other)  # type: ignore[arg-type]
    assert path.exists()
    with pytest.raises(ModelError, match=rf"{name} is damaged; run again, and it is prepared anew"):
        model.check_files(damaged)  # type: ignore[arg-type]
    assert not path.exists()
    assert not prepared.is_whole(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_or_no_file_is_noticed(path: Path, name: str) -> None:
    (path.parent / name).unlink()
    assert not prepared.is_whole(path)
    os.mkfifo(path.parent / name)
    assert not prepared.is_whole(path)
    with pytest.raises(ModelError, match=f"{name} is damaged"):
        Model.read(path).check_files("torch" if name == "weights.pt" else "openvino")


VALUES = {
    "sha256": "0" * 64,
    "name": "best.pt",
    "task": "detect",
    "classes": ["person"],
    "person": 0,
    "stride": 32,
    "weights": "weights.pt",
    "openvino": "openvino.xml",
    "quantized": "",
    "files": dict.fromkeys(FILES, "0" * 64),
}
OF_AN_OLDER_VERSION = {key: value for key, value in VALUES.items() if key != "files"}
CHANGES: list[dict[str, object]] = [
    {"future": 1},
    {"path": "x"},
    {"files": {}},
    {"files": None},
    {"files": {**dict.fromkeys(FILES, "0" * 64), "/etc/passwd": "0" * 64}},
    {"files": dict.fromkeys(FILES, "abc")},
    {"files": dict.fromkeys(FILES, 0)},
    {"sha256": None},
    {"classes": "person"},
    {"classes": [1]},
    {"classes": []},
    {"person": "0"},
    {"person": 1},
    {"person": -1},
    {"stride": 0},
    {"stride": 32.5},
    {"weights": 5},
    {"openvino": ""},
    {"quantized": 0},
]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"no JSON",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps(VALUES)[:-30].encode(),
        json.dumps(OF_AN_OLDER_VERSION).encode(),
        *(json.dumps({**VALUES, **changes}).encode() for changes in CHANGES),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_json_that_this_version_has_not_written_is_not_whole_and_no_traceback(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert not prepared.is_whole(path)
    with pytest.raises(ModelError, match=r"model.json is damaged, or of another version of zipcrop; delete it"):
        Model.read(path)


def test_json_that_is_not_there_or_no_file_is_not_whole(tmp_path: Path) -> None:
    assert not prepared.is_whole(tmp_path / "model.json")
    with pytest.raises(ModelError, match=r"model.json cannot be read \(No such file or directory\)"):
        Model.read(tmp_path / "model.json")
    assert not prepared.is_whole(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert not prepared.is_whole(tmp_path / "fifo")


def test_json_is_written_last_whole_and_when_its_files_are_on_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(**{**json.loads(path.read_text()), "files": {}})
    path.unlink()
    flushed = []
    original = os.fsync

    def fsync(descriptor: int) -> None:
        file = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append((file.name, path.exists()))
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        model.write(path)
    assert {name for name, there in flushed if not there} >= {*FILES}
    assert flushed[-2][0].startswith("model.json.")
    assert flushed[-1] == (path.parent.name, True)
    assert prepared.is_whole(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        model.write(path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([*FILES, path.name])


def test_preparing_anew_mends_what_was_damaged_and_keeps_what_others_have_mapped(path: Path) -> None:
    identity = Model.read(path).identity
    whole = {name: (path.parent / name).read_bytes() for name in FILES}
    source = path.parent.parent / "best.pt"
    source.write_bytes(whole["weights.pt"])
    with (path.parent / "openvino.bin").open("rb", buffering=0) as mapped:
        flip(path.parent / "openvino.bin")
        damaged = (path.parent / "openvino.bin").read_bytes()
        convert.prepare(source, path)
        assert mapped.read() == damaged
    assert prepared.is_whole(path)
    assert (path.parent / "openvino.bin").read_bytes() == whole["openvino.bin"]
    assert Model.read(path).identity == identity
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([*FILES, path.name])


def test_preparing_that_fails_leaves_no_json(path: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(ModelError):
        convert.prepare(tmp_path / "bad.pt", path)
    assert not path.exists()
    assert sorted(file.name for file in path.parent.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("damage", ["flipped", "cut", "xml flipped", "xml cut"])
def test_the_openvino_engine_compiles_nothing_that_is_damaged(path: Path, damage: str) -> None:
    file = path.parent / ("openvino.xml" if damage.startswith("xml") else "openvino.bin")
    if damage.endswith("flipped"):
        flip(file)
    else:
        os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ModelError, match=f"{file.name} is damaged; run again"):
        engine.load(Model.read(path), "openvino", 2, THRESHOLDS)
    assert not path.exists()
    assert not list(path.parent.rglob("*.blob"))


def test_a_fault_of_openvino_is_no_fault_of_the_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zipcrop.detect import openvino

    def fail(*arguments: object) -> None:
        raise RuntimeError("it does not work")

    monkeypatch.setattr(openvino, "_compile", fail)
    with pytest.raises(RuntimeError, match="it does not work"):
        engine.load(Model.read(path), "openvino", 2, THRESHOLDS)
    assert path.exists()


def test_the_job_checks_weights_for_the_torch_engine(path: Path) -> None:
    model = Model.read(path)
    assert prepared.check(model, "torch", 2)
    flip(path.parent / "weights.pt")
    with pytest.raises(ModelError, match=r"weights.pt is damaged"):
        prepared.check(model, "torch", 2)
