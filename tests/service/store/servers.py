"""S3 servers that the store is tested against: programs on PATH, moto, and endpoints that the environment names."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from moto.server import ThreadedMotoServer

from tests.waiting import poll

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

VARIABLE = "WATCHMOVE_TEST_S3"
"""Names endpoints that are tested too, as `NAME=ENDPOINT` with spaces between; their credentials are the AWS SDK's."""

MOTO = "moto"

PROGRAMS = {
    "MinIO": "minio server --quiet --address 127.0.0.1:{0} {folder}",
    "versitygw": "versitygw --quiet --port 127.0.0.1:{0} posix {folder}",
    "SeaweedFS": "weed -logdir={folder} server -dir={folder} -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3 -s3.port={0} "
    "-s3.port.grpc={1} -s3.port.iceberg=0 -s3.port.lance=0 -master.port={2} -master.port.grpc={3} -volume.port={4} "
    "-volume.port.grpc={5} -filer.port={6} -filer.port.grpc={7} -master.volumeSizeLimitMB=64 -volume.max=0",
}
"""The command of each server: the numbers are free ports, of which S3 has the first, and `folder` is empty."""

_PORTS = 8
"""The most that a command needs."""
_KEY, _WORD = "watchmove", "only-for-tests"
_START_SECONDS = 120.0


class Server(NamedTuple):
    """A server that answers, with credentials of an owner of all of its buckets."""

    name: str
    endpoint: str
    key: str
    word: str
    stays: bool = False
    """Whether it goes on after the tests, with what they leave in it."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the SDK finds the server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.word,
            "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1") if self.stays else "us-east-1",
        }


def names() -> list[str]:
    """The servers of the tests, whether they can be had or not."""
    return [MOTO, *PROGRAMS, *_endpoints()]


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    """A server by its name, for as long as the block runs; the test is skipped without its program."""
    if name in (given := _endpoints()):
        key, word = (os.environ[variable] for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        yield Server(name, given[name], key, word, stays=True)
    elif name == MOTO:
        moto = ThreadedMotoServer(port=0)
        moto.start()
        host, port = moto.get_host_and_port()
        yield Server(name, f"http://{host}:{port}", _KEY, _WORD)
        moto.stop()
    else:
        with _program(name, folder) as server:
            yield server


def _endpoints() -> dict[str, str]:
    pairs = (part.partition("=") for part in os.environ.get(VARIABLE, "").split())
    return {name: endpoint for name, _, endpoint in pairs}


@contextmanager
def _program(name: str, folder: Path) -> Iterator[Server]:
    program, *arguments = PROGRAMS[name].split()
    if not (path := shutil.which(program)):
        pytest.skip(f"{program} is not on PATH: the store is not tested against {name}")
    ports = _free_ports()
    command = [path, *(argument.format(*ports, folder=folder) for argument in arguments)]
    server = Server(name, f"http://127.0.0.1:{ports[0]}", _KEY, _WORD)
    # each program reads its owner's credentials from variables of its own
    credentials = {
        **dict.fromkeys(("MINIO_ROOT_USER", "ROOT_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"), _KEY),
        **dict.fromkeys(("MINIO_ROOT_PASSWORD", "ROOT_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"), _WORD),
    }
    log = folder.with_suffix(".log")
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env={**os.environ, **credentials}, stdout=output, stderr=output) as process,
    ):
        try:
            ready = poll(lambda: process.poll() is not None or _answers(server), _START_SECONDS)
            assert ready, f"{name} does not answer: {log.read_text()[-2000:]}"
            assert process.poll() is None, f"{name} has ended: {log.read_text()[-2000:]}"
            yield server
        finally:
            process.terminate()


def client_of(server: Server, attempts: int = 3) -> "S3Client":
    """A client of the SDK alone, for what the store has no method for."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.word,
        region_name=server.environment["AWS_REGION"],
        config=Config(retries={"total_max_attempts": attempts}),
    )


def _answers(server: Server) -> bool:
    """Whether a bucket can be made and written."""
    client = client_of(server, attempts=1)
    try:
        client.list_buckets()
        client.create_bucket(Bucket="probe-of-tests")
        client.put_object(Bucket="probe-of-tests", Key="probe", Body=b"x")
    except client.exceptions.BucketAlreadyOwnedByYou:
        client.put_object(Bucket="probe-of-tests", Key="probe", Body=b"x")
    except (BotoCoreError, ClientError):
        return False
    return True


def _free_ports() -> list[int]:
    """Ports that were free a moment ago."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(_PORTS)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports
