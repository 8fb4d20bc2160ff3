from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.project import ROOT, WEIGHTS
from zipcrop.errors import ModelError
from zipcrop.prepare import fetch


def test_an_unknown_name_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a file nor the name of official weights; put the weights at"):
        fetch.fetch(tmp_path / "mine.pt")


def test_fetched_weights_are_on_the_disk_before_they_are_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.utils import downloads

    target = tmp_path / "models" / "yolov8n.pt"
    done = []

    def fsync(descriptor: int) -> None:
        done.append((Path(f"/proc/self/fd/{descriptor}").readlink(), target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)

    def download(path: str | Path) -> str:
        if not Path(path).exists():
            Path(path).write_bytes(WEIGHTS.read_bytes())
        return str(path)

    monkeypatch.setattr(downloads, "attempt_download_asset", download)
    fetch.fetch(target)
    assert target.read_bytes() == WEIGHTS.read_bytes()
    (first, before), (second, after) = done
    assert (first.name, before, second, after) == (target.name, False, target.parent, True)


DOWNLOADS = """
import os, sys
from pathlib import Path
from zipcrop.detect import restrict
restrict.restrict_ultralytics(offline=False)
from ultralytics.utils import downloads
from zipcrop.prepare import fetch

def download(path):
    if not Path(path).exists():  # it is called again when the weights are loaded
        print(os.environ.get("YOLO_OFFLINE"))
        Path(path).write_bytes(Path(sys.argv[1]).read_bytes())
    return str(path)

downloads.attempt_download_asset = download
fetch.fetch(Path(sys.argv[2]))
"""


def test_ultralytics_may_use_the_network_until_the_download_is_there(tmp_path: Path) -> None:
    """It tries again after a fault of the network only if it is not told that it is offline."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    environment.pop("YOLO_OFFLINE", None)
    command = [sys.executable, "-c", DOWNLOADS, str(WEIGHTS), str(tmp_path / "yolov8n.pt")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "None"
    assert (tmp_path / "yolov8n.pt").read_bytes() == WEIGHTS.read_bytes()
