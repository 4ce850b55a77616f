"""Buckets: what the errors of an object store that speaks S3 mean, in one sentence."""

import os
from collections.abc import Sequence

from configs.environment import without_login

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
LIBRARIES = {"boto3", "botocore", "aiobotocore", "s3transfer"}  # by name: they are not installed everywhere
LOGIN = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
WRONG_KEYS = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "RequestTimeTooSkewed",
}  # fmt: skip
NO_KEYS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
SILENCES = {
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "HTTPClientError",
    "ProxyConnectionError", "ConnectionError", "ResponseStreamingError", "IncompleteReadError",
}  # fmt: skip
FULL = {"InsufficientStorage", "InsufficientCapacity", "QuotaExceeded", "XMinioStorageFull", "StorageFull"}
FULL_STATUS, FORBIDDEN, OWN_FAULT = 507, 403, 500  # HTTP
VERBS = {"Put": "write", "Create": "write", "Upload": "write", "Complete": "write", "Copy": "write", "Delete": "delete",
         "List": "list", "Get": "read", "Head": "read"}  # fmt: skip


def endpoint() -> str:
    """Return the address of the object store by the environment, without a login; "" means Amazon's."""
    return next((without_login(os.environ[name]) for name in ENDPOINTS if os.environ.get(name)), "")


def explain_bucket(chain: Sequence[BaseException], uri: str = "", setting: str = "") -> str | None:
    """Return what the first error of an object store in the chain means, or None.

    `uri` is the place that was used, and `setting` what names it, where they are known.
    """
    for error in chain:
        kind = type(error).__name__
        if kind == "FSTimeoutError":
            return f"{_place(uri, setting)} does not answer in time"
        if type(error).__module__.partition(".")[0] not in LIBRARIES:
            continue
        if isinstance(answer := getattr(error, "response", None), dict):
            named = str(answer.get("Error", {}).get("BucketName", ""))
            place = _place(uri or (f"s3://{named}" if named else ""), setting)
            return _explain_answer(answer, str(getattr(error, "operation_name", "")), place)
        if kind in NO_KEYS:
            return f"{_place(uri, setting)} needs a key; set {LOGIN}"
        if kind == "SSLError":
            return f"{_place(uri, setting)} has a certificate that is not trusted; set AWS_CA_BUNDLE to its issuer's"
        if kind in SILENCES:
            return f"{_place(uri, setting)} does not answer; {_way_to_it()}"
    return None


def _explain_answer(answer: dict[str, object], operation: str, place: str) -> str | None:
    details, told = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    code = str(details.get("Code", "")) if isinstance(details, dict) else ""
    status = int(told.get("HTTPStatusCode", 0)) if isinstance(told, dict) else 0
    if code in WRONG_KEYS:
        return f"{place} refuses the key ({code}); set {LOGIN} to a pair that it knows"
    if code == "NoSuchBucket":
        return f"{place} is missing; make the bucket, or correct its name"
    if code in FULL or status == FULL_STATUS:
        return f"{place} is full ({code or status}); free some space there, or raise its quota"
    if status == FORBIDDEN:
        verb = next((verb for begin, verb in VERBS.items() if operation.startswith(begin)), operation)
        return (
            f"{place} does not let this key {verb} ({code or status}); give the key of AWS_ACCESS_KEY_ID the rights to "
            "read, write, list and delete there"
        )
    if status >= OWN_FAULT:
        return f"{place} answers with an error of its own ({status} {code}); its log says why"
    return None


def _place(uri: str, setting: str) -> str:
    address = f" at {endpoint()}" if endpoint() else ""
    named = f" ({setting})" if setting else ""
    return f"the artifact store {without_login(uri)}{address}{named}" if uri else f"the S3 store{address}{named}"


def _way_to_it() -> str:
    if endpoint():
        return f"start it, or correct {next(name for name in ENDPOINTS if os.environ.get(name))}"
    return "AWS_ENDPOINT_URL is not set, so Amazon's own was asked"
