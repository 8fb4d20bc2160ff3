"""The table of the GPU check."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpu_results
from gpu_results import STEPS, Result


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Result]:
    """A result for each step, in its file."""
    return {step: Result(step, tmp_path / f"{step}.json") for step in STEPS}


def row_of(table: str, title: str) -> str:
    return next(line for line in table.splitlines() if title in line)


def test_verdicts(results: dict[str, Result]) -> None:
    one, two, three, four = list(results.values())[:4]
    one.at_most("ms", 5.0, 6)
    one.at_least("photos/s", 600, 600)
    one.finish()
    two.at_most("ms", 5, 6)
    two.check("equal", "3 of 4", holds=False)
    two.finish()
    three.skip("all of it", "no GPU")
    three.finish()
    four.figure("s", 1.23456)
    assert [each.verdict for each in (one, two, three, four)] == ["PASS", "FAIL", "skipped", "INCOMPLETE"]
    assert four.figures == {"s": 1.235}


def test_a_step_that_is_killed_leaves_what_it_had(results: dict[str, Result], tmp_path: Path) -> None:
    results["facts"].figure("CPU", "16 cores")
    found = gpu_results.read(tmp_path)
    assert found.keys() == {"facts"}
    table = gpu_results.table(found)
    assert row_of(table, "the machine").startswith("| 0 | the machine | INCOMPLETE |")
    assert "| CPU | 16 cores |" in table
    assert "| 9 | persons against the CPU in f32 | NOT RUN |" in table


@pytest.mark.parametrize(("equal", "shown"), [(True, True), (False, False), (None, False)])
def test_there_are_no_speeds_without_correctness(
    results: dict[str, Result], tmp_path: Path, equal: bool | None, shown: bool
) -> None:
    results["archives"].figure("from cold", {"total/s": 1234.5})
    results["archives"].finish()
    results["parity"].at_least("least IoU", 0.995, 0.99)
    results["parity"].finish()
    if equal is not None:
        results["correctness"].check("replay equals eager", "", holds=equal)
        results["correctness"].finish()
    table = gpu_results.table(gpu_results.read(tmp_path))
    assert ("total/s 1234.5" in table) == shown
    assert ("WITHHELD" in table) != shown
    assert "PASS: least IoU | 0.995 | ≥ 0.99" in table


def test_what_would_break_the_table_does_not(results: dict[str, Result], tmp_path: Path) -> None:
    results["facts"].check("job", "one | two\nthree", holds=False)
    line = row_of(gpu_results.table(gpu_results.read(tmp_path)), "the machine")
    assert "one \\| two three" in line
    assert "**FAIL**: job" in line
