"""Errors as S3's clients raise them; their libraries are not installed everywhere, so these are their doubles."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import UserError
from stack import artifact_store
from stack.artifact_store import Place, check_store
from stack.buckets import explain_bucket
from stack.error_messages import StoreError, talking_to_mlflow

URI = "s3://team/faces"
ENDPOINT = "http://127.0.0.1:9"


def double(name: str, module: str = "botocore.exceptions") -> Exception:
    return type(name, (Exception,), {"__module__": module})("of botocore")


def refusal(code: str, status: int, operation: str = "PutObject") -> Exception:
    error: Any = double("ClientError")
    error.operation_name = operation
    error.response = {"Error": {"Code": code, "BucketName": "team"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return error


@pytest.fixture(autouse=True)
def at_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@127.0.0.1:9")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (double("EndpointConnectionError"), "does not answer; start it, or correct AWS_ENDPOINT_URL"),
        (double("ReadTimeoutError"), "does not answer"),
        (double("FSTimeoutError", "fsspec.exceptions"), "does not answer in time"),
        (double("NoCredentialsError"), "needs a key; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (double("SSLError"), "AWS_CA_BUNDLE"),
        (refusal("InvalidAccessKeyId", 403), "refuses the key (InvalidAccessKeyId)"),
        (refusal("SignatureDoesNotMatch", 403), "refuses the key (SignatureDoesNotMatch)"),
        (refusal("AccessDenied", 403), "does not let this key write (AccessDenied)"),
        (refusal("AccessDenied", 403, "ListObjectsV2"), "does not let this key list"),
        (refusal("403", 403, "HeadObject"), "does not let this key read"),
        (refusal("NoSuchBucket", 404), "is missing; make the bucket"),
        (refusal("InsufficientStorage", 507), "is full (InsufficientStorage)"),
        (refusal("QuotaExceeded", 403), "is full (QuotaExceeded)"),
        (refusal("InternalError", 500), "answers with an error of its own (500 InternalError)"),
        (refusal("SlowDown", 503), "answers with an error of its own (503 SlowDown)"),
    ],
)
def test_an_error_of_a_bucket_names_the_place_its_address_and_the_way_out(error: Exception, said: str) -> None:
    explained = explain_bucket([OSError("of s3fs"), error], URI, "stores.artifacts")

    assert explained is not None
    assert explained.startswith(f"the artifact store {URI} at {ENDPOINT} (stores.artifacts) ")
    assert said in explained
    assert "secret" not in explained


@pytest.mark.parametrize("error", [refusal("NoSuchKey", 404, "GetObject"), KeyError("ours"), ConnectionRefusedError()])
def test_other_errors_are_not_a_buckets(error: Exception) -> None:
    assert explain_bucket([error], URI) is None


def test_without_an_endpoint_it_says_whom_it_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")

    explained = explain_bucket([double("EndpointConnectionError")], URI)

    assert (
        explained == f"the artifact store {URI} does not answer; AWS_ENDPOINT_URL is not set, so Amazon's own was asked"
    )


def test_mlflow_is_not_blamed_for_the_bucket_that_a_run_puts_its_files_into() -> None:
    def upload() -> None:
        with talking_to_mlflow("http://mlflow.example"):
            try:
                raise refusal("InsufficientStorage", 507)
            except Exception as error:
                raise RuntimeError("upload failed") from error

    with pytest.raises(StoreError, match=rf"the artifact store s3://team at {ENDPOINT} is full"):
        upload()


def test_a_bucket_without_its_packages_is_refused_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(artifact_store, "PACKAGES", ("json", "s3fs_that_is_missing"))

    with pytest.raises(UserError, match=r"stores\.artifacts s3://team .* s3fs_that_is_missing: pip install .*\[s3\]"):
        Place.of("s3://team", Path("/state"))


class Bucket:
    """An artifact store that fails, or gives back what it was given."""

    path, flavor = "gs://team/faces", "gcp"

    def __init__(self, error: Exception | None = None, returned: bytes | None = None) -> None:
        self.error, self.returned, self.kept = error, returned, {}

    def open(self, path: str, mode: str) -> Any:
        if self.error:
            raise self.error
        return _File(self, path)

    def remove(self, path: str) -> None:
        del self.kept[path]


class _File(SimpleNamespace):
    def __init__(self, bucket: Bucket, path: str) -> None:
        super().__init__(bucket=bucket, path=path)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, content: bytes) -> None:
        self.bucket.kept[self.path] = content if self.bucket.returned is None else self.bucket.returned

    def read(self) -> bytes:
        return self.bucket.kept[self.path]


def test_a_store_that_can_be_used_is_left_as_it_was() -> None:
    bucket = Bucket()

    check_store(bucket)

    assert bucket.kept == {}


@pytest.mark.parametrize(
    ("bucket", "said"),
    [
        (Bucket(refusal("AccessDenied", 403)), "does not let this key write"),
        (Bucket(PermissionError("no way")), "cannot be written and read: PermissionError: no way"),
        (Bucket(returned=b"other"), "returns other bytes"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_before_the_first_step(bucket: Bucket, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        check_store(bucket)

    assert "gs://team/faces" in str(caught.value)
