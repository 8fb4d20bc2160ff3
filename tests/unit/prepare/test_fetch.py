from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.project import WEIGHTS
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
