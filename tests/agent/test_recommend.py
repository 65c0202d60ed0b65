"""What `edgeagent model bench` recommends of what it has measured."""

from __future__ import annotations

from edgeagent.agent.model_bench import Figures, Latency
from edgeagent.agent.recommend import recommend


def took(
    us: float,
    *,
    threads: int = 1,
    on: str = "cpu",
    variant: str = "int8.tflite",
    right: float | None = None,
    stray: bool = False,
) -> Figures:
    return Figures(
        variant=variant,
        accelerator=on,
        threads=threads,
        stray=stray,
        process=Latency(us, us, us),
        accuracy=right,
    )


def chosen(*figures: Figures) -> tuple[str, int, str] | None:
    found = recommend(figures)
    return (found.accelerator, found.threads, found.variant) if found else None


def test_more_threads_are_recommended_only_if_they_save_a_fifth() -> None:
    assert chosen(took(100), took(79, threads=2), took(70, threads=4)) == ("cpu", 2, "int8.tflite")
    assert chosen(took(100), took(81, threads=2)) == ("cpu", 1, "int8.tflite")


def test_the_quickest_accelerator_is_recommended_unless_it_is_less_right() -> None:
    cpu, tpu = took(5000, right=0.90), took(900, on="edgetpu", variant="tpu.tflite", right=0.895)
    assert chosen(cpu, tpu) == ("edgetpu", 1, "tpu.tflite")
    worse = took(900, on="edgetpu", variant="tpu.tflite", right=0.85)
    assert chosen(cpu, worse) == ("cpu", 1, "int8.tflite")


def test_a_variant_that_no_config_can_ask_for_is_not_recommended() -> None:
    """A config names the accelerator, and of its variants the bundle's first serves."""
    first, quicker = took(500, variant="float.tflite"), took(100, variant="int8.tflite")
    assert chosen(first, quicker) == ("cpu", 1, "float.tflite")
    assert chosen(first, took(100, variant="beside.tflite", on="other", stray=True)) == (
        "cpu",
        1,
        "float.tflite",
    )


def test_where_nothing_runs_nothing_is_recommended_and_what_failed_does_not_count() -> None:
    failed = Figures(variant="tpu.tflite", accelerator="edgetpu", threads=1, trouble="no Coral")
    assert chosen(failed) is None
    assert chosen(failed, took(100)) == ("cpu", 1, "int8.tflite")


def test_what_was_not_chosen_is_told_too() -> None:
    found = recommend([took(4800.4, right=0.889), took(50.0, threads=2, on="edgetpu", right=0.8)])
    assert found is not None
    assert found.why == (
        "cpu with 1 thread takes 4.80 ms and is right in 88.9%; "
        "edgetpu with 2 threads takes 50.0 us and is right in 80.0%"
    )
