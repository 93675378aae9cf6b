"""The gRPC face: KServe's own protobufs, decoded straight to arrays and answered the way the request was asked."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hallmark.features.fields import Columns
from inference_services.runtime import v2
from inference_services.runtime.errors import BadRequest, Forbidden, NotReady, ServeError, UnknownPath, WrongMethod
from inference_services.runtime.model import Outputs
from inference_services.runtime.rest import EXTENSIONS
from inference_services.runtime.service import Service
from inference_services.runtime.tensors import Column, to_bytes
from inference_services.transport.http2 import Call, Reply

_PROTOBUFS = "kserve.protocol.grpc.grpc_predict_v2_pb2"
_SERVICE = "inference.GRPCInferenceService"
_INFER = f"/{_SERVICE}/ModelInfer".encode()
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_PACKED = {"BOOL": b"\x0a", "FP32": b"\x32", "FP64": b"\x3a"}
"""Contents that protobuf writes as numpy has them in memory, by the byte before their length."""
_CODES = {
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}
"""gRPC's numbers for the names in the tree of errors."""

Answer = Callable[[Reply], None]


def protobufs() -> Any:
    """KServe's generated messages, without the rest of its SDK, whose import costs a second and 170 MB."""
    if _PROTOBUFS in sys.modules:
        return sys.modules[_PROTOBUFS]
    found = importlib.util.find_spec("kserve")
    if found is None or found.origin is None:
        raise ImportError("kserve is not installed")
    path = Path(found.origin).parent / "protocol" / "grpc" / "grpc_predict_v2_pb2.py"
    spec = importlib.util.spec_from_file_location(_PROTOBUFS, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"kserve has no {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_PROTOBUFS] = module
    spec.loader.exec_module(module)
    return module


class Rpc:
    """inference.GRPCInferenceService and grpc.health.v1.Health for one served model."""

    def __init__(self, service: Service, *, version: str) -> None:
        self.service = service
        self.model = service.model
        self.pb = protobufs()
        self._version = version
        calls = {
            "ServerLive": lambda _: self.pb.ServerLiveResponse(live=True),
            "ServerReady": lambda _: self.pb.ServerReadyResponse(ready=service.ready),
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        self._calls: dict[bytes, Callable[[Any], bytes]] = {
            f"/{_SERVICE}/{name}".encode(): self._taking(getattr(self.pb, f"{name}Request"), call)
            for name, call in calls.items()
        }
        self._calls[b"/grpc.health.v1.Health/Check"] = self._health

    def __call__(self, call: Call, reply: Answer) -> None:
        """Answer any call, now or later; nothing is raised."""
        ask = _Infer(self, call, reply)
        if call.path == _INFER:
            self.service.serve(ask)
            return
        begun = time.perf_counter()
        try:
            found = self._calls.get(call.path)
            if found is None:
                raise WrongMethod("no such method")
            message = found(call.message)
        except Exception as error:  # noqa: BLE001  a mistake of ours is a counted INTERNAL, and the server lives on
            self.service.refused(ask, error, begun)
            return
        reply(Reply(message))
        self.service.metrics.answered("grpc", 200, time.perf_counter() - begun)

    def _taking(self, kind: Any, call: Callable[[Any], Any]) -> Callable[[Any], bytes]:
        return lambda message: call(parsed(kind, message)).SerializeToString()  # type: ignore[no-any-return]

    def _server_metadata(self, _request: Any) -> Any:
        return self.pb.ServerMetadataResponse(name="hallmark-runtime", version=self._version, extensions=EXTENSIONS)

    def _model_ready(self, request: Any) -> Any:
        self.service.check_name(request.name, request.version)
        return self.pb.ModelReadyResponse(ready=self.service.ready)

    def _model_metadata(self, request: Any) -> Any:
        self.service.check_name(request.name, request.version)
        return self.pb.ModelMetadataResponse(**self.model.metadata())

    def _load(self, request: Any) -> Any:
        self.service.check_name(request.model_name)
        if not self.service.ready:
            raise NotReady("the server is about to stop, or has had too much to do for long")
        return self.pb.RepositoryModelLoadResponse(model_name=request.model_name, isLoaded=True)

    def _unload(self, request: Any) -> Any:
        self.service.check_name(request.model_name)
        raise Forbidden("the model is fixed by its InferenceService; delete or change that")

    def _health(self, message: bytes | memoryview) -> bytes:
        """HealthCheckResponse to a HealthCheckRequest: one string, the service, in; 1 for serving or 2 for not out."""
        asked = bytes(message)
        if asked not in (b"", b"\x0a\0", b"\x0a" + bytes((len(_SERVICE),)) + _SERVICE.encode()):
            raise UnknownPath(f"no such service; this server has {_SERVICE}")
        return b"\x08\x01" if self.service.ready else b"\x08\x02"


class _Infer:
    """A call of ModelInfer, or of no method that there is."""

    __slots__ = ("_call", "_raw", "_reply", "_rpc")
    protocol = "grpc"

    def __init__(self, rpc: Rpc, call: Call, reply: Answer) -> None:
        self._rpc = rpc
        self._call = call
        self._reply = reply
        self._raw = False

    @property
    def size(self) -> int:
        return len(self._call.message)

    @property
    def timeout(self) -> float | None:
        return self._call.timeout

    @property
    def context(self) -> tuple[str, str]:
        headers = self._call.headers
        return headers.get(b"traceparent", b"").decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1")

    def decode(self) -> v2.Request:
        model = self._rpc.model
        message = parsed(self._rpc.pb.ModelInferRequest, self._call.message)
        self._rpc.service.check_name(message.model_name, message.model_version)
        raw = message.raw_input_contents
        self._raw = bool(raw)
        columns, rows = _columns(model, message.inputs, raw)
        model.admit(columns)
        wanted = v2.check_wanted(model, [output.name for output in message.outputs])
        return v2.Request(v2.request_id(message.id), columns, rows, wanted)

    def answer(self, request: v2.Request, outputs: Outputs) -> int:
        model = self._rpc.model
        answer = self._rpc.pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
        for name in request.wanted or model.outputs:
            array, datatype = outputs[name], model.outputs[name].datatype
            tensor = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if self._raw:
                answer.raw_output_contents.append(to_bytes(array))
            else:
                _fill(tensor.contents, datatype, array)
        message: bytes = answer.SerializeToString()
        self._reply(Reply(message))
        return len(message)

    def refuse(self, error: ServeError) -> None:
        self._reply(Reply(status=_CODES[error.grpc], text=error.message))


def parsed(kind: Any, message: bytes | memoryview) -> Any:
    """The message that a method takes, or `BadRequest`."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise BadRequest("the message is not what its method takes") from None


def _columns(model: Any, tensors: Any, raw: Any) -> tuple[Columns, int]:
    if raw and len(raw) != len(tensors):
        raise BadRequest(f"raw_input_contents: expected one for each of {len(tensors)} inputs, came {len(raw)}")
    arrays: dict[str, NDArray[Any]] = {}
    rows: dict[str, int] = {}
    for place, tensor in enumerate(tensors):
        name = tensor.name
        column = model.columns.get(name)
        if column is None:
            raise BadRequest(f"inputs[{place}]: no such input; expected {', '.join(model.columns)}")
        if name in arrays:
            raise BadRequest(f"input {name!r}: given twice")
        count = rows[name] = column.rows(tensor.shape, tensor.datatype, limit=model.row_limit)
        if not raw:
            arrays[name] = _values(column, tensor.contents, count)
        elif tensor.HasField("contents"):
            raise column.wrong("has contents beside raw_input_contents")
        else:
            arrays[name] = column.from_bytes(memoryview(raw[place]), count)
    return v2.complete(model, arrays, rows)


def _values(column: Column, contents: Any, rows: int) -> NDArray[Any]:
    """A tensor's values; packed numbers in one piece, since taking them one by one costs as much as the model."""
    tag = _PACKED.get(column.datatype)
    if tag is not None:
        size = rows * column.size * column.dtype.itemsize
        head = tag + _varint(size)
        packed = contents.SerializeToString()
        if len(packed) == len(head) + size and packed.startswith(head):
            return column.from_bytes(memoryview(packed)[len(head) :], rows)
    wanted = _CONTENTS[column.datatype]
    for descriptor, _ in contents.ListFields():
        if descriptor.name != wanted:
            raise column.wrong(f"expected {wanted}, came {descriptor.name}")
    values = getattr(contents, wanted)
    return column.from_strings(values, rows) if column.datatype == "BYTES" else column.from_values(values, rows)


def _fill(contents: Any, datatype: str, array: NDArray[Any]) -> None:
    """Put an output's values into its tensor."""
    tag = _PACKED.get(datatype)
    if tag is not None and array.size:
        packed = array.tobytes()
        contents.MergeFromString(tag + _varint(len(packed)) + packed)
    else:
        values = v2.as_strings(array) if datatype == "BYTES" else array.ravel().tolist()
        getattr(contents, _CONTENTS[datatype]).extend(values)


@lru_cache(1024)
def _varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
