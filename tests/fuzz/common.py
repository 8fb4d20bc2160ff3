"""What holds in every layer: limits, time, and that a refusal is one sentence."""

from __future__ import annotations

from zipcrop.settings import Limits

LIMITS = Limits(member_mb=1, megapixels=4, members=1000, seconds=120)
SECONDS = 60.0
"""An input that takes longer hangs. Far more than any takes, on a slow and busy machine, too."""


def sentence(error: Exception) -> str:
    """The message of `error`. Fails unless it is words on one line."""
    text = str(error)
    assert text
    assert text.isprintable(), repr(text)
    return text
