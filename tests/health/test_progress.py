"""The watchdog's judgement, on times that are passed in."""

from __future__ import annotations

from edgeagent.health.progress import Progress
from edgeagent.records import NS_PER_S


def test_it_is_alive_while_every_part_moves_within_its_own_bound() -> None:
    progress = Progress()
    core = progress.watch("core", 2, 0)
    progress.watch("writer", 10, 0)
    core(5 * NS_PER_S)
    assert progress.alive(7 * NS_PER_S) == (True, "")


def test_one_part_that_stands_still_is_enough_and_is_named() -> None:
    progress = Progress()
    core = progress.watch("core", 2, 0)
    progress.watch("writer", 10, 0)
    core(12 * NS_PER_S)
    assert progress.alive(12 * NS_PER_S) == (False, "no progress: writer for 12.0 s (bound 10 s)")


def test_all_that_stand_still_are_named() -> None:
    progress = Progress()
    progress.watch("core", 2, 0)
    progress.watch("lane motion", 0.5, 0)
    assert progress.alive(3 * NS_PER_S) == (
        False,
        "no progress: core for 3.0 s (bound 2 s), lane motion for 3.0 s (bound 0.5 s)",
    )


def test_a_part_that_moves_again_is_alive_again() -> None:
    progress = Progress()
    writer = progress.watch("writer", 10, 0)
    assert not progress.alive(11 * NS_PER_S)[0]
    writer(11 * NS_PER_S)
    assert progress.alive(12 * NS_PER_S)[0]


def test_a_part_is_judged_from_the_moment_it_is_watched() -> None:
    progress = Progress()
    progress.watch("lane motion", 1, 100 * NS_PER_S)
    assert progress.alive(101 * NS_PER_S)[0]
    assert not progress.alive(101 * NS_PER_S + 1)[0]


def test_a_part_that_ended_is_no_longer_judged_whatever_it_still_reports() -> None:
    progress = Progress()
    lane = progress.watch("lane motion", 1, 0)
    progress.forget("lane motion")
    lane(1)
    assert progress.alive(60 * NS_PER_S) == (True, "")


def test_a_part_watched_again_gets_its_new_bound() -> None:
    progress = Progress()
    progress.watch("lane motion", 1, 0)
    progress.watch("lane motion", 60, 0)
    assert progress.alive(30 * NS_PER_S)[0]
