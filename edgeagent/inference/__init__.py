"""From a window to a prediction: bundles, the TFLite runtime, and the child process in which models run.

`Engine` is all that the rest of the agent knows of a model that runs; `supervisor.Supervisor` (child process) and
`inline.Inline` (this process, for the smallest boards) both are one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from edgeagent.records import Float32Array


class Answer(NamedTuple):
    """A model's word on one window: a score for each label, and which variant of the model gave it.

    `infer_ns` runs from handing the window over to having the scores, by the engine's clock. `why` is empty where that
    variant is the first for what was asked; else it says what became of the one before it.
    """

    scores: tuple[float, ...]
    variant: str
    accelerator: str
    infer_ns: int
    why: str


class Engine(Protocol):
    """A model that is loaded, asked, watched and, where it must be, started again."""

    @property
    def device(self) -> str:
        """What its next request is computed on: one device computes one request at a time."""
        ...

    def start(self) -> None:
        """Load the model and pass its golden vectors; called by the lane's thread.

        Raises BundleFault or InferenceFault. The engine is still good then: `predict` tries again when the
        back-off has passed.
        """
        ...

    def predict(
        self, values: Float32Array | tuple[bytes, ...], stream: str = "", window_seq: int = 0
    ) -> Answer:
        """Scores of one window: float32[n, channels] in the bundle's units, gaps filled; or its pictures, as files.

        A model with a state goes on from the window before (`window_seq` - 1) of the same stream, or begins anew.
        Called by the lane's thread. Raises InferenceFault if the window holds NaN or the model died, hung past its
        deadline, is backing off or is quarantined, BundleFault if a fresh start refused it, and DeviceFault if a
        picture is none; during a back-off it raises at once.
        """
        ...

    def status(self) -> dict[str, object]:
        """Asked, got, why, state (starting ok restarting quarantined), restarts, last_error, backend, pid.

        From any thread.
        """
        ...

    def close(self) -> None:
        """Let go of the model; from any thread, and a `predict` under way raises at once. Never raises."""
        ...
