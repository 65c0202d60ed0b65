"""What may be in the name of a file, wherever a bundle goes."""

from __future__ import annotations

import re

from edgeagent.errors import BundleFault

_WORD = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}")


def must_name_a_file(*words: str, where: str) -> None:
    """Raises BundleFault if a name or version could not be that of a folder anywhere."""
    for word in words:
        if not _WORD.fullmatch(word):
            raise BundleFault(
                f"{word!r} cannot be in the name of a file",
                where=where,
                expected="letters, digits, and . _ + - within a name or version",
            )
