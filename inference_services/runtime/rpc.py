"""The gRPC face: KServe's own protobufs, decoded straight to arrays and answered the way the request was asked."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from hallmark.features.fields import Columns
from inference_services.runtime import v2
from inference_services.runtime.errors import BadRequest, Forbidden, ModelFault, NotReady, ServeError
from inference_services.runtime.http import Limits
from inference_services.runtime.model import Outputs
from inference_services.runtime.rest import EXTENSIONS
from inference_services.runtime.service import Service
from inference_services.runtime.tensors import Column, to_bytes

_PROTOBUFS = "kserve.protocol.grpc.grpc_predict_v2_pb2"
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_log = logging.getLogger(__name__)


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
    """inference.GRPCInferenceService for one served model."""

    def __init__(self, service: Service, *, version: str, revision: str = "") -> None:
        self._service = service
        self._model = service.model
        self._metrics = service.metrics
        self._version = version
        self._pb = protobufs()
        self._metadata = (("x-hallmark-revision", revision), ("x-hallmark-model-version", service.model.version))

    def server(self, address: str, *, limits: Limits, shared: bool) -> grpc.aio.Server:
        """A server of it on `address`, not yet started; `shared` with other workers, or OSError where it is taken."""
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.body),
                ("grpc.max_metadata_size", limits.header),
                ("grpc.so_reuseport", int(shared)),
            ]
        )
        handlers = {name: self._handler(call, name) for name, call in self._calls().items()}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
        )
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"port {address.rpartition(':')[2]} is taken, or not ours to take") from error
        return server

    def _calls(self) -> dict[str, Callable[[Any, Any], Any]]:
        pb = self._pb
        return {
            "ServerLive": lambda _request, _context: pb.ServerLiveResponse(live=True),
            "ServerReady": lambda _request, _context: pb.ServerReadyResponse(ready=self._service.ready),
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _request, _context: pb.ServerMetadataResponse(
                name="hallmark-runtime", version=self._version, extensions=EXTENSIONS
            ),
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }

    def _handler(self, call: Callable[[Any, Any], Any], name: str) -> Any:
        message = getattr(self._pb, f"{name}Request")

        async def handle(data: bytes, context: Any) -> bytes:
            start = time.perf_counter()
            context.set_trailing_metadata(self._metadata)
            try:
                answer = call(_parsed(message, data), context)
                if isinstance(answer, Awaitable):
                    answer = await answer
                found: bytes = answer.SerializeToString()
            except ServeError as error:
                failed = error
            except Exception:  # noqa: BLE001  a mistake of ours is a counted INTERNAL, and the server lives on
                _log.exception("an unforeseen failure in the gRPC calls")
                failed = ServeError("the server failed")
            else:
                self._metrics.answered("grpc", 200, time.perf_counter() - start)
                return found
            self._metrics.add("refused", failed.reason)
            self._metrics.answered("grpc", failed.status, time.perf_counter() - start)
            if isinstance(failed, ModelFault):
                _log.error("%s", failed.message, exc_info=failed.__cause__)
            await context.abort(getattr(grpc.StatusCode, failed.grpc), failed.message)
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(handle)

    def _model_ready(self, request: Any, _context: Any) -> Any:
        self._service.check_name(request.name, request.version)
        return self._pb.ModelReadyResponse(ready=self._service.ready)

    def _model_metadata(self, request: Any, _context: Any) -> Any:
        self._service.check_name(request.name, request.version)
        return self._pb.ModelMetadataResponse(**self._model.metadata())

    def _load(self, request: Any, _context: Any) -> Any:
        self._service.check_name(request.model_name)
        if not self._service.ready:
            raise NotReady("the server is about to stop")
        return self._pb.RepositoryModelLoadResponse(model_name=request.model_name, isLoaded=True)

    def _unload(self, request: Any, _context: Any) -> Any:
        self._service.check_name(request.model_name)
        raise Forbidden("the model is fixed by its InferenceService; delete or change that")

    async def _infer(self, message: Any, context: Any) -> Any:
        start = time.perf_counter()
        self._service.check_name(message.model_name, message.model_version)
        columns, rows = self._columns(message)
        self._model.admit(columns)
        wanted = v2.check_wanted(self._model, [output.name for output in message.outputs])
        identity = v2.request_id(message.id)
        self._metrics.observe("stage_seconds", "decode", time.perf_counter() - start)
        found = self._service.infer(columns, rows, timeout=context.time_remaining())
        outputs: Outputs = await found if isinstance(found, Awaitable) else found
        begun = time.perf_counter()
        answer = self._pb.ModelInferResponse(
            model_name=self._model.name, model_version=self._model.version, id=identity
        )
        for name in wanted or self._model.outputs:
            self._put(answer, name, outputs[name], raw=bool(message.raw_input_contents))
        self._metrics.observe("stage_seconds", "encode", time.perf_counter() - begun)
        if self._service.capture is not None:
            size = message.ByteSize() + answer.ByteSize() + 512
            trace = next((str(value) for key, value in context.invocation_metadata() if key == "traceparent"), "")
            self._service.captured(columns, rows, outputs, size=size, client_id=identity, trace=trace[:55])
        return answer

    def _columns(self, message: Any) -> tuple[Columns, int]:
        raw = message.raw_input_contents
        if raw and len(raw) != len(message.inputs):
            raise BadRequest(
                f"raw_input_contents: expected one for each of {len(message.inputs)} inputs, came {len(raw)}"
            )
        arrays, rows = {}, {}
        for place, tensor in enumerate(message.inputs):
            column = self._model.columns.get(tensor.name)
            if column is None:
                raise BadRequest(f"inputs[{place}]: no such input; expected {', '.join(self._model.columns)}")
            if tensor.name in arrays:
                raise BadRequest(f"input {tensor.name!r}: given twice")
            count = rows[tensor.name] = column.rows(tensor.shape, tensor.datatype, limit=self._model.row_limit)
            if raw:
                if tensor.HasField("contents"):
                    raise column.wrong("has contents beside raw_input_contents")
                arrays[tensor.name] = column.from_bytes(memoryview(raw[place]), count)
            else:
                arrays[tensor.name] = _contents(column, tensor.contents, count)
        return v2.complete(self._model, arrays, rows)

    def _put(self, answer: Any, name: str, array: Any, *, raw: bool) -> None:
        datatype = self._model.outputs[name].datatype
        tensor = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            answer.raw_output_contents.append(to_bytes(array))
            return
        values = v2.as_strings(array) if datatype == "BYTES" else array.ravel().tolist()
        getattr(tensor.contents, _CONTENTS[datatype]).extend(values)


def _contents(column: Column, contents: Any, rows: int) -> Any:
    wanted = _CONTENTS[column.datatype]
    for descriptor, _ in contents.ListFields():
        if descriptor.name != wanted:
            raise column.wrong(f"expected {wanted}, came {descriptor.name}")
    values = getattr(contents, wanted)
    return column.from_strings(values, rows) if column.datatype == "BYTES" else column.from_values(values, rows)


def _parsed(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except DecodeError:
        raise BadRequest("the message is not what its method takes") from None
