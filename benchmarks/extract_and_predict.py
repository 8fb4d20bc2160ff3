"""The job done with the `yolo` command: unpack, predict, save crops, on THREADS threads. By itself the command leaves
one core free, which on two cores is half of them.

usage: extract_and_predict.py ZIP FILES WEIGHTS IMAGE_SIZE OUTPUT THREADS
"""

import sys
import zipfile


def main() -> None:
    archive, files, weights, image_size, output, threads = sys.argv[1:]
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(files)
    options = [f"model={weights}", f"source={files}", f"imgsz={image_size}", f"project={output}"]
    flags = ["classes=0", "save=False", "save_crop=True", "verbose=False"]
    sys.argv = ["yolo", "predict", *options, *flags]  # read when ultralytics is imported
    from ultralytics.cfg import entrypoint
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = int(threads)
    entrypoint()


if __name__ == "__main__":
    main()
