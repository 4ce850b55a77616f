"""The servers themselves: each keeps what it was given over a crash, and refuses who may not write."""

import contextlib

import pytest

from tests.servers.postgresql import PostgreSQL
from tests.servers.seaweedfs import READER, STRANGER, WRITER, SeaweedFS
from tests.servers.zenml_server import ZenMLServer

pytestmark = pytest.mark.servers


def test_postgresql_keeps_its_tables_over_a_crash(postgresql: PostgreSQL) -> None:
    import psycopg2

    uri = postgresql.create_database("crash")
    with contextlib.closing(psycopg2.connect(uri)) as connection, connection:
        connection.cursor().execute("CREATE TABLE kept (number integer); INSERT INTO kept VALUES (7)")

    postgresql.kill()
    postgresql.start()

    with contextlib.closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT number FROM kept")
        assert cursor.fetchone() == (7,)


def test_seaweedfs_keeps_its_objects_over_a_crash(s3: SeaweedFS) -> None:
    s3.create_bucket("crash")
    s3.client(WRITER).put_object(Bucket="crash", Key="folder/kept", Body=b"content")

    s3.kill()
    s3.start()

    assert s3.client(READER).get_object(Bucket="crash", Key="folder/kept")["Body"].read() == b"content"
    assert s3.names("crash") == ["folder/kept"]


def test_seaweedfs_refuses_a_reader_that_writes_and_a_stranger(s3: SeaweedFS) -> None:
    from botocore.exceptions import ClientError

    s3.create_bucket("rights")

    with pytest.raises(ClientError, match="AccessDenied"):
        s3.client(READER).put_object(Bucket="rights", Key="new", Body=b"content")
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        s3.client(STRANGER).list_objects_v2(Bucket="rights")


def test_the_zenml_server_knows_its_key_over_a_crash(zenml: ZenMLServer) -> None:
    before = zenml.api_key

    zenml.kill()
    zenml.start()

    assert zenml.log_in(before)
