"""The protobuf messages of the Open Inference Protocol, described here, so that a server needs protobuf alone.

Source: grpc_predict_v2.proto of the Open Inference Protocol, with KServe's calls to load and unload a model.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

PACKAGE = "inference"
_TENSOR = ("name string", "datatype string", "shape int64[]")
_FILLED = (*_TENSOR, "parameters InferParameter{}", "contents InferTensorContents")
_MODEL = ("model_name string", "model_version string", "id string", "parameters InferParameter{}")
MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready bool",),
    "ModelReadyRequest": ("name string", "version string"),
    "ModelReadyResponse": ("ready bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name string", "version string", "extensions string[]"),
    "ModelMetadataRequest": ("name string", "version string"),
    "ModelMetadataResponse": (
        *("name string", "versions string[]", "platform string"),
        *("inputs ModelMetadataResponse.TensorMetadata[]", "outputs ModelMetadataResponse.TensorMetadata[]"),
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelInferRequest": (
        *(*_MODEL, "inputs ModelInferRequest.InferInputTensor[]"),
        *("outputs ModelInferRequest.InferRequestedOutputTensor[]", "raw_input_contents bytes[]"),
    ),
    "ModelInferRequest.InferInputTensor": _FILLED,
    "ModelInferRequest.InferRequestedOutputTensor": ("name string", "parameters InferParameter{}"),
    "ModelInferResponse": (*_MODEL, "outputs ModelInferResponse.InferOutputTensor[]", "raw_output_contents bytes[]"),
    "ModelInferResponse.InferOutputTensor": _FILLED,
    "InferParameter": ("bool_param bool?", "int64_param int64?", "string_param string?"),
    "InferTensorContents": (
        *("bool_contents bool[]", "int_contents int32[]", "int64_contents int64[]", "uint_contents uint32[]"),
        *("uint64_contents uint64[]", "fp32_contents float[]", "fp64_contents double[]", "bytes_contents bytes[]"),
    ),
    "RepositoryModelLoadRequest": ("model_name string",),
    "RepositoryModelLoadResponse": ("model_name string", "isLoaded bool"),
    "RepositoryModelUnloadRequest": ("model_name string",),
    "RepositoryModelUnloadResponse": ("model_name string", "isUnloaded bool"),
}
"""Fields in the order of their numbers, from 1: [] is a list, {} a map by string, ? one of a choice; a message follows what it lies in."""
_CHOICE = "parameter_choice"


@cache
def classes() -> dict[str, Any]:
    """The class of each message by its name; in a pool of their own, so that KServe's may be loaded beside them."""
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    pool.Add(described())  # type: ignore[no-untyped-call]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))  # type: ignore[no-untyped-call]
        for name in MESSAGES
    }


def described() -> FileDescriptorProto:
    """The description that protobuf makes the classes from."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    file = FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for name, fields in MESSAGES.items():
        outer, _, own = name.rpartition(".")
        made[name] = message = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        for number, field in enumerate(fields, start=1):
            _add(message, name, number, field)
    return file


def _add(message: DescriptorProto, owner: str, number: int, text: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    name, kind = text.split()
    bare = kind.rstrip("[]{}?")
    if kind.endswith("{}"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add(entry, owner, 1, "key string")
        _add(entry, owner, 2, f"value {bare}")
        bare = f"{owner}.{entry.name}"
    field = message.field.add(name=name, number=number)
    field.label = Field.LABEL_REPEATED if kind.endswith(("[]", "{}")) else Field.LABEL_OPTIONAL
    if bare in MESSAGES or kind.endswith("{}"):
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{bare}"
    else:
        field.type = Field.Type.Value(f"TYPE_{bare.upper()}")
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name=_CHOICE)
        field.oneof_index = 0
