"""No token, password or key of a running agent stands in a log, dump or error: all that it says is searched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest
from agents import COUNTER, Site, process, running
from scripted import answer, scripted

SECRETS = {
    "in a file": "file-correct-horse-battery",
    "in the environment": "env-staple-tr0ub4dor",
    "a credential": "credential-hunter2-hunter2",
    "in clear": "clear-open-sesame-please",
}


def echo(connection: socket, request: bytes) -> None:
    """A receiver that refuses, and quotes in its answer what it was sent: some proxies do."""
    quoted = [line for line in request.split(b"\r\n") if line.lower().startswith(b"authorization")]
    answer(401, b"\n".join(quoted))(connection, request)
    connection.close()


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    return ((file, file.read_bytes()) for file in sorted(folder.rglob("*")) if file.is_file())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site")


def upstreams(url: str, secrets: Path) -> str:
    return f"""upstream:
  a: {{http: {{url: '{url}', token: {{file: {secrets}/in-a-file}}}}}}
  b: {{http: {{url: '{url}', token: {{env: THE_TOKEN}}}}}}
  c: {{http: {{url: '{url}', token: {{credential: the-token}}}}}}
  d: {{http: {{url: '{url}', token: '{SECRETS["in clear"]}'}}}}
  e: {{mqtt: {{url: 'mqtt://127.0.0.1:9', username: me, password: {{env: THE_TOKEN}}}}}}
  f:
    s3: {{bucket: lake, endpoint: '{url}', access_key: {{env: THE_TOKEN}}, secret_key: {{file: {secrets}/in-a-file}}}}
"""


def test_no_secret_stands_in_anything_that_the_agent_or_its_commands_say_or_write(
    site: Site, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "in-a-file").write_text(SECRETS["in a file"])
    (secrets / "the-token").write_text(SECRETS["a credential"])
    env = {"THE_TOKEN": SECRETS["in the environment"], "CREDENTIALS_DIRECTORY": str(secrets)}
    with scripted(echo) as server:
        site.write(COUNTER, upstreams(server.url, secrets))
        with running(site, "--journal", str(tmp_path / "site" / "journal"), env=env) as agent:
            agent.until(lambda s: all(u["trouble"] for u in s["upstream"].values()))
            for command in (
                ["status"],
                ["status", "--json"],
                ["outbox", "status"],
                ["outbox", "list"],
                ["check"],
            ):
                place = [str(site.config)] if command == ["check"] else ["-c", str(site.config)]
                with process(site, *command, *place, env=env) as one:
                    one.wait()
            with process(
                site, "outbox", "export", site.folder / "export", "-c", site.config, env=env
            ) as export:
                assert export.wait() == 0
            agent.stop()
        assert all(f"Bearer {secret}".encode() in b"".join(server.requests) for secret in SECRETS.values())
    said = dict(written(site.folder))
    assert any(b"does not accept the token" in text for text in said.values()), "or nothing was searched"
    site.config.unlink()
    for name, secret in SECRETS.items():
        for file, content in written(site.folder):
            assert secret.encode() not in content, f"the secret {name} stands in {file}"
