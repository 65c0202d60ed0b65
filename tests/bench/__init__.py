"""Floors, measured: one file a floor, each a ratio to a raw limit taken in the same run. `make bench` runs them all.

Not tests: nothing fails on a slow or busy machine, the table says what was seen, and whether it meets the floor.
A file has `measure() -> Iterator[Figure]`, and `python -m bench NAME` runs it alone.
"""
