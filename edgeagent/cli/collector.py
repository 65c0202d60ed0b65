"""Receive records into a dataset folder: the reference receiver."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Thread

import click

from edgeagent.errors import ConfigFault

_EPILOG = "Devices send to it with  upstream: {fleet: {http: {url: URL}}}"


@click.command(short_help="Receive records into a dataset folder.", epilog=_EPILOG)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The dataset folder to write.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8377, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the token that devices must present.",
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Print what a dataset folder holds, and exit.",
)
def command(data: Path | None, host: str, port: int, token_file: Path | None, summary: Path | None) -> None:
    """Receive records into a dataset folder until SIGTERM or Ctrl-C."""
    if summary:
        _print_summary(summary)
    elif data:
        _serve(data, host, port, token_file)
    else:
        raise click.UsageError("say where the dataset lies: --data DIR, or --summary DIR")


def _serve(data: Path, host: str, port: int, token_file: Path | None) -> None:
    from edgeagent.collector.server import Server
    from edgeagent.collector.store import Store

    token = token_file.read_text().strip() if token_file else ""
    if token_file and not token:
        raise ConfigFault("the file is empty", where=str(token_file), expected="a token")
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # before there are threads, which inherit it
    with Server(Store(data), host, port, token) as server:
        Thread(target=server.serve_forever, name="collector", daemon=True).start()
        click.echo(f"collector: {server.url} -> {data}")
        signal.sigwait(stop)
        server.shutdown()


def _print_summary(folder: Path) -> None:
    from edgeagent.collector.dataset import summary

    held = summary(folder)
    kinds = ", ".join(f"{n} {kind}" for kind, n in held.kinds.items())
    click.echo(
        f"{held.records} records of {held.devices} devices ({kinds or 'none'}); {held.samples} samples"
    )
