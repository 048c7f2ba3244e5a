"""Files of a page, read once: what is served comes from a table in memory, so no path of a request meets the disk."""

from pathlib import Path

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}
Table = dict[str, tuple[str, bytes]]


def assets(folder: Path) -> Table:
    """Name -> (content type, bytes) of the files of `folder` itself that a browser takes."""
    return {file.name: (TYPES[file.suffix], file.read_bytes()) for file in folder.iterdir() if file.suffix in TYPES}


SHARED = assets(Path(__file__).parent / "static")
