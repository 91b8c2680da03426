"""A server on loopback that plays AWS: `with aws() as settings:`, then S3 by those settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from moto.server import ThreadedMotoServer

from mailagent.providers.ses_access import s3_access

__all__ = ["aws", "s3"]

_REGION = "eu-west-1"


@contextmanager
def aws(*buckets: str) -> Iterator[Mapping[str, str]]:
    """Start it with these buckets; yields the settings by which it is reached."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_REGION": _REGION,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-K7MDENG-secret",
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
    }
    try:
        with s3(settings) as client:
            for bucket in buckets:
                where = {"LocationConstraint": _REGION}
                # Its state is the process's: a bucket is there since another such server.
                with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                    client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        try:
            yield settings
        finally:
            _empty(settings, buckets)
    finally:
        server.stop()


def _empty(settings: Mapping[str, str], buckets: Sequence[str]) -> None:
    # For the next server of this process, which would find what is in them.
    with s3(settings) as client:
        for bucket in buckets:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for one in page.get("Contents", ()):
                    client.delete_object(Bucket=bucket, Key=one["Key"])


def s3(settings: Mapping[str, str]) -> closing[Any]:
    """A client of its S3."""
    return closing(s3_access(settings).client())
