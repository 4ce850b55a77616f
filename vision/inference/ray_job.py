"""Ray job: the parts of a job's table as Ray Data computes them, on many machines."""

import logging
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from vision.data.face_detection import check_detector
from vision.inference.examine import examine_all
from vision.inference.job import Job, Predicted
from vision.inference.manifests import POSITION, read_row, write_manifest
from vision.inference.pictures import Pictures
from vision.inference.result_table import make_part
from vision.inference.rows import add_thumbnails, picture_rows
from vision.inference.summary import SAMPLES, UsedModel
from vision.model.onnx_runtime import Predictor, Rebuild

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

ROWS = "rows"  # of a picture, as a list in one row of a part, so that no picture is written in halves
MANIFEST, PARTS, CHECKPOINT, COMPLETE = "manifest", "parts", "checkpoint", "_COMPLETE"
PENDING = ".pending.parquet"  # how Ray names a checkpoint whose part may not be whole
READERS = 8  # threads that read pictures for an actor; a store answers each after some milliseconds
FOOTERS = 16  # of parts that are read at once


@dataclass(frozen=True)
class Pool:
    """What a cluster is asked for: so many actors with one slot each, and when a standstill is an error."""

    actors: int
    stall_seconds: float


@dataclass(frozen=True)
class Storage:
    """A folder or a URI that all machines see, opened; `uri` is its absolute name, `path` what `system` calls it."""

    uri: str
    system: pa_fs.FileSystem
    path: str

    def within(self, name: str) -> "Storage":
        """Return a folder in it."""
        return Storage(f"{self.uri}/{name}", self.system, f"{self.path}/{name}")

    def files(self) -> list[str]:
        """Return the paths of its Parquet files, in no order."""
        found = self.system.get_file_info(pa_fs.FileSelector(self.path, allow_not_found=True))
        return [one.path for one in found if one.path.endswith(".parquet")]


def check_storage(storage: Storage) -> str:
    """Say what keeps this machine from working in the storage, or ""; the machine that asks left a probe in it."""
    own = f"{storage.path}/probe-{uuid.uuid4().hex}"
    try:
        if storage.system.get_file_info(f"{storage.path}/probe").type != pa_fs.FileType.File:
            return f"it does not see {storage.uri}"
        storage.system.open_output_stream(own).close()
        storage.system.delete_file(own)
    except OSError as error:
        return f"it cannot write to {storage.uri}: {str(error).splitlines()[0][:200]}"
    return ""


def settings_for_ray(settings: InferenceSettings, pictures: Pictures) -> InferenceSettings:
    """Return the settings of a job on Ray, which annotates nothing. Raises UserError where the input is a video."""
    if pictures.seconds_apart is not None:
        raise UserError(
            f"inference.engine ray does not read videos, whose frames follow one another: {settings.input}; "
            "set --inference.engine local"
        )
    if settings.detect and settings.annotated_pictures:
        logger.info("inference.engine ray writes no annotated pictures (inference.annotated_pictures)")
    return settings.model_copy(update={"annotated_pictures": 0})


