"""Pictures side by side, for notebooks.

A notebook keeps what it shows. Photographs are kept as JPEG here: as PNG, which is what figures become by themselves,
they would be many times as large.

    sheet([first, second], ["a cat", "a dog"])
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

_INCHES = 8.0  # width of a sheet
_TITLE = 0.24  # height of a line of text


class Sheet:
    """A figure as JPEG; a notebook shows it where it is a cell's last value."""

    def __init__(self, figure: plt.Figure) -> None:
        kept = io.BytesIO()
        figure.savefig(kept, format="jpeg", dpi=90, pil_kwargs={"quality": 78})
        plt.close(figure)
        self.jpeg = kept.getvalue()

    def _repr_jpeg_(self) -> bytes:
        return self.jpeg

    def __repr__(self) -> str:
        return "a sheet of pictures"


def sheet(
    pictures: Sequence[np.ndarray],
    titles: Sequence[str] = (),
    columns: int = 8,
    heading: str = "",
    marked: Sequence[bool] = (),
) -> Sheet:
    """Pictures in rows, all to one scale: a smaller picture is smaller on the sheet.

    Args:
        pictures: uint8, (height, width, 3), BGR.
        titles: of each, or none.
        columns: pictures of a row.
        heading: of the whole.
        marked: of each, whether its title is red.
    """
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    line = _INCHES / columns * height / width + (_TITLE if titles else 0.08)
    size = (_INCHES, rows * line + (1.3 * _TITLE if heading else 0))
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    for axis in axes.flat:
        axis.axis("off")
    for at, (axis, picture) in enumerate(zip(axes.flat, pictures, strict=False)):
        axis.imshow(picture[:, :, ::-1])
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        if titles:
            axis.set_title(
                titles[at], fontsize=8, pad=3, loc="left", color="tab:red" if marked and marked[at] else "black"
            )
    if heading:
        figure.suptitle(heading, fontsize=10)
    return Sheet(figure)
