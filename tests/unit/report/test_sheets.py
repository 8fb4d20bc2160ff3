from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.results import failed, people, publish, without
from zipcrop.report import sheet, sheets
from zipcrop.report.pictures import Pictures
from zipcrop.report.sheets import Candidate, Sampling
from zipcrop.report.survey import survey
from zipcrop.results import summary

USUAL = Sampling(seed=0, sheets=10, crops_per_sheet=6, photos_per_sheet=4)


def draw(output: Path, folder: Path, sampling: Sampling = USUAL) -> dict[str, bytes]:
    found = survey(output, summary.read(output / "summary.csv"), 24, 100)
    crops, photos = folder / "crops", folder / "photos"
    with Pictures(2, 60, 100) as pictures:
        sheets.draw_all(found, output, crops, photos, sampling, pictures)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    publish(
        tmp_path / "output",
        {
            "good": [people(f"{i}.jpg", 0.9, 0.5) for i in range(5)] + [without(f"n{i}.jpg", 0.1) for i in range(8)],
            "damaged": [people("a.jpg", 0.4), failed("b.jpg")],
            "only photos": [without("a.jpg")],
            "nothing": None,
        },
    )
    return tmp_path / "output"


def test_an_archive_has_a_sheet_of_what_it_has(output: Path, tmp_path: Path) -> None:
    # The worst first: nothing, damaged, only photos, good.
    assert set(draw(output, tmp_path / "s")) == {
        "crops/0002.jpg",
        "photos/0003.jpg",
        "crops/0004.jpg",
        "photos/0004.jpg",
    }


def test_only_the_worst_that_have_any_have_sheets(output: Path, tmp_path: Path) -> None:
    drawn = draw(output, tmp_path / "s", Sampling(seed=0, sheets=2, crops_per_sheet=6, photos_per_sheet=4))
    assert set(drawn) == {"crops/0002.jpg", "crops/0004.jpg", "photos/0003.jpg", "photos/0004.jpg"}
    drawn = draw(output, tmp_path / "one", Sampling(seed=0, sheets=1, crops_per_sheet=6, photos_per_sheet=4))
    assert set(drawn) == {"crops/0002.jpg", "photos/0003.jpg"}
    assert draw(output, tmp_path / "none", Sampling(seed=0, sheets=0, crops_per_sheet=6, photos_per_sheet=4)) == {}
    assert (tmp_path / "none/crops").is_dir()


def test_samples_are_those_of_the_seed(output: Path, tmp_path: Path) -> None:
    first = draw(output, tmp_path / "1")
    assert draw(output, tmp_path / "2") == first
    other = draw(output, tmp_path / "3", Sampling(seed=1, sheets=10, crops_per_sheet=6, photos_per_sheet=4))
    assert other["crops/0004.jpg"] != first["crops/0004.jpg"]
    assert other["crops/0002.jpg"] == first["crops/0002.jpg"]  # all of what there is


def test_a_photo_that_is_gone_leaves_a_gap_and_no_error(output: Path, tmp_path: Path) -> None:
    before = draw(output, tmp_path / "1")
    (output / "Person/damaged/a_0.jpg").unlink()
    assert draw(output, tmp_path / "2")["crops/0002.jpg"] != before["crops/0002.jpg"]


def test_what_is_no_result_of_the_archive_leaves_a_gap(output: Path, tmp_path: Path) -> None:
    (output / "Person/damaged/a_0.jpg").rename(tmp_path / "secret.jpg")
    gap = draw(output, tmp_path / "1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret.jpg").rename(tmp_path / "folder/a_0.jpg")
    (output / "Person/damaged").rmdir()
    (output / "Person/damaged").symlink_to(tmp_path / "folder")
    assert draw(output, tmp_path / "2") == gap
    path = output / "manifests/damaged.csv"
    path.write_text(path.read_text().replace("Person/damaged/a_0.jpg", "../folder/a_0.jpg"))
    assert draw(output, tmp_path / "3") == gap


def test_the_least_sure_crops_and_the_nearest_photos_come_first() -> None:
    candidates = [Candidate("x.jpg", 0, confidence, "") for confidence in (0.3, None, 0.9, 0.5)]
    assert [each.confidence for each in sheets._sample(candidates, 4, 10, 0, "a")] == [0.9, 0.5, 0.3, None]


def test_each_is_drawn_as_often() -> None:
    candidates = [Candidate(str(i), i, 0.5, "") for i in range(10)]
    drawn = [each.member for seed in range(2000) for each in sheets._sample(candidates, 10, 3, seed, "archive")]
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 10
    assert counts.min() > 500  # 600 expected, standard deviation 20
    assert counts.max() < 700


@pytest.mark.parametrize("layout", [sheet.CROPS, sheet.PHOTOS])
def test_a_sheet_of_the_most_detailed_pictures_stays_small(layout: sheet.Layout) -> None:
    width, height = layout.tile
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    noise = np.clip(128 + (noise.astype(int) - 128) // 3, 0, 255).astype(np.uint8)
    tiles = [sheet.Tile(noise, f"IMG_{i}.jpg", f"#{i} · 0.50") for i in range(40)]
    data = sheet.draw("noise", "40 of 40", tiles, layout)
    image = Image.open(io.BytesIO(data))
    assert image.size[0] == 1280
    # Noise is worse than any photo; of photos the limit is kept (see the report's tests).
    assert len(data) < 2 * sheet.MOST_BYTES


def test_pictures_are_where_they_belong_and_in_their_colours() -> None:
    width, height = sheet.PHOTOS.tile
    blue = np.full((height, width, 3), (255, 0, 0), np.uint8)
    red = np.full((height, width, 3), (0, 0, 255), np.uint8)
    data = sheet.draw(
        "a", "b", [sheet.Tile(blue, "1", ""), sheet.Tile(red, "2", ""), sheet.Tile(None, "3", "")], sheet.PHOTOS
    )
    image = np.asarray(Image.open(io.BytesIO(data)))
    first, second = image[80, 50], image[80, 50 + width + 8]
    assert first[2] > 200
    assert first[0] < 60
    assert second[0] > 200
    assert second[2] < 60


def test_long_names_keep_their_end() -> None:
    font = sheet._font(11)
    fitted = sheet._fitted("2024/summer/on the beach/IMG_20240801_123456.jpg", font, 120)
    assert fitted.startswith("…")
    assert fitted.endswith("123456.jpg")
    assert font.getlength(fitted) <= 120
    assert sheet._fitted("a\nb", font, 120) == "a\\x0ab"
    assert sheet._fitted("می\u200cخواهم", font, 120) == "می\u200cخواهم"


def test_names_of_any_length_are_fitted_at_once() -> None:
    calls = 0

    class Font:
        def getlength(self, text: str) -> float:
            nonlocal calls
            calls += 1
            return 6 * len(text)

    assert sheet._fitted("x" * 65_535, Font(), 120) == "…" + "x" * 19  # type: ignore[arg-type]
    assert calls < 121
