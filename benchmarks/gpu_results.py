"""What the steps of `gpu_check.py` find: a JSON file for each, and one table in Markdown of all."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEPS = {
    "prepare": "weights and photos",
    "facts": "the machine",
    "decoding": "decoding and letterboxing alone",
    "start": "start of the engine process",
    "rectangles": "each rectangle: cold, capture, eager, replay",
    "correctness": "correctness of graphs and batches",
    "tf32": "precision: f16, f32 and TF32 against the CPU",
    "archives": "archives of 1,000 photos, and the seed pipeline",
    "small_large": "small archives, and photos of 12 megapixels",
    "failures": "kills, two owners, little GPU memory",
    "parity": "persons against the CPU in f32",
}
"""The steps in their order; the first one is 0 in no table."""
_SPEEDS = ("decoding", "start", "rectangles", "archives", "small_large")
"""The steps whose figures are speeds, which nobody should read if results are wrong."""
_INCOMPLETE = "INCOMPLETE"


@dataclass
class Result:
    """What one step finds. Written after each finding, so that a step that is killed leaves what it had."""

    step: str
    path: Path
    verdict: str = _INCOMPLETE
    checks: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    """What was not done, and why."""
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def check(self, what: str, value: object, holds: bool, goal: str = "") -> None:
        """Adds something that must hold."""
        self.checks.append({"what": what, "value": value, "goal": goal, "holds": bool(holds)})
        self.save()

    def at_least(self, what: str, value: float, goal: float) -> None:
        """Adds a figure with its least good value."""
        self.check(what, round(value, 3), value >= goal, f"≥ {goal:g}")

    def at_most(self, what: str, value: float, goal: float) -> None:
        """Adds a figure with its greatest good value."""
        self.check(what, round(value, 3), value <= goal, f"≤ {goal:g}")

    def figure(self, what: str, value: object) -> None:
        """Adds a figure."""
        self.figures[what] = round(value, 3) if isinstance(value, float) else value
        self.save()

    def skip(self, what: str, why: str) -> None:
        """Says what is not done."""
        self.skipped.append(f"{what}: {why}")
        self.save()

    def finish(self) -> None:
        """Says that the step has come to its end."""
        holds = [check["holds"] for check in self.checks]
        if holds:
            self.verdict = "PASS" if all(holds) else "FAIL"
        else:
            self.verdict = "skipped" if self.skipped and not self.figures else "done"
        self.save()

    def save(self) -> None:
        """Writes the file."""
        self.seconds = round(time.monotonic() - self.began, 1)
        content = {name: value for name, value in vars(self).items() if name not in ("path", "began")}
        self.path.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """What the steps have left in `folder`."""
    paths = {step: folder / f"{step}.json" for step in STEPS}
    return {step: json.loads(path.read_text(encoding="utf-8")) for step, path in paths.items() if path.exists()}


def table(results: dict[str, dict[str, Any]]) -> str:
    """The table of all results, in Markdown. Without correctness there are no speeds."""
    correct = results.get("correctness", {}).get("verdict") == "PASS"
    lines = ["| # | step | verdict | s | what | value | goal |", "|---|---|---|---|---|---|---|"]
    for number, (step, title) in enumerate(STEPS.items(), start=-1):
        name = str(number) if number >= 0 else ""
        result = results.get(step)
        if result is None:
            lines.append(_row(name, title, "NOT RUN", "", "", "", ""))
            continue
        found = _rows(result) if correct or step not in _SPEEDS else [("speeds", "not shown: step 4 did not pass", "")]
        verdict = result["verdict"] if correct or step not in _SPEEDS else "WITHHELD"
        for place, (what, value, goal) in enumerate(found or [("", "", "")]):
            head = (name, title, verdict, str(result["seconds"])) if place == 0 else ("", "", "", "")
            lines.append(_row(*head, what, value, goal))
    return "\n".join(lines)


def _rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [
        (
            f"{'PASS' if check['holds'] else '**FAIL**'}: {check['what']}",
            _shown(check["value"]),
            check["goal"],
        )
        for check in result["checks"]
    ]
    rows += [(what, _shown(value), "") for what, value in result["figures"].items()]
    return rows + [("skipped", text, "") for text in result["skipped"]]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_shown, value))
    return str(value)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
