"""The crop job as a whole, on photos, with real workers."""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers import output
from helpers.files import flip, make_zip
from helpers.job import SETTINGS, Crop
from helpers.photos import encoded, photo
from zipcrop.errors import MachineError, ZipcropError
from zipcrop.job import run
from zipcrop.job.staging import Staging

PHOTOS = [
    ("bus.jpg", encoded("bus")),
    ("dir/zidane.png", encoded("zidane", ".png")),
    ("empty.webp", encoded("empty", ".webp")),
    ("same.jpg", encoded("zidane")),
    ("same.jpg", encoded("bus", scale=0.3)),
    ("notes.txt", b"text"),
    ("cut.jpg", encoded("bus")[:5000]),
]


@pytest.fixture
def zip_path(tmp_path: Path) -> Path:
    return make_zip(tmp_path / "images(1).zip", PHOTOS)


def test_crops_originals_and_manifest(zip_path: Path, tmp_path: Path, crop: Crop) -> None:
    rows = crop(zip_path)
    first = {int(row["member_index"]): row for row in reversed(rows)}
    assert [first[index]["status"] for index in range(7)] == [
        "person",
        "person",
        "no_person",
        "person",
        "person",
        "skipped",
        "failed",
    ]
    output = tmp_path / "output"
    for row in rows:
        _, data = PHOTOS[int(row["member_index"])]
        if row["status"] == "person":
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            x1, y1, x2, y2 = (int(float(row[edge])) for edge in ("x1", "y1", "x2", "y2"))
            jpeg = cv2.imencode(".jpg", image[y1:y2, x1:x2], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            assert (output / row["file"]).read_bytes() == jpeg.tobytes()
            assert (int(row["width"]), int(row["height"])) == (image.shape[1], image.shape[0])
        elif row["status"] == "no_person":
            assert row["file"] == "No_Person/images(1)/empty.webp"
            assert (output / row["file"]).read_bytes() == data
    for index in (0, 1, 3, 4):
        people = [row for row in rows if int(row["member_index"]) == index]
        assert [int(row["person"]) for row in people] == list(range(len(people)))
        confidences = [float(row["confidence"]) for row in people]
        assert confidences == sorted(confidences, reverse=True)
    assert first[1]["file"] == "Person/images(1)/dir/zidane_0.jpg"
    assert first[4]["file"] == "Person/images(1)/same~2_0.jpg"
    record = json.loads((output / "manifests/images(1).json").read_text())
    assert record["engine"] == "openvino"
    assert record["settings"] == SETTINGS


@pytest.mark.parametrize("engine", ["openvino", pytest.param("torch", marks=pytest.mark.slow)])
def test_same_manifest_whatever_the_batch_and_the_workers(
    engine: str, zip_path: Path, tmp_path: Path, crop: Crop
) -> None:
    manifests = []
    for batch, workers in ((1, 1), (16, 1), (16, 2)):
        crop(zip_path, engine=engine, batch=batch, workers=workers, output=f"{batch}-{workers}")
        manifests.append((tmp_path / f"{batch}-{workers}/manifests/images(1).csv").read_bytes())
    assert manifests[0] == manifests[1] == manifests[2]


def test_crop_settings(zip_path: Path, tmp_path: Path, crop: Crop) -> None:
    plain = {row["file"]: row for row in crop(zip_path) if row["status"] == "person"}
    padded = [row for row in crop(zip_path, output="padded", crop__padding=0.5, crop__format="png") if row["person"]]
    assert len(padded) == len(plain)
    row = next(row for row in padded if row["file"].endswith("/bus_0.png"))
    image = cv2.imread(str(tmp_path / "padded" / row["file"]))
    assert image is not None
    x1, y1, x2, y2 = (float(row[edge]) for edge in ("x1", "y1", "x2", "y2"))
    left, right = max(0, x1 - (x2 - x1) / 2), min(int(row["width"]), x2 + (x2 - x1) / 2)
    top, bottom = max(0, y1 - (y2 - y1) / 2), min(int(row["height"]), y2 + (y2 - y1) / 2)
    assert image.shape[:2] == (int(bottom) - int(top), int(right) - int(left))


def test_min_size_rejects_and_renumbers(zip_path: Path, tmp_path: Path, crop: Crop) -> None:
    rows = crop(zip_path, crop__min_size=200)
    for row in rows:
        if row["status"] == "person":
            crop_image = cv2.imread(str(tmp_path / "output" / row["file"]))
            assert crop_image is not None
            assert min(crop_image.shape[:2]) >= 200
    rejected = [row for row in rows if row["status"] == "rejected"]
    assert rejected
    assert all("crop.min_size" in row["reason"] and row["confidence"] and not row["file"] for row in rejected)
    people = [int(row["person"]) for row in rows if row["member"] == "dir/zidane.png"]
    assert people == list(range(len(people)))


def test_no_person_has_score_and_box_of_the_person_that_came_nearest(zip_path: Path, crop: Crop) -> None:
    without = [row for row in crop(zip_path, confidence=0.99) if row["status"] == "no_person"]
    assert len(without) == 5
    assert sum(0.05 <= float(row["confidence"]) < 0.99 for row in without if row["confidence"]) >= 4
    edges = ("confidence", "x1", "y1", "x2", "y2")
    best = {row["member_index"]: row for row in crop(zip_path, confidence=0.25) if row["person"] == "0"}
    assert len(best) >= 4
    for row in without:
        if row["member_index"] in best:
            assert [row[edge] for edge in edges] == [best[row["member_index"]][edge] for edge in edges]


def test_no_process_of_the_cpu_path_imports_a_heavy_package(zip_path: Path, tmp_path: Path, crop: Crop) -> None:
    poison = tmp_path / "poison"
    for package in ("torch", "torchvision", "ultralytics", "pandas", "snakemake", "openvino_telemetry"):
        (poison / package).mkdir(parents=True)
        (poison / package / "__init__.py").write_text(f"raise SystemExit('{package} was imported')")
    result = subprocess.run(
        crop.job(zip_path, device="auto", workers=2).command(),
        env={**os.environ, "PYTHONPATH": str(poison)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr + (tmp_path / "logs/images(1).log").read_text()
    assert "done: 7 members" in result.stderr


def test_an_archive_that_changed_since_the_start_fails_the_job(zip_path: Path, tmp_path: Path, crop: Crop) -> None:
    job = dataclasses.replace(crop.job(zip_path).job(), fingerprint="another")
    with pytest.raises(MachineError, match="changed since the run began; run again"):
        run.run(job)
    assert not (tmp_path / "output" / "manifests").exists()


@pytest.fixture
def own_model(model_json: Path, tmp_path: Path) -> Path:
    """A model that the test may damage; nothing of it is compiled yet."""
    ignored = shutil.ignore_patterns("cache")
    return Path(shutil.copytree(model_json.parent, tmp_path / "model", ignore=ignored)) / model_json.name


def test_a_compiled_network_that_is_damaged_is_compiled_anew(zip_path: Path, tmp_path: Path, own_model: Path) -> None:
    crop = Crop(tmp_path, own_model)
    crop(zip_path, output="whole")
    (blob,) = own_model.parent.rglob("*.blob")
    flip(blob)
    damaged = blob.read_bytes()
    crop(zip_path, output="mended")
    name = "manifests/images(1).csv"
    assert (tmp_path / "mended" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "a compiled network was damaged; it is compiled anew" in (tmp_path / "logs/images(1).log").read_text()
    assert damaged not in [path.read_bytes() for path in own_model.parent.rglob("*.blob")]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("engine", "name"), [("openvino", "openvino.bin"), ("torch", "weights.pt")])
def test_a_damaged_model_ends_the_job_before_any_outcome(
    engine: str, name: str, zip_path: Path, tmp_path: Path, own_model: Path
) -> None:
    flip(own_model.parent / name)
    with pytest.raises(ZipcropError, match=f"{name} is damaged; run again, and it is prepared anew"):
        Crop(tmp_path, own_model)(zip_path, engine=engine)
    (journal,) = (tmp_path / "output").rglob("journal.jsonl")
    assert journal.read_bytes().count(b"\n") == 1  # its head
    assert not own_model.exists()
    assert multiprocessing.active_children() == []


def test_an_interrupted_job_is_resumed(
    zip_path: Path, tmp_path: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crop(zip_path, output="whole")

    class Killed(BaseException):
        pass

    original = Staging.record
    with monkeypatch.context() as patch:

        def record(self: Any, *arguments: Any) -> None:
            original(self, *arguments)
            raise Killed

        patch.setattr(Staging, "record", record)
        with pytest.raises(Killed):
            crop(zip_path)
    assert not (tmp_path / "output" / "manifests").exists()
    crop(zip_path)
    assert "carrying on after 1 members" in capsys.readouterr().err
    assert output.results(tmp_path / "output") == output.results(tmp_path / "whole")


def with_orientation(data: bytes, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "jpeg", exif=exif, quality=95)
    return file.getvalue()


def test_fast_decoding_cuts_full_size_crops(tmp_path: Path, crop: Crop) -> None:
    """Photos several times as large as the letterbox: found at a reduced size, cut out of the full one."""
    large = encoded("zidane", scale=2)
    members = [
        ("large.jpg", large),
        ("turned.jpg", with_orientation(large, 6)),
        ("empty.jpg", encoded("empty", scale=6)),
        ("square.jpg", cv2.imencode(".jpg", cv2.resize(photo("bus"), (1400, 1399)))[1].tobytes()),
        ("large.png", encoded("bus", ".png", scale=1.5)),
        ("cut.jpg", large[: len(large) // 2]),
    ]
    zip_path = make_zip(tmp_path / "large.zip", members)
    exact = crop(zip_path, output="exact")
    fast = crop(zip_path, output="fast", decode="fast")
    assert (tmp_path / "exact/manifests/large.csv").read_bytes() != (tmp_path / "fast/manifests/large.csv").read_bytes()
    for row in fast:
        data = members[int(row["member_index"])][1]
        if row["status"] == "person":
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert pixels is not None
            assert (int(row["width"]), int(row["height"])) == (pixels.shape[1], pixels.shape[0])
            x1, y1, x2, y2 = (int(float(row[edge])) for edge in ("x1", "y1", "x2", "y2"))
            jpeg = cv2.imencode(".jpg", pixels[y1:y2, x1:x2], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            assert (tmp_path / "fast" / row["file"]).read_bytes() == jpeg.tobytes()
        elif row["status"] == "no_person":
            assert (tmp_path / "fast" / row["file"]).read_bytes() == data
    for column in ("member", "status", "width", "height"):
        assert [row[column] for row in fast if row["person"] in ("", "0")] == [
            row[column] for row in exact if row["person"] in ("", "0")
        ]
    # Photos that are no JPEG, or nearly square, are not reduced.
    unchanged = ("large.png", "square.jpg")
    assert [row for row in fast if row["member"] in unchanged] == [row for row in exact if row["member"] in unchanged]