def predict_on_ray(
    pool: Pool, storage: Storage, job: Job, predictor: Predictor, model: UsedModel, settings: InferenceSettings
) -> Predicted:
    """Write the parts that are missing, on the cluster that Ray is connected to; `storage` is the job's own.

    Raises UserError where the parts do not hold every picture once.
    """
    if predictor.rebuild is None:
        raise ValueError("the predictor cannot be made again on another machine")
    if settings.detect:
        check_detector(settings)
    parts, manifest = storage.within(PARTS), storage.within(MANIFEST)
    if storage.system.get_file_info(f"{manifest.path}/{COMPLETE}").type == pa_fs.FileType.NotFound:
        write_manifest(job.pictures, manifest.path, storage.system)
        storage.system.open_output_stream(f"{manifest.path}/{COMPLETE}").close()
    done = read_done(parts, storage.within(CHECKPOINT))
    if len(done):
        logger.info("%s of %s pictures are done already", f"{len(done):,}", f"{job.pictures.count:,}")
    work = _Work(settings, model, -(-SAMPLES // len(job.parts)), job.part_size)
    earlier = parts.files()
    _run(pool, storage, predictor.rebuild, work, done)
    return Predicted(parts_in_order(parts, job.pictures.count), count_faces(parts, earlier))


@dataclass(frozen=True)
class _Work:
    settings: InferenceSettings
    model: UsedModel
    thumbnails: int  # of a part
    part_size: int


class FaceActor:
    """Predicts parts of a manifest in a process of its own."""

    def __init__(self, rebuild: Any, work: _Work) -> None:
        import ray

        make: Rebuild = ray.get(rebuild)  # from the machine's own copy of what `ray.put` was given
        self.predictor, self.work = make(1), work
        self.readers, self.workers = ThreadPoolExecutor(READERS), ThreadPoolExecutor(work.settings.workers)

    def __call__(self, manifest: pa.Table) -> pa.Table:
        settings = self.work.settings
        raw = self.readers.map(partial(read_row, limit=settings.max_file_bytes), manifest.to_pylist())
        examined = examine_all(raw, self.workers, settings, self.predictor.side, keep=False)
        faces = np.concatenate([picture.faces.images for picture in examined])
        probabilities = self.predictor.predict(faces, settings.batch_size) if len(faces) else np.empty((0, 1))
        rows = picture_rows(examined, probabilities, self.work.model, settings.confidence_threshold)
        add_thumbnails(rows, faces, self.work.thumbnails)
        flat = make_part([row for of_picture in rows for row in of_picture], self.work.model.class_names)
        return nest(manifest[POSITION], [len(of_picture) for of_picture in rows], flat)


def nest(positions: pa.ChunkedArray, lengths: Sequence[int], rows: pa.Table) -> pa.Table:
    """Return a table with a row a picture, whose `lengths` of the rows are a list in it."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    structs = rows.to_struct_array().combine_chunks()
    return pa.table({POSITION: positions, ROWS: pa.ListArray.from_arrays(offsets, structs)})


def flatten(part: pa.Table) -> pa.Table:
    """Return the rows that `nest` put into lists."""
    return pa.Table.from_struct_array(pc.list_flatten(part[ROWS]))


def read_done(parts: Storage, checkpoint: Storage) -> Array:
    """Return the sorted (n,) int64 positions of the pictures whose part is written and committed.

    A part that was not committed is removed, because it may not be whole.
    """
    files = checkpoint.files()
    pending = [path for path in files if path.endswith(PENDING)]
    unsure = [path.rpartition("/")[2].removesuffix(PENDING) + "-" for path in pending]
    for path in parts.files() if unsure else ():
        if path.rpartition("/")[2].startswith(tuple(unsure)):
            parts.system.delete_file(path)
    for path in pending:
        checkpoint.system.delete_file(path)

    def positions(path: str) -> Array:
        return np.asarray(pq.read_table(path, filesystem=checkpoint.system)[POSITION].to_numpy())

    with ThreadPoolExecutor(FOOTERS) as threads:
        read = threads.map(positions, [path for path in files if not path.endswith(PENDING)])
        return np.sort(np.concatenate([np.empty(0, np.int64), *read]))


def without(manifest: pa.Table, done: Array) -> pa.Table:
    """Return the rows of a manifest whose positions are not among the sorted `done`."""
    positions = manifest[POSITION].to_numpy()
    found = np.searchsorted(done, positions).clip(max=len(done) - 1)
    return manifest.filter(pa.array(done[found] != positions))


def _missing(manifest: pa.Table, done: Any) -> pa.Table:
    import ray

    return without(manifest, ray.get(done))


def _run(pool: Pool, storage: Storage, rebuild: Rebuild, work: _Work, done: Array) -> None:
    import ray.data

    checkpoint = storage.within(CHECKPOINT)
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = checkpoints(checkpoint)
    context.execution_options.preserve_order = False
    context.execution_no_progress_timeout_s = pool.stall_seconds
    context.enable_progress_bars = context.print_on_execution_start = False
    manifest = ray.data.read_parquet(
        storage.within(MANIFEST).path, filesystem=storage.system, file_extensions=["parquet"]
    )
    if len(done):
        known = {"done": ray.put(done)}
        manifest = manifest.map_batches(_missing, batch_size=None, batch_format="pyarrow", fn_kwargs=known)
    predicted = manifest.repartition(target_num_rows_per_block=work.part_size).map_batches(
        FaceActor,
        fn_constructor_args=(ray.put(rebuild), work),
        batch_size=work.part_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=pool.actors),
        num_cpus=1,
    )
    predicted.write_parquet(storage.within(PARTS).path, filesystem=storage.system)


def checkpoints(storage: Storage) -> Any:
    """Return Ray's configuration of checkpoints, which writes them and leaves reading them to `without`.

    Ray's own reader is a job before the job and a pool of up to ten actors with a slot each, which on a small cluster
    leaves none for the rest.
    """
    from ray.data.checkpoint import CheckpointConfig, IdColumnCheckpointManager

    class WrittenOnly(IdColumnCheckpointManager):  # type: ignore[misc]
        def load_checkpoint(self, *places: Any, **named: Any) -> tuple[None, int]:
            return None, 0

    return CheckpointConfig(
        id_column=POSITION,
        checkpoint_path=storage.path,
        override_filesystem=storage.system,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=WrittenOnly,
    )


def parts_in_order(parts: Storage, count: int) -> Iterator[pa.Table]:
    """Yield the rows of `count` pictures in the order of their positions, some at a time.

    Raises UserError where a picture is missing or is there twice.
    """
    firsts = sorted(_first_positions(parts))
    waiting: list[pa.Table] = []
    expected = 0
    for number, (_, path) in enumerate(firsts):
        waiting.append(pq.read_table(path, filesystem=parts.system))
        limit = firsts[number + 1][0] if number + 1 < len(firsts) else count
        table = pa.concat_tables(waiting).sort_by(POSITION)
        positions = table[POSITION].to_numpy()
        ready = int(np.searchsorted(positions, limit))
        if not np.array_equal(positions[:ready], np.arange(expected, expected + ready)):
            raise _incomplete(parts, count)
        expected += ready
        waiting = [table.slice(ready)]
        if ready:
            yield flatten(table.slice(0, ready))
    if expected != count or any(len(table) for table in waiting):
        raise _incomplete(parts, count)


def count_faces(parts: Storage, earlier: Sequence[str]) -> int:
    """Return how many faces the parts have whose files are not those of `earlier` runs."""

    def count(path: str) -> int:
        with parts.system.open_input_file(path) as file:
            part = pq.ParquetFile(file).read(columns=[f"{ROWS}.list.element.face"])
        return int(pc.sum(pc.greater_equal(flatten(part)["face"], 0)).as_py() or 0)

    with ThreadPoolExecutor(FOOTERS) as threads:
        return sum(threads.map(count, {*parts.files()} - {*earlier}))


def _first_positions(parts: Storage) -> Iterator[tuple[int, str]]:
    def first(path: str) -> tuple[int, str]:
        with parts.system.open_input_file(path) as file:
            described = pq.read_metadata(file)
        groups = [described.row_group(number) for number in range(described.num_row_groups)]
        return min(group.column(0).statistics.min for group in groups), path

    with ThreadPoolExecutor(FOOTERS) as threads:
        yield from threads.map(first, parts.files())


def _incomplete(parts: Storage, count: int) -> UserError:
    return UserError(
        f"{parts.uri} does not hold each of {count:,} pictures once, so nothing was made of it; delete "
        f"{parts.uri.rpartition('/')[0]}, and run again"
    )
