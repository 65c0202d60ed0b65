"""What a model file holds, whatever its format."""

from __future__ import annotations

import msgspec


class TensorFacts(msgspec.Struct, frozen=True):
    """An input or output; a dimension that is free is -1. real = scale x (integer - zero point)."""

    name: str
    dtype: str
    shape: list[int]
    scales: list[float]
    zero_points: list[int]

    def __str__(self) -> str:
        text = f"{self.name}: {self.dtype}{self.shape}"
        if len(self.scales) == 1:
            return f"{text}, scale {self.scales[0]:.6g}, zero point {self.zero_points[0]}"
        return f"{text}, {len(self.scales)} scales" if self.scales else text


class ModelFacts(msgspec.Struct, frozen=True):
    """One model file; `operators` and `types` count, the most frequent first."""

    size_bytes: int
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]
    operators: dict[str, int]
    types: dict[str, int]

    @property
    def quantization(self) -> str:
        """`int8`, `float32`, `float32 in and out, int8 within`."""
        outside = sorted({t.dtype for t in (*self.inputs, *self.outputs)})
        within = next((kind for kind in ("int8", "uint8", "int16", "float16") if kind in self.types), "")
        if within and within not in outside:
            return f"{' and '.join(outside)} in and out, {within} within"
        return " and ".join(outside)
