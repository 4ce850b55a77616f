"""Command line: `python run.py --pipeline NAME`. Any Python can read this file, so that a wrong one is told so."""

import gc
import sys

if not (3, 11) <= sys.version_info[:2] < (3, 14):
    sys.stderr.write("error: Python 3.11 to 3.13 is needed, and " + sys.executable + " is " + sys.version.split()[0])
    sys.stderr.write("; run `make setup PYTHON=/path/to/python3.11`, and start run.py with .venv/bin/python\n")
    sys.exit(2)
try:
    from commands.main import main as main
except ImportError as error:
    if error.name is None or error.name.split(".")[0] in ("commands", "configs", "pipelines"):
        raise
    sys.stderr.write("error: the package " + error.name + " is missing in " + sys.executable)
    sys.stderr.write("; run `make setup`, and start run.py with .venv/bin/python\n")
    sys.exit(2)

if __name__ == "__main__":
    gc.set_threshold(50000, 20, 20)  # Python's own 700 looks through TensorFlow's objects for a tenth of a short run
    ended_with = main(sys.argv[1:])
    gc.freeze()  # leaves what remains to the operating system: collecting it takes seconds
    sys.exit(ended_with)
