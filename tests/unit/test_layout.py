from __future__ import annotations

from pathlib import Path

import pytest

from zipcrop import layout
from zipcrop.errors import MachineError


@pytest.mark.parametrize("part", ["..", "../x", "a/../../x", "/etc/passwd", "a/..", ".", "", "a/../b"])
def test_no_name_leads_out(part: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(MachineError, match="leads out of"):
        layout.inside(tmp_path, part)


@pytest.mark.parametrize("place", [layout.manifest, layout.record, layout.digests, layout.staging, layout.uploaded])
def test_no_archive_leads_out(place: object, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="leads out of"):
        place(tmp_path, "../../x")  # type: ignore[operator]


@pytest.mark.parametrize("archive", ["..", "../No_Person", "x/../..", "/tmp"])
def test_no_results_lie_beside_their_folder(archive: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="leads out of"):
        layout.results(tmp_path, "Person", archive)


@pytest.mark.parametrize("link", ["Person", "Person/a"])
def test_no_link_is_followed(link: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    (output / link).parent.mkdir(parents=True, exist_ok=True)
    (output / link).symlink_to(tmp_path)
    with pytest.raises(MachineError, match="by its name or by a link"):
        layout.results(output, "Person", "a")


def test_the_output_folder_itself_may_be_a_link_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "output").symlink_to("disk")
    assert layout.results(tmp_path / "output", "Person", "a(1)/b [2]") == tmp_path / "output/Person/a(1)/b [2]"
    monkeypatch.chdir(tmp_path)
    assert layout.manifest(Path("output"), "x") == Path("output/manifests/x.csv")


def test_names_that_only_look_like_it_are_inside(tmp_path: Path) -> None:
    for name in ("...", "a..b", "..a", " ", "-rf", "~root"):
        assert layout.inside(tmp_path, name) == tmp_path / name
