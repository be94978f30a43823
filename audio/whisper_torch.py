"""Whisper in PyTorch, with the corrections that audio/train_adapter.py learns.

The names, shapes and values are those of the CTranslate2 model that the hotline hears with
(assistant/speech/whisper_graph.py reads it): what is learned here is added there.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from assistant.speech.whisper_adapter import DOWN, UP
from assistant.speech.whisper_graph import Weights

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HEAD = 64
"""Width of an attention head in every Whisper."""
RANKS = {"encoder": 48, "decoder": 16}
"""Of the corrections. The encoder has more to learn: telephone band, codec, noise."""


class Corrected(nn.Module):
    """A linear layer that stays as it is, and the low-rank matrix that is added to it."""

    def __init__(self, weights: Weights, name: str, rank: int) -> None:
        """The matrix `name`/weight and its bias."""
        super().__init__()
        self.name = f"{name}/weight"
        self._matrix = _half(weights[self.name])
        self._bias = _half(weights[f"{name}/bias"])
        outputs, inputs = self._matrix.shape
        self.down = nn.Parameter(torch.randn(rank, inputs, device=DEVICE) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=DEVICE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[…, inputs] → […, outputs]."""
        change = functional.linear(functional.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))
        return functional.linear(x, self._matrix, self._bias) + change


class Norm(nn.Module):
    """Layer normalisation, in single precision."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self._gamma, self._beta = (_single(weights[f"{name}/{part}"]) for part in ("gamma", "beta"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the same shape and precision as `x`."""
        normed = functional.layer_norm(x.float(), (x.shape[-1],), self._gamma, self._beta, 1e-5)
        return normed.to(x.dtype)


class Layer(nn.Module):
    """Attention to itself, in the decoder also to what was heard, and two dense layers."""

    def __init__(self, weights: Weights, name: str, rank: int, *, hears: bool) -> None:
        super().__init__()

        def linear(part: str) -> Corrected:
            return Corrected(weights, f"{name}/{part}", rank)

        self._hears = hears
        self._norm = Norm(weights, f"{name}/self_attention/layer_norm")
        self._fused = linear("self_attention/linear_0")
        self._joined = linear("self_attention/linear_1")
        if hears:
            self._hearing_norm = Norm(weights, f"{name}/attention/layer_norm")
            self._query = linear("attention/linear_0")
            self._heard = linear("attention/linear_1")
            self._hearing_joined = linear("attention/linear_2")
        self._dense_norm = Norm(weights, f"{name}/ffn/layer_norm")
        self._wide = linear("ffn/linear_0")
        self._narrow = linear("ffn/linear_1")

    def forward(self, x: torch.Tensor, heard: torch.Tensor | None = None) -> torch.Tensor:
        """[N, T, D] → the same; `heard` is [N, S, D]."""
        query, key, value = map(_heads, self._fused(self._norm(x)).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self._hears)
        x = x + self._joined(mixed.transpose(1, 2).flatten(2))
        if heard is not None:
            query = _heads(self._query(self._hearing_norm(x)))
            key, value = map(_heads, self._heard(heard).chunk(2, -1))
            mixed = functional.scaled_dot_product_attention(query, key, value)
            x = x + self._hearing_joined(mixed.transpose(1, 2).flatten(2))
        return x + self._narrow(functional.gelu(self._wide(self._dense_norm(x))))


class Whisper(nn.Module):
    """The whole model, with logits for a part of its vocabulary only."""

    def __init__(self, weights: Weights, vocabulary: NDArray[np.int64]) -> None:
        """`vocabulary`: the token numbers in the order of the logits."""
        super().__init__()
        self._convolutions = [
            [_half(weights[f"encoder/{name}/{part}"]) for part in ("weight", "bias")]
            for name in ("conv1", "conv2")
        ]
        self._places, self._token_places = (
            _single(weights[f"{half}/position_encodings/encodings"]) for half in RANKS
        )
        self._embeddings = _single(weights["decoder/embeddings/weight"][vocabulary])
        self._encoder, self._decoder = (
            nn.ModuleList(
                Layer(weights, f"{half}/layer_{number}", rank, hears=half == "decoder")
                for number in range(_layers(weights, half))
            )
            for half, rank in RANKS.items()
        )
        self._encoder_norm, self._decoder_norm = (
            Norm(weights, f"{half}/layer_norm") for half in RANKS
        )

    def forward(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-mel features [N, 80, 2·S] and places in the vocabulary [N, T] → logits [N, T, V]."""
        x = features.bfloat16()
        for stride, (kernel, bias) in enumerate(self._convolutions, 1):
            x = functional.gelu(functional.conv1d(x, kernel, bias, stride=stride, padding=1))
        x = x.transpose(1, 2)
        x = x + self._places[: x.shape[1]].to(x.dtype)
        for layer in self._encoder:
            x = layer(x)
        heard = self._encoder_norm(x)
        x = (self._embeddings[tokens] + self._token_places[: tokens.shape[1]]).to(x.dtype)
        for layer in self._decoder:
            x = layer(x, heard)
        return functional.linear(self._decoder_norm(x), self._embeddings.to(x.dtype))

    def corrections(self, share: float = 1.0) -> dict[str, NDArray[np.float16]]:
        """As assistant/speech/whisper_adapter.py reads them; so much of each is added there."""
        return {
            name: _stored(share * matrix if name.endswith(UP) else matrix)
            for name, matrix in self._learned()
        }

    def go_on_from(self, corrections: Mapping[str, NDArray[np.float16]]) -> None:
        """Take what was learned before. Raises KeyError or RuntimeError for another model's."""
        with torch.no_grad():
            for name, matrix in self._learned():
                matrix.copy_(_single(corrections[name]))

    def _learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        for each in self.modules():
            if isinstance(each, Corrected):
                yield each.name + UP, each.up
                yield each.name + DOWN, each.down


def _layers(weights: Weights, half: str) -> int:
    ends: Sequence[str] = [
        name
        for name in weights
        if name.startswith(f"{half}/layer_") and name.endswith("ffn/linear_0/weight")
    ]
    return len(ends)


def _single(values: NDArray[np.float16]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(DEVICE)


def _stored(matrix: torch.Tensor) -> NDArray[np.float16]:
    return matrix.detach().cpu().numpy().astype(np.float16)


def _half(values: NDArray[np.float16]) -> torch.Tensor:
    return _single(values).bfloat16()


def _heads(x: torch.Tensor) -> torch.Tensor:
    """[N, T, D] → [N, heads, T, HEAD]."""
    return x.view(*x.shape[:2], -1, HEAD).transpose(1, 2)
