from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.project import ROOT
from helpers.results import publish
from zipcrop.results import exports


def test_archives_are_those_of_the_summary_in_its_order(tmp_path: Path) -> None:
    publish(tmp_path, {'b/it\'s, "so"': [], "NA": [], "a": []})
    assert exports.archives(tmp_path) == {
        'b/it\'s, "so"': 'raw_zips/b/it\'s, "so".zip',
        "NA": "raw_zips/NA.zip",
        "a": "raw_zips/a.zip",
    }


@pytest.mark.parametrize("module", ["results.coco", "results.yolo", "results.verify", "job.plan"])
def test_tables_are_not_imported_for_one_row_at_a_time(module: str) -> None:
    """Pandas takes longer to import than a run with nothing to do may take."""
    code = f"import sys, zipcrop.{module}; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow/scripts").returncode == 0
