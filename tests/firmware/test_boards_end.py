"""No emulated board outlives its test, however that ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from boards import Board

pytestmark = pytest.mark.firmware

PATIENCE_MS = 20_000
START = "import sys, boards; board = getattr(boards, sys.argv[1])(); print(board.path, flush=True); sys.stdin.read()"


def test_a_board_dies_with_the_process_that_started_it_and_was_killed(kind: type[Board]) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", START, kind.__name__],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        line = os.open(starter.stdout.readline().strip(), os.O_RDWR | os.O_NOCTTY)
        starter.kill()
        hung_up = select.poll()
        hung_up.register(line, 0)
        assert hung_up.poll(PATIENCE_MS) == [(line, select.POLLHUP | select.POLLERR)]
        os.close(line)
