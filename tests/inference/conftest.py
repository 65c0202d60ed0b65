"""The second environment (tflite-runtime) has what a device has, neither SciPy nor Pillow to compare with."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = ["test_preprocess.py", "test_tasks.py"] if find_spec("scipy") is None else []
collect_ignore += ["test_pictures.py", "test_pictures_end_to_end.py"] if find_spec("PIL") is None else []
