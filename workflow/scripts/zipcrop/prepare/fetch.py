"""Official weights, fetched by name."""

from __future__ import annotations

import tempfile
from pathlib import Path

from zipcrop.detect import restrict
from zipcrop.errors import ModelError, one_line
from zipcrop.files import flush


def fetch(target: Path) -> None:
    """Downloads the official weights called `target.name` to `target`, whole or not at all.

    Raises ModelError if the name is no official one, if there is no network, or if the downloaded file does not load.
    """
    restrict.restrict_ultralytics(offline=False)
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    advice = f"put the weights at {target} yourself, or set model to the path of a weights file"
    if target.name not in GITHUB_ASSETS_NAMES:
        raise ModelError(f"model {target.name} is neither a file nor the name of official weights; {advice}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        download = Path(folder) / target.name
        try:
            attempt_download_asset(download)
        except Exception as error:  # requests, sockets and ultralytics raise many kinds here
            raise ModelError(
                f"{target.name} could not be downloaded ({one_line(restrict.message(error))}); {advice}"
            ) from None
        if not download.exists():
            raise ModelError(f"{target.name} could not be downloaded; {advice}")
        from zipcrop.detect.weights import load  # only now, since it takes ultralytics off the network

        load(download, target)
        flush(download)
        download.replace(target)
        flush(target.parent)
