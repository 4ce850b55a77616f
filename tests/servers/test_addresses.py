"""Data behind s3:// and unfinished trainings in a bucket, with SeaweedFS in the place of S3."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from configs.errors import UserError
from stack.state_store import ArtifactStates
from tests.servers.processes import HOST, free_ports
from tests.servers.seaweedfs import STRANGER, SeaweedFS
from tests.stack.test_state_store import contents, write_state
from vision.files.remote import FETCHED, Allowed, fetch, look_at

pytestmark = pytest.mark.servers
ENOUGH = Allowed("dataset.path", 1000, 10_000_000, "dataset.max_images")


@pytest.fixture
def bucket(s3: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of this test alone, which fsspec finds by the environment."""
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()  # it keeps the login that it first had
    for name, value in {**s3.environment_of_clients, FETCHED: str(tmp_path / "fetched")}.items():
        monkeypatch.setenv(name, value)
    yield s3.create_bucket(f"test-{uuid4().hex[:12]}")
    fsspec.filesystem("s3").clear_instance_cache()


def put(s3: SeaweedFS, address: str, content: bytes) -> None:
    name, _, key = address.removeprefix("s3://").partition("/")
    s3.client().put_object(Bucket=name, Key=key, Body=content)


def test_an_object_is_fetched_by_its_version(s3: SeaweedFS, bucket: str) -> None:
    put(s3, f"{bucket}/faces.zip", b"first")
    first = fetch(f"{bucket}/faces.zip", ENOUGH)
    put(s3, f"{bucket}/faces.zip", b"other")
    second = fetch(f"{bucket}/faces.zip", ENOUGH)

    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"other")
    assert fetch(f"{bucket}/faces.zip", ENOUGH) == second


def test_a_prefix_of_more_objects_than_a_page_of_the_list_is_fetched_whole(s3: SeaweedFS, bucket: str) -> None:
    expected = {f"train/happy/{number}.png": str(number).encode() for number in range(1050)}
    for name, content in expected.items():
        put(s3, f"{bucket}/faces/{name}", content)

    folder = fetch(f"{bucket}/faces/", Allowed("dataset.path", 2000, 10_000_000, "dataset.max_images"))

    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
    assert found == expected


def test_what_is_not_in_the_bucket_is_said_so(bucket: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.path s3://test-\w+/missing\.zip does not exist"):
        look_at(f"{bucket}/missing.zip", ENOUGH)


def test_a_wrong_key_is_one_sentence_that_names_the_variables(
    s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in STRANGER.environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(UserError, match=r"dataset\.path s3://.* refuses this user; .*AWS_ACCESS_KEY_ID") as caught:
        look_at(f"{bucket}/faces.zip", ENOUGH)

    assert STRANGER.secret not in str(caught.value)


def test_a_store_that_does_not_answer_is_one_sentence_in_time(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{free_ports(1)[0]}")
    started = time.monotonic()

    with pytest.raises(UserError, match=r"dataset\.path s3://\S+ cannot be read: .*connect"):
        look_at(f"{bucket}/faces.zip", ENOUGH)

    assert time.monotonic() - started < 60


@pytest.fixture
def artifact_store(bucket: str) -> Any:
    """ZenML's store in the bucket, which registers what its `fileio` opens s3:// with."""
    from zenml.enums import StackComponentType
    from zenml.integrations.s3.artifact_stores import S3ArtifactStore
    from zenml.integrations.s3.flavors.s3_artifact_store_flavor import S3ArtifactStoreConfig

    now = datetime.now(UTC)
    return S3ArtifactStore(
        name="bucket", id=uuid4(), config=S3ArtifactStoreConfig(path=bucket), flavor="s3",
        type=StackComponentType.ARTIFACT_STORE, user=None, created=now, updated=now,
    )  # fmt: skip


def test_an_unfinished_training_goes_by_way_of_a_bucket_to_another_machine(
    s3: SeaweedFS, artifact_store: Any, tmp_path: Path
) -> None:
    root, here = f"{artifact_store.path}/unfinished", tmp_path / "here"
    writer = ArtifactStates(root)
    for epoch in (1, 2, 3):
        writer.push("key", write_state(here, epoch, best=min(epoch, 2)))

    ArtifactStates(root).fetch("key", tmp_path / "there")

    assert contents(tmp_path / "there") == contents(here)
    assert len(s3.names(artifact_store.path.removeprefix("s3://"))) == 3
    writer.forget("key")
    assert s3.names(artifact_store.path.removeprefix("s3://")) == []
