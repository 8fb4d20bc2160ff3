"""The engine process of a GPU. Crop jobs start it where there is none; see `zipcrop.detect.server`."""

import sys

from zipcrop.detect import server
from zipcrop.script import run_script

if __name__ == "__main__":
    run_script(lambda: server.main(sys.argv[1]))
