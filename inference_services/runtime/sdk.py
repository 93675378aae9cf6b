"""The same model behind the KServe SDK's own `Model` interface, for its `ModelServer` and whatever is built on that.

Our server does not import this: the SDK costs a second and 170 MB at start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kserve
import numpy as np
from kserve.errors import InvalidInput

from hallmark.artifacts import bundle
from inference_services.protocol.column import Column, to_strings
from inference_services.protocol.errors import BadRequest
from inference_services.protocol.v2 import request_id
from inference_services.runtime.model import Model


class OnnxModel(kserve.Model):  # type: ignore[misc]
    """A Hallmark model folder as a `kserve.Model`."""

    def __init__(self, name: str, folder: Path, *, digest: str | None = None, version: str = "") -> None:
        super().__init__(name)
        self._folder = folder
        self._digest = digest
        self._version = version
        self._model: Model | None = None

    def load(self) -> bool:
        """Verify the folder, then load it from the verified bytes; `ModelRefused` where it is not the one."""
        self._model = Model(self.name, bundle.read(self._folder, expected=self._digest), version=self._version)
        self.ready = True
        return self.ready

    def stop(self) -> None:
        """Let the session go."""
        self._model = None
        self.ready = False

    def get_input_types(self) -> list[dict[str, Any]]:
        """Raw fields, the batch as -1."""
        return list(self._loaded.schema.metadata()["inputs"])

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs, the batch as -1."""
        return list(self._loaded.schema.metadata()["outputs"])

    def predict(
        self, payload: kserve.InferRequest, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> kserve.InferResponse:
        """V2 requests, decoded by the SDK and checked as ours are."""
        if not isinstance(payload, kserve.InferRequest):
            raise InvalidInput("expected a V2 request")
        model, schema = self._loaded, self._loaded.schema
        arrays: dict[str, Any] = {}
        rows: dict[str, int] = {}
        try:
            for place, tensor in enumerate(payload.inputs):
                column = schema.column(place, tensor.name, arrays)
                if column.special:
                    column = column.as_sent(tensor.shape, tensor.datatype)
                count = rows[tensor.name] = column.rows(tensor.shape, tensor.datatype, limit=schema.row_limit)
                arrays[tensor.name] = _array(column, tensor, count)
            columns, count = schema.complete(arrays, rows)
            outputs = model.predict(columns, count)
        except BadRequest as error:
            raise InvalidInput(error.message) from error
        answers = []
        for name, output in schema.outputs.items():
            answer = kserve.InferOutput(name=name, shape=list(outputs[name].shape), datatype=output.datatype)
            answer.set_data_from_numpy(outputs[name], binary_data=False)
            answers.append(answer)
        return kserve.InferResponse(
            response_id=request_id(payload.id),
            model_name=self.name,
            model_version=self._version or None,
            infer_outputs=answers,
            requested_outputs=payload.request_outputs,
            use_binary_outputs=payload.use_binary_outputs,
        )

    @property
    def _loaded(self) -> Model:
        if self._model is None:
            raise RuntimeError(f"{self.name} is not loaded")
        return self._model


def _array(column: Column, tensor: kserve.InferInput, rows: int) -> Any:
    values = np.ravel(tensor.as_numpy())
    return (
        column.from_strings(to_strings(values), rows)
        if column.datatype == "BYTES"
        else column.from_values(values, rows)
    )
