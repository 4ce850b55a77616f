"""Seconds that a pipeline run spends outside its steps' own work; the rows add up to the wall time."""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from benchmarks.measuring import PROJECT, Table, parser, publish, start, work_folder

PHASE = {"trainable": ["head"], "learning_rate": 0.001, "schedule": "constant", "warmup_epochs": 0, "patience": 1}
SMALL: dict[str, Any] = {
    "dataset": {"reader": "drawn", "image_size": 32, "drawn": {"faces": 210}},
    "validation": {"class_count": {"min_count": 2}},
    "preprocessing": {"image_size": 32, "validation_share": 0.2},
    "augmentation": {"random_crop": False},
    "classifier": {"weights": "none", "crop_size": 0, "dense_units": [16]},
    "training": {"batch_size": 32, "phases": [{"name": "head", "epochs": 1, **PHASE}]},
    "evaluation": {"test_time_augmentation": "flip", "bootstrap_samples": 50, "explained_per_class": 1},
    "promotion": {"bootstrap_samples": 200, "latency_samples": 20},
}
ENDS_WELL = (0, 3, 4)  # promoted, held, rejected
NOTES = (
    "`run.py --pipeline training` on 210 drawn faces of 32x32, an untrained VGG-19, one epoch: *first* in an empty "
    "state folder, *again* in the same one, where the data steps come from ZenML's cache. Medians of the rounds. Each "
    "row is a stretch of the process's life or a sum of stretches; the rows above the wall time add up to it. The "
    "steps' own seconds grow with the data and are not overhead.",
    "*MLflow: entering and leaving steps* is the experiment tracker's search for the run, its resumption and its end; "
    "*ZenML in steps* is loading, storing and showing artifacts and writing to its store; *ZenML between steps* is "
    "from the end of a step to the start of the next.",
)


class Clock:
    """Times at which something ended in a process, and seconds spent in wrapped functions."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = []
        self.spent: dict[str, list[tuple[float, float]]] = {}

    def mark(self, name: str) -> None:
        """Note that something has ended now."""
        self.marks.append((name, time.time()))

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Note start and end of a block."""
        began = time.time()
        try:
            yield
        finally:
            self.spent.setdefault(name, []).append((began, time.time()))

    def wrap(self, owner: Any, function: str, name: str) -> None:
        """Replace a function by one that notes its start and end."""
        original: Callable[..., Any] = getattr(owner, function)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.measuring(name):
                return original(*arguments, **named)

        setattr(owner, function, timed)


def run_watched(arguments: list[str], written: Path) -> int:
    """Do what run.py does with these arguments, in this process, and write where the time went."""
    clock = Clock()
    began = psutil.Process().create_time()
    import run

    clock.mark("Python starts, run.py is imported")
    import stack.local_stack as stack

    original = stack.prepare_environment

    def prepare_environment(*given: Any, **named: Any) -> None:
        original(*given, **named)
        clock.mark("arguments and settings are read")

    prepare_stack = stack.prepare_stack

    def prepare_and_watch(*given: Any, **named: Any) -> Any:
        clock.mark("imports: TensorFlow, ZenML, MLflow and the steps' libraries")
        prepared = prepare_stack(*given, **named)
        clock.mark("the stack and the stores are prepared")
        from zenml.orchestrators.step_launcher import StepLauncher
        from zenml.stack import Stack
        from zenml.steps import BaseStep

        clock.wrap(StepLauncher, "launch", "step")
        clock.wrap(BaseStep, "call_entrypoint", "own")
        clock.wrap(Stack, "prepare_step_run", "tracker")
        clock.wrap(Stack, "cleanup_step_run", "tracker")
        return prepared

    stack.prepare_environment = prepare_environment
    stack.prepare_stack = prepare_and_watch
    code = run.main(arguments)
    clock.mark("end")
    steps = own_seconds(clock)
    written.write_text(
        json.dumps({"began": began, "marks": clock.marks, "spent": clock.spent, "steps": steps}), encoding="utf-8"
    )
    return code


def own_seconds(clock: Clock) -> dict[str, float]:
    """Return the seconds of each step's own work, in the order in which they ran; ZenML's store has their names."""
    from zenml.client import Client

    (finished,) = Client().list_pipeline_runs(sort_by="desc:created", size=1).items
    ran = [step for step in Client().get_pipeline_run(finished.id).steps.values() if step.status == "completed"]
    ran.sort(key=lambda step: str(step.start_time))
    return {step.name: ended - began for step, (began, ended) in zip(ran, clock.spent["own"], strict=True)}


