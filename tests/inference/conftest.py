"""The second environment (tflite-runtime) runs inference alone, and has nothing to compare its numbers with."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = ["test_preprocess.py", "test_tasks.py"] if find_spec("scipy") is None else []
collect_ignore += ["test_pictures.py"] if find_spec("PIL") is None else []
collect_ignore += ["test_onnx_file.py"] if find_spec("onnxruntime") is None else []
collect_ignore_glob = ["*_end_to_end.py"] if find_spec("simpleeval") is None else []  # the whole agent
