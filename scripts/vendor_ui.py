"""Fetches what the web pages use of others, and checks that it is what we ship.

    python scripts/vendor_ui.py           # compares with what lies in the package
    python scripts/vendor_ui.py --write   # takes it from the registry

A new version: change `VERSION` and `SHA512` (the registry's `dist.integrity`), then --write.
"""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
import urllib.request
from pathlib import Path

VERSION = "3.1.3"
SHA512 = "X4aUTwOReZvthaZWOVHqlJ52/ZdhZFEM4+Lh/uR4XooUSLE6p71bcy7MPGzYnNUcNh+nj+i/qJQpCMIdQnSmrg=="
URL = f"https://registry.npmjs.org/@dagrejs/dagre/-/dagre-{VERSION}.tgz"
TARGET = Path(__file__).parents[1] / "src/minispark/ui/assets/vendor/dagre"
FILES = {"package/dist/dagre.min.js": "dagre.min.js", "package/LICENSE": "LICENSE"}


def fetched() -> dict[str, bytes]:
    """Return the files of the release, by the names that they have here."""
    with urllib.request.urlopen(URL, timeout=60) as reply:
        archive = reply.read()
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != SHA512:
        sys.exit(f"{URL} is not what was reviewed: sha512-{digest}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {ours: tar.extractfile(theirs) for theirs, ours in FILES.items()}
        files = {name: file.read() for name, file in found.items() if file is not None}
    # The map is not shipped: a browser would look for it.
    lines = files["dagre.min.js"].splitlines(keepends=True)
    files["dagre.min.js"] = b"".join(line for line in lines if b"sourceMappingURL" not in line)
    return files


def main() -> None:
    """Compare, or write."""
    files = fetched()
    for name, body in files.items():
        path = TARGET / name
        if "--write" in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        elif not path.exists() or path.read_bytes() != body:
            sys.exit(f"{path} differs from @dagrejs/dagre {VERSION}")
    print(f"dagre {VERSION}: {', '.join(files)}")  # noqa: T201


if __name__ == "__main__":
    main()
