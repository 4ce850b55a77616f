"""Averaging: one .keras file out of several, whose probabilities are the mean of theirs."""

import sys
from pathlib import Path

from configs.errors import UserError, told_in_a_sentence
from stack.local_stack import quiet_libraries
from vision.files.atomic import make_parent, write_file

USAGE = 'give the file to write, and two or more to average: make average ARGS="MEAN.keras A.keras B.keras"'


def average(words: list[str]) -> str:
    """Write the file that the first word names; return what was done. Raises UserError."""
    if len(words) < 3 or not all(word.endswith(".keras") for word in words):
        raise UserError(USAGE)
    target, *files = (Path(word) for word in words)
    if len(set(files)) < len(files):
        raise UserError("a file is named twice; name each classifier once")
    if target.exists():
        raise UserError(f"{target} exists; name a new file")
    make_parent(target)
    from vision.model.classifier import load_classifier
    from vision.model.ensemble import average_classifiers

    ensemble = average_classifiers({str(file): load_classifier(file, "the classifier") for file in files})
    write_file(target, ensemble.save)
    return f"{target}: the mean of {len(files)} classifiers, {ensemble.count_params() / 1e6:.1f} million weights"


if __name__ == "__main__":
    quiet_libraries(debug=False)
    with told_in_a_sentence():
        print(average(sys.argv[1:]))
