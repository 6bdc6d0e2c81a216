"""Send files with a vendor's library: `send_with_sdk.py obs|boto3 TASK.json`; runs in the benchmark's own venv."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def send_with_obs(task: dict[str, Any]) -> None:
    """Huawei's esdk-obs-python, with its checkpoints."""
    from obs import ObsClient  # noqa: PLC0415 - only one of the two need be installed

    client = ObsClient(
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        server=task["endpoint"],
        path_style=True,
        is_signature_negotiation=False,
        signature="v2",
        ssl_verify=os.environ.get("SSL_CERT_FILE") or False,
    )
    is_one = len(task["files"]) == 1

    def send(path: str) -> None:
        key = f"{task['prefix']}/{Path(path).name}"
        if is_one:
            answer = client.uploadFile(
                task["bucket"], key, path, task["part_bytes"], task["parallel"], True,
                str(Path(task["scratch"]) / "checkpoint"),
            )  # fmt: skip
        else:
            answer = client.putFile(task["bucket"], key, path)
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status} {answer.errorCode} {answer.errorMessage}")

    with ThreadPoolExecutor(task["parallel"]) as pool:
        list(pool.map(send, task["files"]))


def send_with_boto3(task: dict[str, Any]) -> None:
    """boto3's transfer manager."""
    import boto3  # noqa: PLC0415 - only one of the two need be installed
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    is_one = len(task["files"]) == 1
    client = boto3.client(
        "s3",
        endpoint_url=task["endpoint"],
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=task["parallel"]),
    )
    config = TransferConfig(
        multipart_chunksize=task["part_bytes"],
        multipart_threshold=task["part_bytes"] + 1,
        max_concurrency=task["parallel"] if is_one else 1,
    )

    def send(path: str) -> None:
        client.upload_file(path, task["bucket"], f"{task['prefix']}/{Path(path).name}", Config=config)

    with ThreadPoolExecutor(task["parallel"]) as pool:
        list(pool.map(send, task["files"]))


if __name__ == "__main__":
    senders = {"obs": send_with_obs, "boto3": send_with_boto3}
    senders[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