def stretches(watched: dict[str, Any], spawned: float, ended: float) -> dict[str, float]:
    """Cut the life of a watched process into named stretches that add up to `ended - spawned`, in seconds."""
    rows: dict[str, float] = {}
    before = spawned
    *marks, (_, finished) = watched["marks"]
    for name, moment in marks:
        rows[name] = moment - before
        before = moment
    spent = watched["spent"]
    launched: list[tuple[float, float]] = spent["step"]

    def total(spans: list[tuple[float, float]]) -> float:
        return sum(end - begin for begin, end in spans)

    first, last = launched[0][0], launched[-1][1]
    own, tracker = total(spent["own"]), total(spent["tracker"])
    rows["ZenML compiles the pipeline and looks into its cache"] = first - before
    rows["steps' own work"] = own
    rows["MLflow: entering and leaving steps"] = tracker
    rows["ZenML in steps"] = total(launched) - own - tracker
    rows["ZenML between steps"] = last - first - total(launched)
    rows["the summary is loaded and printed"] = finished - last
    rows["the process ends"] = ended - finished
    return rows


def measure_run(state: Path, config: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Run the pipeline in a process of its own; return its stretches and its steps' own seconds."""
    watched = state.parent / "watched.json"
    arguments = ["--pipeline", "training", "--config", str(config), "--state_folder", str(state)]
    arguments += ["--tracking.reports_folder", str(state.parent / "reports")]
    line = [sys.executable, "-m", "benchmarks.overhead", "--watched", str(watched), "--", *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ZENML", "MLFLOW"))}
    spawned = time.time()
    done = subprocess.run(line, cwd=PROJECT, env=inherited, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode not in ENDS_WELL:
        raise RuntimeError(f"run.py ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    content = json.loads(watched.read_text(encoding="utf-8"))
    # the time in which ZenML's store was read for the steps' names
    ended -= watched.stat().st_mtime - content["marks"][-1][1]
    return stretches(content, spawned, ended), content["steps"]


def main() -> None:
    """Run the pipeline twice a round and say where the time went."""
    options_parser = parser(__doc__ or "", rounds=3)
    options_parser.add_argument("--watched", type=Path, help="be the watched process, and write its times to this file")
    options, arguments = options_parser.parse_known_args()
    if options.watched:
        code = run_watched([argument for argument in arguments if argument != "--"], options.watched)
        gc.freeze()  # as run.py ends
        sys.exit(code)
    publish(measure(options), options)


def measure(options: Namespace) -> Table:
    """Return the table of stretches, first and again."""
    runs: dict[str, list[dict[str, float]]] = {"first": [], "again": []}
    steps: dict[str, list[dict[str, float]]] = {"first": [], "again": []}
    for _ in tqdm(range(1 if options.quick else options.rounds), unit=" rounds", disable=None):
        with work_folder() as folder:
            config = folder / "small.yaml"
            config.write_text(json.dumps(SMALL), encoding="utf-8")  # JSON is YAML
            for name in ("first",) if options.quick else ("first", "again"):
                seen, own = measure_run(folder / "state", config)
                runs[name].append(seen)
                steps[name].append(own)
    columns = [name for name, seen in runs.items() if seen]

    def median(seen: list[dict[str, float]], name: str) -> float:
        return statistics.median(one.get(name, 0.0) for one in seen)

    own_row = "steps' own work"
    rows: list[tuple[str | float, ...]] = [
        (name, *(f"{median(runs[column], name):.2f}" for column in columns)) for name in runs["first"][0]
    ]
    wall = [statistics.median(sum(one.values()) for one in runs[column]) for column in columns]
    outside = [statistics.median(sum(one.values()) - one[own_row] for one in runs[column]) for column in columns]
    rows.append(("**wall time**", *(f"**{seconds:.2f}**" for seconds in wall)))
    rows.append(("**outside the steps' own work**", *(f"**{seconds:.2f}**" for seconds in outside)))
    rows += [
        (
            f"own work of {name}",
            *(f"{median(steps[column], name):.2f}" if name in steps[column][0] else "cached" for column in columns),
        )
        for name in steps["first"][0]
    ]
    rounds = len(runs["first"])
    return Table(f"Overhead of a pipeline run, {rounds} round(s)", ("seconds", *columns), tuple(rows), NOTES)


if __name__ == "__main__":
    start(main)
