"""Our description of the protocol's messages beside the one that KServe ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from inference_services.protocol import messages


@pytest.fixture(scope="module")
def kserves() -> Any:
    """KServe's generated module alone: importing its SDK takes a second and more."""
    found = importlib.util.find_spec("kserve")
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "protocol" / "grpc" / "grpc_predict_v2_pb2.py"
    spec = importlib.util.spec_from_file_location("kserve_messages", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_messages_are_those_that_kserve_ships(kserves: Any) -> None:
    from google.protobuf import descriptor_pb2

    theirs = descriptor_pb2.FileDescriptorProto()
    kserves.DESCRIPTOR.CopyToProto(theirs)
    ours = messages.described()

    def plain(file: Any) -> dict[str, str]:
        for message in file.message_type:
            message.nested_type.sort(key=lambda nested: nested.name)  # their order means nothing
        return {message.name: str(message) for message in file.message_type}

    assert plain(ours) == plain(theirs)
    assert (ours.package, ours.syntax) == (theirs.package, theirs.syntax)


def test_what_one_writes_the_other_reads(kserves: Any) -> None:
    request = kserves.ModelInferRequest(model_name="orders", id="7", raw_input_contents=[b"\x01", b""])
    request.parameters["limit"].int64_param = 2**40
    tensor = request.inputs.add(name="amount", datatype="FP32", shape=[2, 1])
    tensor.contents.fp32_contents.extend([0.5, -1.25])
    tensor.parameters["why"].string_param = "asked"
    request.outputs.add(name="score").parameters["binary_data"].bool_param = False
    written = request.SerializeToString(deterministic=True)
    read = messages.classes()["ModelInferRequest"].FromString(written)
    assert read.SerializeToString(deterministic=True) == written
    assert read.inputs[0].parameters["why"].WhichOneof("parameter_choice") == "string_param"
