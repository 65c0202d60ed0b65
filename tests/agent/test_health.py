"""What makes an agent less than healthy, in a sentence each."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.agent.health import degraded_because


def status(**model: Any) -> dict[str, Any]:
    well = {"asked": "auto", "got": "cpu", "why": "the first", "state": "ok", "last_error": ""}
    sections = ("sensors", "pipelines", "actuators", "outbox", "upstream")
    parts: dict[str, Any] = {section: {} for section in sections}
    return {**parts, "models": {"m": well | model}}


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ({}, []),
        ({"asked": "edgetpu", "got": "edgetpu"}, []),
        ({"got": "edgetpu"}, []),
        ({"asked": "edgetpu", "why": "no library"}, ["model m runs on cpu, not on edgetpu: no library"]),
        ({"asked": "edgetpu", "got": None, "state": "starting"}, []),
        ({"state": "restarting", "got": None, "last_error": "it died"}, ["model m is restarting: it died"]),
    ],
)
def test_a_model_that_does_not_run_where_it_was_asked_to_is_told(
    model: dict[str, Any], reasons: list[str]
) -> None:
    assert degraded_because(status(**model)) == reasons
