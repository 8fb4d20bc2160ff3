"""What people do with the `yolo` command: unpack, predict, save crops.

usage: extract_and_predict.py ZIP FILES WEIGHTS IMAGE_SIZE OUTPUT
"""

import subprocess
import sys
import zipfile
from pathlib import Path


def main() -> None:
    archive, files, weights, image_size, output = sys.argv[1:]
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(files)
    yolo = Path(sys.executable).with_name("yolo")
    options = [f"model={weights}", f"source={files}", f"imgsz={image_size}", f"project={output}"]
    flags = ["classes=0", "save=False", "save_crop=True", "verbose=False"]
    subprocess.run([yolo, "predict", *options, *flags], check=True)


if __name__ == "__main__":
    main()
