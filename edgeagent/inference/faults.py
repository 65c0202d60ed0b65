"""The two kinds of InferenceFault that `recovery` treats otherwise than the rest."""

from __future__ import annotations

from edgeagent.errors import InferenceFault


class AcceleratorFault(InferenceFault):
    """The accelerator, its library, driver or runtime is not there or refuses: to try again at once is no use."""


class WorkerDied(InferenceFault):
    """The worker crashed, and nobody outside had killed it: the model or its delegate did."""
