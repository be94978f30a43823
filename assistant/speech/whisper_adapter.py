"""What Whisper has learned for this hotline: telephone lines, noise, and the words of its callers.

For each matrix of the model the file holds a correction of low rank (LoRA, Hu et al. 2021,
arXiv:2106.09685): two thin matrices whose product is added when the model is loaded, so that
hearing takes no longer than without. audio/train_adapter.py makes it.
"""

import zipfile
from pathlib import Path

import numpy as np

from assistant.speech.whisper_graph import Weights

ADAPTER = Path(__file__).with_name("whisper_base.npz")
"""Of the model `whisper-base`."""

UP, DOWN = "/up", "/down"
"""After a matrix's name: what is added to it is up · down, [outputs, rank] · [rank, inputs]."""


def adapt(weights: Weights, file: Path) -> None:
    """Add the corrections in `file` to the model's weights, in place.

    Raises RuntimeError when the file cannot be read or belongs to another model.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            parts = dict(stored)
        for name in [part.removesuffix(UP) for part in parts if part.endswith(UP)]:
            up, down = (parts[name + part].astype(np.float32) for part in (UP, DOWN))
            weights[name] += (up @ down).astype(weights[name].dtype)
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise RuntimeError(f"the adapter {file} is damaged or another model's: {error}") from None
