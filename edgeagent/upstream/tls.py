"""What the sinks share of the way there: its address, whom to trust, who we are, and where nobody listens in."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Container
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edgeagent.errors import ConfigFault

OUR_CLOCK = (9, 10)  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED


def address(url: str, schemes: Container[str]) -> SplitResult | None:
    """A URL in its parts; None if there can be nobody: another scheme, no host, a port that is none, odd characters."""
    if not (url.isascii() and url.isprintable() and " " not in url):
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in schemes and parts.hostname and parts.port != 0 else None
    except ValueError:  # a port that is no number, or half an IPv6 address
        return None


def check_identity(certificate: Path | None, key: Path | None) -> None:
    """Raises ConfigFault for one of the two alone."""
    if bool(certificate) != bool(key):
        raise ConfigFault("one without the other", expected="`certificate` and `key`, or neither")


def trust(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Trusts `ca` instead of the system's, and shows `certificate`. Raises ConfigFault if one cannot be read."""
    try:
        context = ssl.create_default_context(cafile=ca, capath=None if ca else _hashed_folder())
    except (OSError, ssl.SSLError) as e:
        raise ConfigFault(str(e), where=str(ca), expected="a file of certificates in PEM") from e
    if certificate and key:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as e:
            where = f"{certificate}, {key}"
            raise ConfigFault(str(e), where=where, expected="a certificate and its key in PEM") from e
    return context


def _hashed_folder() -> str | None:
    """Where Debian keeps the system's certificates by hash, for OpenSSL to read the one that a receiver shows.

    From its file of all of them it reads all: 1.3 MB. None if `SSL_CERT_FILE` names a file, or there is no such folder.
    """
    paths = ssl.get_default_verify_paths()
    if paths.openssl_cafile_env in os.environ or not paths.capath:
        return None
    return paths.capath if (Path(paths.capath) / "ca-certificates.crt").exists() else None


def is_loopback(host: str) -> bool:
    """Whether what is sent there in clear stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
