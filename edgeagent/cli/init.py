"""Print a commented config to start from.

`edgeagent init > edgeagent.yaml`, then edit the file and run `edgeagent check edgeagent.yaml`.
"""

from __future__ import annotations

from importlib.resources import files

import click


@click.command(help=__doc__)
def command() -> None:
    print(files("edgeagent.config").joinpath("initial.yaml").read_text(), end="")
