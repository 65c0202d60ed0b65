"""Secrets: named in the YAML, read when they are used, never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from edgeagent.config.quantities import FilePath
from edgeagent.errors import ConfigFault

Kind = Literal["credential", "file", "env", "clear"]


class Secret:
    """A token or password. `str` and `repr` tell where it comes from, never what it is.

    Args:
        kind: `credential` is a file in $CREDENTIALS_DIRECTORY (systemd's LoadCredential=), `file` a path,
            `env` an environment variable, `clear` the secret itself.
        name: The credential, path or variable; for `clear` the secret.
    """

    __slots__ = ("_kind", "_name")

    def __init__(self, kind: Kind, name: str) -> None:
        self._kind, self._name = kind, name

    def reveal(self) -> str:
        """The secret itself, without a newline at its end. Raises ConfigFault if it cannot be had."""
        secret = self._read().rstrip("\r\n")
        if not secret:
            raise ConfigFault("the secret is empty", where=str(self))
        if not secret.isprintable():
            expected = "one line, without tabs and other control characters"
            raise ConfigFault("the secret is not a line of text", where=str(self), expected=expected)
        return secret

    def reveal_token(self) -> str:
        """The same of one that stands in a header of HTTP. Raises ConfigFault."""
        if not (token := self.reveal()).isascii() or " " in token:
            expected = "letters, digits and signs of ASCII, without a space"
            raise ConfigFault("the secret is not a token", where=str(self), expected=expected)
        return token

    def _read(self) -> str:
        if self._kind == "clear":
            return self._name
        if self._kind == "env":
            if self._name not in os.environ:
                raise ConfigFault("the environment variable is not set", where=str(self))
            return os.environ[self._name]
        path = self._credential_path() if self._kind == "credential" else Path(self._name)
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as e:
            reason = e.strerror if isinstance(e, OSError) else "not text"
            raise ConfigFault(f"{path} cannot be read: {reason}", where=str(self)) from e

    def _credential_path(self) -> Path:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigFault(
                "$CREDENTIALS_DIRECTORY is not set",
                where=str(self),
                expected=f"a start by systemd with LoadCredential={self._name}:PATH",
                hint="Write {file: PATH} or {env: NAME} to start the agent by hand.",
            )
        return Path(folder) / self._name

    def __str__(self) -> str:
        return "a secret in clear" if self._kind == "clear" else f"secret {{{self._kind}: {self._name}}}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._kind, self._name) == (other._kind, other._name)

    def __hash__(self) -> int:
        return hash((self._kind, self._name))


class SecretSource(msgspec.Struct, frozen=True, kw_only=True):
    """How the YAML names a secret: exactly one of the three."""

    credential: str | None = None
    file: FilePath | None = None
    env: str | None = None

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.credential, self.file, self.env)) != 1:
            raise ConfigFault("a secret has one source", expected="credential, file or env")
        if self.credential is not None and Path(self.credential).name != self.credential:
            raise ConfigFault("a credential is a name, not a path", where="credential")

    def secret(self) -> Secret:
        if self.credential is not None:
            return Secret("credential", self.credential)
        if self.file is not None:
            return Secret("file", str(self.file))
        return Secret("env", self.env or "")
