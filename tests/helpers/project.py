"""Where the project is, and what it bundles."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
WEIGHTS = ROOT / "demo" / "person-n.pt"
"""The bundled detector."""
