# SPDX-License-Identifier: Apache-2.0
"""Images inside the page, so that it needs no other file."""

import base64
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tf_decomp.errors import InputError

_MEDIA_TYPES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_PNG_START = b"\x89PNG\r\n\x1a\n"
_SCREEN_SHARE = 96 / 150  # figures have 150 dots per inch, a page 96: their true size


class Image(NamedTuple):
    """An image and its words.

    Attributes:
        title: Heading.
        caption: What is seen, below the image; may be empty.
        alt: What a reader who does not see it should know.
        source: The data URI.
        size: Width and height on the page, where the file tells them.
        moves: Whether it may be an animation.
    """

    title: str
    caption: str
    alt: str
    source: str
    size: tuple[int, int] | None
    moves: bool


def embed_image(root: Path, figure: Mapping[str, str]) -> Image | None:
    """Reads an image of a folder; None where the file is not there.

    Args:
        root: The folder.
        figure: `file` (path below the folder), `title`, `caption`, `alt`.

    Raises:
        InputError: The file is outside the folder or no image that browsers show.

    Example:
        >>> image = embed_image(run, {"file": "plots/samples.png", "title": "Samples"})
    """
    path = (root / figure["file"]).resolve()
    suffix = path.suffix.lower()
    if not path.is_relative_to(root.resolve()) or suffix not in _MEDIA_TYPES:
        raise InputError(
            f"a figure must be {', '.join(sorted(_MEDIA_TYPES))} inside {root}; "
            f"received {figure['file']!r}; evaluate again"
        )
    if not path.is_file():
        return None
    content = path.read_bytes()
    data = base64.b64encode(content).decode("ascii")
    title = figure.get("title") or path.stem.replace("_", " ")
    return Image(
        title=title,
        caption=figure.get("caption") or "",
        alt=figure.get("alt") or title,
        source=f"data:{_MEDIA_TYPES[suffix]};base64,{data}",
        size=_page_size(content),
        moves=suffix == ".gif",
    )


def _page_size(content: bytes) -> tuple[int, int] | None:
    """Gives the size on the page of a PNG, whose first chunk holds its pixels."""
    if not content.startswith(_PNG_START) or len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return round(width * _SCREEN_SHARE), round(height * _SCREEN_SHARE)
