"""Receive records into a dataset folder: the reference receiver."""

from __future__ import annotations

import resource
import signal
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING

import click

from edgeagent.cli import FAULTS, OK, Duration
from edgeagent.config.parts import pip_install
from edgeagent.errors import ConfigFault

if TYPE_CHECKING:
    from edgeagent.collector.loadtest import Plan, Report

_EPILOG = "Devices send to it with  upstream: {fleet: {http: {url: URL}}}"
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_DATASET = click.Path(path_type=Path, file_okay=False, exists=True)
_TOKENS = "File with the token of all devices, or with a line DEVICE TOKEN for each."


@click.group(short_help="Receive records into a dataset folder.", epilog=_EPILOG, invoke_without_command=True)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The dataset folder to write.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8377,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--token-file", type=_FILE, help=_TOKENS)
@click.option("--certificate", type=_FILE, help="The server's certificate, in PEM: then it speaks https.")
@click.option("--key", type=_FILE, help="The key of --certificate, if it is not in the same file.")
@click.option(
    "--client-ca",
    type=_FILE,
    help="Only devices whose certificate one of these has signed; its common name is the device's id.",
)
@click.option("--summary", type=_DATASET, help="Print what a dataset folder holds, and exit.")
@click.pass_context
def command(
    context: click.Context,
    data: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    summary: Path | None,
) -> None:
    """Receive records into a dataset folder until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand:
        return
    if summary:
        _print_summary(summary)
    elif data:
        _serve(data, host, port, token_file, _tls(certificate, key, client_ca))
    else:
        raise click.UsageError("say where the dataset lies: --data DIR, or --summary DIR")


def _serve(data: Path, host: str, port: int, token_file: Path | None, tls: ssl.SSLContext | None) -> None:
    from edgeagent.collector.server import Server
    from edgeagent.collector.store import Store
    from edgeagent.collector.tokens import Tokens, read_tokens

    tokens = read_tokens(token_file) if token_file else Tokens()
    _allow_many_connections()
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # before there are threads, which inherit it
    with Server(Store(data), host, port, tokens, tls) as server:
        Thread(target=server.serve_forever, name="collector", daemon=True).start()
        click.echo(f"collector: {server.url} -> {data}")
        signal.sigwait(stop)
        server.shutdown()


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ssl.SSLContext | None:
    if not certificate:
        if key or client_ca:
            raise click.UsageError("--key and --client-ca need --certificate")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as e:
        where = ", ".join(str(file) for file in (certificate, key, client_ca) if file)
        raise ConfigFault(str(e), where=where, expected="certificates and a key in PEM") from e
    return context


def _allow_many_connections() -> None:
    """A file descriptor a device: what a shell allows at first is often 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _print_summary(folder: Path) -> None:
    from edgeagent.collector.dataset import summary

    held = summary(folder)
    kinds = ", ".join(f"{n} {kind}" for kind, n in held.kinds.items())
    click.echo(
        f"{held.records} records of {held.devices} devices ({kinds or 'none'}); {held.samples} samples"
    )


@command.command(name="import")
@click.argument("archive", metavar="DIR", type=_DATASET)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="The dataset folder."
)
@click.option("--token-file", required=True, type=_FILE, help=_TOKENS)
def import_(archive: Path, data: Path, token_file: Path) -> int:
    """Take in an `outbox export`, and leave a receipt."""
    from edgeagent.collector.carried import import_archive
    from edgeagent.collector.store import Store
    from edgeagent.collector.tokens import read_tokens

    found = import_archive(archive, Store(data), read_tokens(token_file))
    for name, why in found.left_out.items():
        click.echo(
            f"edgeagent: {archive / name}: {why}. Its records wait on the device: export again.", err=True
        )
    click.echo(
        f"{found.stored} records of {found.receipt.device} are in {data}, {len(found.receipt.refused)} refused"
    )
    click.echo(f"Carry {archive}/receipt.json back: edgeagent outbox receipt FILE -c FILE")
    return FAULTS if found.left_out else OK


@command.command()
@click.argument("dataset", metavar="DATASET", type=_DATASET)
def pack(dataset: Path) -> None:
    """Make Parquet and WebDataset shards of a dataset.

    Again: of the days that have changed since.
    """
    try:
        from edgeagent.collector.pack import pack as pack_dataset
    except ImportError as e:
        hint = f"Install it: {pip_install('edgeagent[dataset]')}."
        raise ConfigFault(f"packing needs {e.name}", hint=hint) from e

    done = pack_dataset(dataset)
    click.echo(
        f"{done.records} records of {done.days} days and {done.shards} shards written to {dataset}/packed"
    )


@command.command()
@click.argument("url", required=False)
@click.option("--devices", type=click.IntRange(1), default=1000, show_default=True, help="How many devices.")
@click.option("--batches", type=click.IntRange(1), default=6, show_default=True, help="Of each device.")
@click.option("--records", type=click.IntRange(1, 500), default=20, show_default=True, help="In each batch.")
@click.option(
    "--every", type=Duration(), default="10s", show_default=True, help="A batch each; 0s: without a pause."
)
@click.option("--token-file", type=_FILE, help=f"For URL: {_TOKENS[0].lower()}{_TOKENS[1:]}")
def loadtest(
    url: str | None, devices: int, batches: int, records: int, every: float, token_file: Path | None
) -> int:
    """Send a simulated fleet's records to a collector.

    To the one at URL, or else to one of its own.
    """
    from edgeagent.collector.loadtest import Plan, own_collector, run
    from edgeagent.collector.tokens import Tokens, read_tokens

    plan = Plan(devices, batches, records, every)
    _allow_many_connections()
    if url:
        return _print_load(plan, run(url, read_tokens(token_file) if token_file else Tokens(), plan))
    with TemporaryDirectory() as name:
        folder = Path(name)
        with own_collector(folder, devices) as (own_url, tokens):
            return _print_load(plan, run(own_url, tokens, plan, folder / "dataset"))


def _print_load(plan: Plan, found: Report) -> int:
    p50, p99, most = (1000 * found.percentile_s(share) for share in (0.5, 0.99, 1.0))
    rate = plan.total / found.seconds
    click.echo(
        f"sent     {plan.total} records of {plan.devices} devices in {found.seconds:.1f} s: {rate:.0f} a second"
    )
    click.echo(
        f"answers  {len(found.answers_s)}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, the slowest {most:.0f} ms"
    )
    click.echo(f"repeated {found.repeated} attempts that failed")
    click.echo(f"lost     {found.lost}")
    seen = "not seen: the dataset is there, not here" if found.doubled is None else found.doubled
    click.echo(f"doubled  {seen}")
    return FAULTS if found.lost or found.doubled else OK
