"""Files of word vectors: in each line a word and its numbers, as GloVe and fastText write them.

Owns: reading them, tables of vectors by a word index.
Leaves: layers (embeddings).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from zoo.engine.errors import DataError, UsageError


def word_index_of(embedding_file: Any) -> dict[str, int]:
    """The words of a file, numbered from 1 in its order."""
    return {word: number for number, (word, _) in enumerate(_lines(embedding_file), 1)}


def prepare_embedding(
    embedding_file: Any, word_index: Mapping[str, int] | None = None, randomize_unknown: bool = False,
    normalize: bool = False,
) -> np.ndarray:  # fmt: skip
    """A table of vectors, (largest index + 1, size of a vector) float32.

    Args:
        embedding_file: a word and its numbers in each line, with blanks between them.
        word_index: word -> row, from 1 on; None: the words of the file in its order.
        randomize_unknown: rows of words that the file has not: normal numbers times 0.05, in place of 0.
        normalize: each row is divided by its length.

    Raises:
        UsageError: there is no such file, or an index below 1.
        DataError: a line has another number of numbers than the first.
    """
    index = word_index_of(embedding_file) if word_index is None else word_index
    if not index or min(index.values()) < 1:
        raise UsageError(
            f"word_index must map words to whole numbers from 1 on. Received: {dict(list(index.items())[:5])}"
        )
    table: np.ndarray | None = None
    unknown = set(index)
    for word, numbers in _lines(embedding_file):
        if table is None:
            table = np.zeros((max(index.values()) + 1, len(numbers)), "float32")
        if word in index:
            table[index[word]] = numbers
            unknown.discard(word)
    if table is None:
        raise DataError(f"{embedding_file} has no word vectors: it is empty.")
    if randomize_unknown and unknown:
        rows = sorted(index[word] for word in unknown)
        table[rows] = np.random.default_rng(len(rows)).normal(0, 0.05, (len(rows), table.shape[1]))
    if normalize:
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), np.finfo("float32").tiny)
    return table


def _lines(path: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Words and vectors; a first line of two whole numbers (how many, how long) is left out."""
    size = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                parts = line.rstrip().split(" ")
                if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
                    continue
                size = size or len(parts) - 1
                yield " ".join(parts[:-size] if size else parts), _numbers(parts, size, f"{path}, line {number}")
    except OSError as error:
        raise UsageError(f"cannot read embedding_file: {error.strerror}. Received: {str(path)!r}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8, so no file of word vectors.") from None


def _numbers(parts: list[str], size: int, where: str) -> np.ndarray:
    try:
        if size < 1 or len(parts) <= size:
            raise ValueError
        return np.array(parts[-size:], "float32")
    except ValueError:
        raise DataError(
            f"{where}: a word and {size or 'its'} numbers are expected, with blanks between them. Received: "
            f"{' '.join(parts)[:60]!r}"
        ) from None
