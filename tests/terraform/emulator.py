"""A moto server on a free port: the AWS that the roots are applied to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

REGION = "eu-central-1"
SERVER = """
from moto.rds.models import DBInstance
from moto.server import main
DBInstance.dbi_resource_id = property(lambda self: "db-" + self.db_instance_identifier.upper().replace("-", ""), lambda self, value: None)
main()
"""
"""moto gives every database the same resource id, by which Terraform would find two."""


class Emulator:
    """moto, for one account, until it is closed."""

    def __init__(self, account: str, log: Path) -> None:
        """Start it for `account`, writing to `log`, and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.account = account
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)],
                env={**os.environ, "MOTO_ACCOUNT_ID": account, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + 60
        while True:
            try:
                self.ask("/moto-api/data.json")
                return
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    self.close()
                    raise AssertionError(f"moto does not answer:\n{log.read_text()}") from None
                time.sleep(0.2)

    @property
    def environment(self) -> dict[str, str]:
        """Settings that send terraform here, and makes it give up soon on what moto does not serve."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",
        }

    def client(self, service: str, *, region: str = REGION, **credentials: str) -> Any:
        """A boto3 client of the account in a region, or of those whose credentials are given."""
        import boto3
        from botocore.config import Config

        credentials = credentials or {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        configuration = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
        return boto3.client(service, endpoint_url=self.url, region_name=region, config=configuration, **credentials)

    def session(self, role: str) -> dict[str, str]:
        """Credentials of a role. Who may take it is the trust policy's to say, which moto does not ask for Pod Identity."""
        taken = self.client("sts").assume_role(RoleArn=role, RoleSessionName="matrix")["Credentials"]
        return {
            "aws_access_key_id": taken["AccessKeyId"],
            "aws_secret_access_key": taken["SecretAccessKey"],
            "aws_session_token": taken["SessionToken"],
        }

    def enforce(self, after: float) -> None:
        """Ask IAM from the next `after` requests on: 0 at once, infinity never."""
        self.ask("/moto-api/reset-auth", str(after).encode())

    def state_bucket(self, environment: str) -> None:
        """Resources that the two applies need beforehand: README.md, "Once per account"."""
        bucket = f"hallmark-{environment}-state"
        self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        kms = self.client("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName=f"alias/hallmark-{environment}/state", TargetKeyId=key)

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """The answer of moto's own interface."""
        request = urllib.request.Request(self.url + path, data=body, headers={"Content-Type": "text/plain"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=20)
