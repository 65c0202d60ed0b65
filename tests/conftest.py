"""What holds for all tests."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("hypothesis"):  # the environment of tflite-runtime has none
    from hypothesis import HealthCheck, settings

    # Whether an example is right does not hang on how long a busy machine takes for it.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")
