"""The kinds of InferenceFault that `recovery` and the engines treat otherwise than the rest."""

from __future__ import annotations

from edgeagent.errors import InferenceFault


class AcceleratorFault(InferenceFault):
    """The accelerator, its library, driver or runtime is not there or refuses: to try again at once is no use."""


class WorkerDied(InferenceFault):
    """The worker crashed, and nobody outside had killed it: the model or its delegate did."""


class WorkerHung(InferenceFault):
    """The worker did not answer in time, and was killed."""


class Displaced(InferenceFault):
    """The worker is gone because of another model in it: this one is sound, and only has to be loaded again."""
