"""Measuring: options, sides that take turns in processes of their own, medians, ratios and tables."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from tabulate import tabulate
from tqdm import tqdm

from configs.errors import UserError, told_in_a_sentence
from configs.loading import load_settings
from configs.settings import Settings
from stack.fingerprints import processor_name

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "keras", "numpy", "onnxruntime", "zenml", "mlflow")
GIGABYTE = 1e9
INSTRUCTIONS = {"AVX-512": "avx512f", "AVX512-BF16": "avx512_bf16", "AMX": "amx_bf16"}  # the last one found is named
QUIET = {  # what the libraries read when they are imported
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "Agg",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Table:
    """What a benchmark prints: rows under a heading, the machine, and notes on how to read them."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    notes: tuple[str, ...] = ()
    machine: str = field(default_factory=lambda: describe_machine())

    def markdown(self) -> str:
        """Return the table as Markdown, the machine as its caption."""
        rows = [[_cell(value) for value in row] for row in self.rows]
        align = ("left", *["right"] * (len(self.header) - 1))
        body = tabulate(rows, self.header, tablefmt="github", colalign=align, disable_numparse=True)
        return "\n\n".join([f"## {self.title}", body, f"*{self.machine}*", *self.notes]) + "\n"


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def describe_machine() -> str:
    """Describe in one line where the figures were measured: processor, cores, memory and versions."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    extras = [name for name, flag in INSTRUCTIONS.items() if flag in flags]
    processor = " with ".join([processor_name(), *extras[-1:]])
    memory = psutil.virtual_memory().total / GIGABYTE
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    cores, system = os.cpu_count(), f"{platform.system()} {platform.release()}"
    versions.insert(0, f"Python {platform.python_version()}")
    return ", ".join([processor, f"{cores} cores", f"{memory:.0f} GB", system, *versions])


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure every side once a round, starting with another side each time; return each side's figures by round."""
    names = list(sides)
    figures: dict[str, list[float]] = {name: [] for name in names}
    with tqdm(total=rounds * len(names), unit=" measurements", disable=None) as progress:
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                progress.set_description(name)
                figures[name].append(sides[name]())
                progress.update()
    return figures


def compare(figures: Mapping[str, Sequence[float]], against: str) -> tuple[tuple[str | float, ...], ...]:
    """Return a row for each side: name, median, lowest, highest, and the median of its ratios to `against` by round.

    Ratios are taken within a round, so that a machine that slows down for a while does not favour a side.
    """
    rows: list[tuple[str | float, ...]] = []
    for name, values in figures.items():
        ratio = statistics.median(value / other for value, other in zip(values, figures[against], strict=True))
        rows.append((name, statistics.median(values), min(values), max(values), f"{ratio:.3f}"))
    return tuple(rows)


def run_module(module: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """Run a module of this project in a process of its own and return the JSON object of its last line.

    Raises RuntimeError with the end of its output where it fails.
    """
    line = [python, "-m", module, *arguments]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="small sizes, to see that it runs; its figures mean nothing")
    made.add_argument("--output", type=Path, metavar="FILE", help="also write the table to this .md or .json file")
    made.add_argument("--dataset", type=Path, metavar="PATH", help="a zip or a folder (default: drawn faces)")
    made.add_argument("--weights", default="none", help="imagenet, none (random) or a .weights.h5 file (default: none)")
    made.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    return made


def settings_for(options: argparse.Namespace, **given: Any) -> Settings:
    """Return the settings of configs/*.yaml with the options' data set and weights."""
    dataset = {"path": str(options.dataset)} if options.dataset else {"reader": "drawn"}
    return load_settings([], {"dataset": dataset, "classifier": {"weights": options.weights}, **given})


def passed_on(options: argparse.Namespace) -> list[str]:
    """Return the arguments that give a child the same data set and weights."""
    dataset = ["--dataset", str(options.dataset.resolve())] if options.dataset else []
    return [*dataset, "--weights", options.weights, *(["--quick"] if options.quick else [])]


def publish(table: Table, options: argparse.Namespace) -> None:
    """Print the table as Markdown, and write it where `--output` says."""
    if options.quick:
        table = Table(f"{table.title} (quick: figures mean nothing)", table.header, table.rows, table.notes)
    print(table.markdown(), flush=True)
    if options.output is None:
        return
    as_json = options.output.suffix == ".json"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(asdict(table), indent=1) if as_json else table.markdown(), encoding="utf-8")


@contextmanager
def work_folder() -> Iterator[Path]:
    """Give a folder below the state folder, which is removed after the block; /tmp may be in memory."""
    parent = PROJECT / ".state" / "benchmarks"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def require(path: Path | None, option: str) -> Path:
    """Return the path. Raises UserError where the option is missing or the path does not exist."""
    if path is None or not path.exists():
        raise UserError(f"{option} {path or '(missing)'} does not exist; this benchmark needs it")
    return path


def start(main: Callable[[], None]) -> None:
    """Run a benchmark; a UserError becomes one line and its exit code."""
    os.environ.update(QUIET)
    with told_in_a_sentence():
        main()
