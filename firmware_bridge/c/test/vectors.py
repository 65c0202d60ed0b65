"""Golden vectors as lines that a C program can read: `python3 vectors.py ../../vectors.json`. `-` is no bytes."""

import json
import sys
from pathlib import Path
from typing import Any


def lines(vectors: dict[str, Any]) -> list[str]:
    """cobs PLAIN ENCODED · crc DATA CRC · message FRAME · stream BOUND BAD_FRAMES STREAM CONTENTS..."""
    found = [f"cobs {v['plain'] or '-'} {v['encoded']}" for v in vectors["cobs"]]
    found.append("crc {data} {crc}".format(**vectors["crc"]))
    found += [f"message {v['frame']}" for v in vectors["messages"]]
    for v in vectors["streams"]:
        head = f"stream {v['max_bytes']} {v['bad_frames']} {v['stream'] or '-'}"
        found.append(" ".join([head, *v["contents"]]))
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines(json.loads(Path(sys.argv[1]).read_text()))) + "\n")
