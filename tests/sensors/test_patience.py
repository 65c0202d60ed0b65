"""How long a device on a shared line is waited for, by what it has shown."""

from __future__ import annotations

from edgeagent.records import NS_PER_MS, NS_PER_S
from edgeagent.sensors.patience import REMEMBERED, Patience

TIMEOUT_MS, ANSWER_MS, BYTES_MS = 300, 10, 20
MUCH_MS, NONE_MS = 200, -5


class Asked:
    """A device's patience in ms, and the time as it goes."""

    def __init__(self) -> None:
        self.now_ms = 1000
        self._patience = Patience(TIMEOUT_MS * NS_PER_MS)

    def wait_ms(self, room_ms: int, what: str = "read") -> int | None:
        wait_ns = self._patience.ask(
            "write" if what == "write" else "read",
            ANSWER_MS * NS_PER_MS,
            room_ms * NS_PER_MS,
            self.now_ms * NS_PER_MS,
        )
        return None if wait_ns is None else wait_ns // NS_PER_MS

    def answers(self, after_ms: int, what: str = "read") -> None:
        """Asked with much room, it answers; of the time BYTES_MS are request and answer on the line."""
        assert self.wait_ms(MUCH_MS, what) is not None
        self._answered(after_ms, what)

    def _answered(self, after_ms: int, what: str = "read") -> None:
        self.now_ms += after_ms
        self._patience.answered(
            "write" if what == "write" else "read", BYTES_MS * NS_PER_MS, self.now_ms * NS_PER_MS
        )

    def is_silent(self, room_ms: int) -> None:
        wait_ms = self.wait_ms(room_ms)
        assert wait_ms is not None
        self.now_ms += wait_ms
        self._patience.was_silent()


def known(after_ms: int = 50) -> Asked:
    asked = Asked()
    asked.answers(after_ms)
    return asked


def test_who_has_never_answered_is_given_its_whole_timeout() -> None:
    assert Asked().wait_ms(NONE_MS) == TIMEOUT_MS


def test_who_has_answered_is_waited_for_until_8_ms_after_the_next_ones_turn() -> None:
    assert known().wait_ms(100) == 108
    assert known().wait_ms(1000) == TIMEOUT_MS


def test_where_there_is_no_room_it_is_given_8_ms_more_than_its_slowest_answer() -> None:
    asked = known(after_ms=50)  # 30 ms to think, and what the bytes take
    asked.answers(25)
    assert asked.wait_ms(NONE_MS) == 30 + ANSWER_MS + 8


def test_a_slow_answer_is_forgotten_in_time() -> None:
    asked = known(after_ms=120)
    for _ in range(REMEMBERED - 1):
        asked.answers(30)
    assert asked.wait_ms(NONE_MS) == 100 + ANSWER_MS + 8
    asked.answers(30)
    assert asked.wait_ms(NONE_MS) == 10 + ANSWER_MS + 8


def test_who_was_only_late_is_given_more_from_then_on() -> None:
    asked = known(after_ms=50)
    before_ms = asked.wait_ms(NONE_MS)
    assert before_ms is not None
    asked.is_silent(NONE_MS)
    asked.answers(30)
    after_ms = asked.wait_ms(NONE_MS)
    assert after_ms is not None
    assert after_ms > before_ms


def test_who_died_and_came_back_costs_no_more_than_before() -> None:
    asked = known(after_ms=50)
    before_ms = asked.wait_ms(NONE_MS)
    for _ in range(3):
        asked.is_silent(MUCH_MS)
    asked.answers(50)
    assert asked.wait_ms(NONE_MS) == before_ms


def test_a_write_has_its_own_experience() -> None:
    asked = known(after_ms=50)
    assert asked.wait_ms(NONE_MS, "write") == TIMEOUT_MS
    asked.answers(90, "write")
    assert asked.wait_ms(NONE_MS, "write") == 70 + ANSWER_MS + 8
    assert asked.wait_ms(NONE_MS) == 30 + ANSWER_MS + 8


def test_who_is_silent_is_asked_where_there_is_room_for_the_whole_answer_and_no_longer_than_that() -> None:
    asked = known(after_ms=50)
    asked.is_silent(MUCH_MS)
    assert asked.wait_ms(47) is None
    assert asked.wait_ms(48) == 48


def test_where_there_is_nearly_room_it_is_asked_after_2_4_8_s_and_makes_others_8_ms_late() -> None:
    asked, paused_s = known(after_ms=50), []
    asked.is_silent(MUCH_MS)
    for _ in range(5):
        began_ms = asked.now_ms
        while asked.wait_ms(42) is None:
            asked.now_ms += 100
        paused_s.append(round((asked.now_ms - began_ms) / 1000))
        asked.is_silent(MUCH_MS)
    assert paused_s == [2, 4, 8, 8, 8]


def test_where_there_is_never_room_it_is_asked_each_30_s_all_the_same() -> None:
    for asked, given_ms in ((known(after_ms=50), 48), (Asked(), 50)):
        asked.is_silent(MUCH_MS)
        asked.now_ms += 29 * NS_PER_S // NS_PER_MS
        assert asked.wait_ms(NONE_MS) is None
        asked.now_ms += NS_PER_S // NS_PER_MS
        assert asked.wait_ms(NONE_MS) == given_ms
