"""Step answer_fold: let a network that learned from the other folds answer the training faces of one."""

import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import step

from stack.places import UNFINISHED_AUDITS
from stack.run_log import measured
from stack.step_places import StepPlaces
from vision.data.faces import FaceSet
from vision.training.checkpoints import forget_state
from vision.training.out_of_fold import FoldRequest, predict_fold
from vision.training.recipe import TrainingPaths


@step
def answer_fold(prepared: FaceSet, request: FoldRequest, places: StepPlaces) -> Annotated[pd.DataFrame, "answers"]:
    """Train on the other folds and answer this one; a finished fold is found in the cache, a stopped one resumes."""
    states = places.work / UNFINISHED_AUDITS
    with measured(), tempfile.TemporaryDirectory() as temporary:
        paths = TrainingPaths(Path(temporary, "best.keras"), Path(temporary, "features"), states)
        answers = predict_fold(prepared, request, paths)
    forget_state(states, answers.state)
    return answers.table(prepared.class_names)
