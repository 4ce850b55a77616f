"""The table of pipelines."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pipeline:
    """A pipeline: its module and what it reads; drawn faces may stand in for a missing data set."""

    module: str
    reads_dataset: bool = False
    falls_back_to_demo: bool = False
    reads_pictures: bool = False
    reads_bundle: bool = False


# by the name on the command line; each has a YAML of the same name beside this file
PIPELINES = {
    "training": Pipeline("pipelines.training", reads_dataset=True, falls_back_to_demo=True),
    "retraining": Pipeline("pipelines.retraining", reads_dataset=True),
    "tuning": Pipeline("pipelines.tuning", reads_dataset=True),
    "audit": Pipeline("pipelines.audit", reads_dataset=True),
    "inference": Pipeline("pipelines.inference", reads_pictures=True),
    "monitoring": Pipeline("pipelines.monitoring", reads_pictures=True),
    "rollback": Pipeline("pipelines.rollback"),
    "export": Pipeline("pipelines.export"),
    "import": Pipeline("pipelines.import", reads_bundle=True),
}
