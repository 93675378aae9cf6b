"""One gRPC call through a gateway, by a process of its own: grpcio's threads stay in the network namespace in which they began.

    python -m tests.conformance.grpc_call ADDRESS AUTHORITY CERTIFICATE_NAME AUTHORITIES_FILE TOKEN MESSAGE

Prints JSON: the answer, or the status and its details.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import grpc

from hallmark import names


def main(address: str, authority: str, name: str, trusted: str, token: str, message: str) -> None:
    """Call ModelInfer. token: empty for none."""
    options = [
        ("grpc.default_authority", authority),
        ("grpc.ssl_target_name_override", name),
        ("grpc.enable_http_proxy", 0),
    ]
    credentials = grpc.ssl_channel_credentials(Path(trusted).read_bytes())
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.secure_channel(address, credentials, options=options) as channel:
        call = channel.unary_unary(f"{names.GRPC_PATH}ModelInfer")
        try:
            answer, done = call.with_call(message.encode(), metadata=metadata, timeout=20)
            told = {"answer": answer.decode(), "proven": dict(done.initial_metadata()).get("x-proven")}
        except grpc.RpcError as error:
            told = {"code": error.code().name, "details": error.details()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
