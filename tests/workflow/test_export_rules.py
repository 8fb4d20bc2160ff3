"""The exports of a real run, opened by the tools that they are for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from pycocotools.coco import COCO

from helpers.files import make_zip
from helpers.photos import encoded
from helpers.project import ROOT

if TYPE_CHECKING:
    from helpers.workflow import Workflow

YOLO = "exports={yolo: true}"


@pytest.fixture
def exporting(workflow: Workflow) -> Workflow:
    """A workflow that has run once, exports included."""
    workflow.omitted = ["survey"]
    assert workflow.jobs() == {"export_coco": 1}
    return workflow


@pytest.mark.slow
def test_coco_is_made_with_the_summary_and_when_it_is_missing(exporting: Workflow) -> None:
    export = exporting.folder / "output/summary/annotations.coco.json"
    assert len(COCO(export).getImgIds()) == sum(int(row["images"]) for row in exporting.summary().values())
    assert len(COCO(export).getAnnIds()) == sum(int(row["crops"]) for row in exporting.summary().values())
    export.unlink()
    assert exporting.jobs() == {"export_coco": 1}
    make_zip(exporting.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    assert exporting.jobs()["export_coco"] == 1
    assert "new/new.jpg" in {image["file_name"] for image in COCO(export).dataset["images"]}
    (exporting.folder / "raw_zips/new.zip").unlink()
    assert exporting.jobs()["export_coco"] == 1
    assert "new/new.jpg" not in {image["file_name"] for image in COCO(export).dataset["images"]}
    export.unlink()
    assert exporting.jobs(config=["exports={coco: false}"]) == {}


@pytest.mark.slow
def test_yolo_is_made_on_request(exporting: Workflow) -> None:
    folder = exporting.folder / "output/summary/yolo"
    assert not folder.exists()
    assert exporting.jobs(config=[YOLO]) == {"export_yolo": 1}
    assert exporting.jobs(config=[YOLO]) == {}
    assert exporting.jobs() == {}
    (exporting.folder / "raw_zips/images(1).zip").unlink()
    assert "export_yolo" not in exporting.jobs()
    assert (folder / "labels/images(1)").exists()
    assert exporting.jobs(config=[YOLO]) == {"export_yolo": 1}
    assert not (folder / "labels/images(1)").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ultralytics_trains_on_what_the_readme_makes(exporting: Workflow) -> None:
    from ultralytics.data.dataset import YOLODataset

    shutil.copyfile(exporting.folder / "raw_zips/images(1).zip", exporting.folder / "raw_zips/images.zip")
    make_zip(
        exporting.folder / "raw_zips/twice.zip", [(name, encoded("bus")) for name in ("x.jpg", "x.jpg", "images/x.jpg")]
    )
    exporting.jobs(config=[YOLO])
    code = re.search(r"```python\n(import csv, .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    subprocess.run([sys.executable, "-c", code[1]], cwd=exporting.folder, env={**os.environ, "LC_ALL": "C"}, check=True)

    folder = exporting.folder / "dataset"
    described = yaml.safe_load((folder / "data.yaml").read_text())
    data = YOLODataset(str(folder / described["train"]), data={"names": described["names"], "channels": 3})
    found = {
        Path(label["im_file"]).relative_to(folder / "images").as_posix(): (label["shape"], len(label["cls"]))
        for label in data.get_labels()
    }
    crops = [row for archive in exporting.summary() for row in exporting.manifest(archive) if row["status"] == "person"]
    assert sum(people for _, people in found.values()) == len(crops)
    assert {"images_/bus.jpg", "images(1)/bus.jpg", "twice/x.jpg", "twice/x~2.jpg", "twice/images_/x.jpg"} <= set(found)
    assert all(persons > 0 for image, (_, persons) in found.items() if "empty" not in image)
    sizes = {row["member"]: (int(row["height"]), int(row["width"])) for row in crops}
    assert found["images(1)/bus.jpg"][0] == sizes["bus.jpg"]
