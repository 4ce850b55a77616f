"""The table of pipelines."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pipeline:
    """A pipeline: its module, whether it reads the data set, and whether drawn faces stand in where there is none."""

    module: str
    reads_dataset: bool = False
    falls_back_to_demo: bool = False


# by the name on the command line; each has a YAML of the same name beside this file
PIPELINES = {
    "training": Pipeline("pipelines.training", reads_dataset=True, falls_back_to_demo=True),
    "retraining": Pipeline("pipelines.retraining", reads_dataset=True),
    "tuning": Pipeline("pipelines.tuning", reads_dataset=True),
    "inference": Pipeline("pipelines.inference"),
    "monitoring": Pipeline("pipelines.monitoring"),
    "rollback": Pipeline("pipelines.rollback"),
    "export": Pipeline("pipelines.export"),
    "import": Pipeline("pipelines.import"),
}
