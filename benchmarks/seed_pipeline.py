"""The pipeline that zipcrop began with, taken literally: the yardstick for its speed.

One spawned process per ZIP, each with a YOLO of its own; batches of 16 in the archive's order; crops and photos without
people encoded anew.

usage: seed_pipeline.py WEIGHTS IMAGE_SIZE OUTPUT PROCESSES ZIP [ZIP ...]
"""

from __future__ import annotations

import multiprocessing
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BATCH = 16


def process_archive(path: str, weights: str, image_size: int, output: str) -> int:
    """Crops the persons out of one ZIP; gives the number of photos."""
    import cv2
    import numpy as np
    from ultralytics import YOLO
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = 1  # with more than two cores, each of the processes would have more
    model = YOLO(weights)
    count = 0
    batch: list[tuple[str, np.ndarray]] = []

    def flush() -> None:
        results = model.predict([photo for _, photo in batch], classes=[0], imgsz=image_size, verbose=False)
        for (name, photo), result in zip(batch, results, strict=True):
            base = f"{Path(path).stem}_{Path(name.replace('/', '_')).stem}"
            for k, (x1, y1, x2, y2) in enumerate(result.boxes.xyxy.cpu().numpy()):
                crop = photo[int(y1) : int(y2), int(x1) : int(x2)]
                if crop.size:
                    cv2.imwrite(f"{output}/Person/{base}_{k}.jpg", crop)
            if len(result.boxes) == 0:
                cv2.imwrite(f"{output}/No_Person/{base}.jpg", photo)
        batch.clear()

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.lower().endswith(SUFFIXES):
                continue
            photo = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if photo is None:
                continue
            count += 1
            batch.append((name, photo))
            if len(batch) == BATCH:
                flush()
        if batch:
            flush()
    return count


def main() -> None:
    weights, image_size, output, processes, *archives = sys.argv[1:]
    for folder in ("Person", "No_Person"):
        Path(output, folder).mkdir(parents=True, exist_ok=True)
    same = [[value] * len(archives) for value in (weights, int(image_size), output)]
    with ProcessPoolExecutor(int(processes)) as executor:
        print(sum(executor.map(process_archive, archives, *same)), "photos")


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
