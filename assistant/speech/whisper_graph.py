"""Whisper's decoder as ONNX graphs, made from the weights of a CTranslate2 model.

CTranslate2 decodes one token after the other with matrices that it packs anew at every step on
processors without VNNI, and with a vocabulary of which Mandarin needs a twentieth. ONNX Runtime
packs them once, and a graph of our own keeps only the rows of the vocabulary that are asked for:
the same hypotheses in half the time, on one thread.
"""

import struct
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Weights = dict[str, NDArray[Any]]
Shapes = dict[str, list[int | str]]

INTEGERS = ("tokens", "positions", "parents")
"""The inputs that are int64."""

INT8_MOST = 63
"""Weights are quantised to 7 bits: where AVX2 has no VNNI, ONNX Runtime adds pairs of products in
16 bits, which 8-bit weights would overflow."""

_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_FORMAT_VERSION = 6


def read_weights(data: bytes | bytearray, name: str) -> Weights:
    """The tensors of a CTranslate2 model.bin by name (binary format 6): views into its bytes.

    Raises RuntimeError, with the file's `name`, for another format or a damaged file.
    """
    place = 0

    def take(code: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + code, data, place)
        place += struct.calcsize(code)
        return int(value)

    def take_text() -> str:
        nonlocal place
        length = take("H")
        text = data[place : place + length - 1].decode()
        place += length
        return text

    try:
        version, kind = take("I"), take_text()
        if version != _FORMAT_VERSION or kind != "WhisperSpec":
            raise RuntimeError(f"{name} is {kind} in format {version}, not Whisper in format 6")
        take("I")  # the revision of WhisperSpec
        weights: Weights = {}
        for _ in range(take("I")):
            tensor = take_text()
            shape = [take("I") for _ in range(take("B"))]
            dtype, size = np.dtype(_TYPES[take("B")]), take("I")
            values = np.frombuffer(data, dtype, size // dtype.itemsize, place)
            weights[tensor] = values.reshape(shape)
            place += size
    except (struct.error, ValueError, KeyError) as error:
        raise RuntimeError(f"{name} is damaged: {error}") from None
    return weights


class _Graph:
    """Nodes and constants under construction; each method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        result = result or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [result], **attributes))
        return result

    def contrib(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.add(op, *inputs, domain="com.microsoft", **attributes)

    def linear(self, x: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """x · weightᵀ + bias; the weight is quantised by column, x by row.

        ONNX Runtime quantises x as a whole, and the first token of a prompt is a hundred times
        louder than the others; so each row is brought to the same peak before, and back after.
        """
        matrix = weight.astype(np.float32).T
        steps = np.maximum(np.abs(matrix).max(axis=0), 1e-8) / INT8_MOST
        peaks = self.add("ReduceMax", self.add("Abs", x), axes=[-1], keepdims=1)
        product = self.contrib(
            "DynamicQuantizeMatMul",
            self.add("Div", x, peaks),
            self.constant(np.round(matrix / steps).astype(np.int8)),
            self.constant(steps.astype(np.float32)),
            self.constant(np.zeros(matrix.shape[1], np.int8)),
        )
        product = self.add("Mul", product, peaks)
        if bias is None:
            return product
        return self.add("Add", product, self.constant(bias.astype(np.float32)))

    def heads(self, rows: str, heads: int, width: int) -> str:
        """[N, H·W] → [H, N, W]."""
        split = self.add("Reshape", rows, self.integers(-1, heads, width))
        return self.add("Transpose", split, perm=[1, 0, 2])

    def joined(self, heads: str, size: int) -> str:
        """[H, N, W] → [N, H·W]."""
        return self.add(
            "Reshape", self.add("Transpose", heads, perm=[1, 0, 2]), self.integers(-1, size)
        )

    def split(self, x: str, parts: str) -> list[str]:
        """Equal parts of the last axis, one for each letter."""
        names = [f"{x}_{part}" for part in parts]
        self.nodes.append(helper.make_node("Split", [x], names, axis=-1))
        return names

    def norm(self, x: str, weights: Weights, name: str) -> str:
        gamma, beta = (weights[f"{name}/{part}"].astype(np.float32) for part in ("gamma", "beta"))
        return self.add(
            "LayerNormalization", x, self.constant(gamma), self.constant(beta), epsilon=1e-5
        )

    def model(self, inputs: Shapes, outputs: Shapes) -> bytes:
        graph = helper.make_graph(
            self.nodes, "whisper", _described(inputs), _described(outputs), self.constants
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 8
        return bytes(model.SerializeToString())


def _described(shapes: Shapes) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name in INTEGERS else TensorProto.FLOAT, shape
        )
        for name, shape in shapes.items()
    ]


class Decoder:
    """Builds both graphs of one model's decoder; D is its width, H its heads, W = D / H."""

    def __init__(self, weights: Weights, vocabulary: NDArray[np.int64]) -> None:
        """`vocabulary`: the token numbers that can be said or told, in the order of the logits."""
        self._weights = weights
        self._heads = int(weights["decoder/num_heads"])
        embeddings = weights["decoder/embeddings/weight"]
        self._size = embeddings.shape[1]
        self._width = self._size // self._heads
        self._embeddings = embeddings[vocabulary].astype(np.float32)
        self.layers = sum(
            name.startswith("decoder/") and name.endswith("/ffn/linear_0/weight")
            for name in weights
        )

    def opening(self) -> bytes:
        """What comes before the first word, for one utterance.

        `encoded` [1, S, D], `tokens` [T], `positions` [T], `mask` [T, T] (added to the scores) →
        `logits` [1, V] of the last token and, for each layer, what the steps attend to:
        `heard_k`, `heard_v` [H, S, W] of the audio and `told_k`, `told_v` [H, T, W] of the tokens.
        """
        graph, size = _Graph(), self._size
        encoded = graph.add("Reshape", "encoded", graph.integers(-1, size))
        x = self._embedded(graph)
        outputs: Shapes = {"logits": [1, len(self._embeddings)]}
        for layer in range(self.layers):
            both = self._linear(graph, encoded, f"layer_{layer}/attention/linear_1")
            heard = [self._as_heads(graph, part) for part in graph.split(both, "kv")]
            query, *told = self._self_query(graph, x, layer)
            scores = self._scores(graph, query, told[0])
            scores = graph.add("Softmax", graph.add("Add", scores, "mask"), axis=-1)
            x = self._after_self(graph, x, graph.add("MatMul", scores, told[1]), layer)
            x = self._after_hearing(graph, x, layer, *heard)
            for kind, pair in (("heard", heard), ("told", told)):
                for part, value in zip("kv", pair, strict=True):
                    name = f"{kind}_{part}{layer}"
                    graph.add("Identity", value, result=name)
                    outputs[name] = [self._heads, "S" if kind == "heard" else "T", self._width]
        last = graph.add("Gather", x, graph.integers(-1), axis=0)
        self._logits(graph, last)
        inputs: Shapes = {
            "encoded": [1, "S", size], "tokens": ["T"], "positions": ["T"], "mask": ["T", "T"],
        }  # fmt: skip
        return graph.model(inputs, outputs)

    def step(self) -> bytes:
        """One more token for each of B sentences.

        `tokens` [B], `positions` [1], `parents` [B] (which sentence of the step before each one
        continues), `said_k`, `said_v` [B', H, P, W] of each layer, and the opening's `heard` and
        `told` → `logits` [B, V], `now_k`, `now_v` [B, H, P+1, W]: the next step's `said`.
        """
        graph = _Graph()
        heads, width = self._heads, self._width
        x = self._embedded(graph)
        inputs: Shapes = {"tokens": ["B"], "positions": ["O"], "parents": ["B"]}
        outputs: Shapes = {"logits": ["B", len(self._embeddings)]}
        for layer in range(self.layers):
            query, *new = self._self_query(graph, x, layer)
            said = []
            for part, rows in zip("kv", new, strict=True):
                mine = graph.add("Gather", f"said_{part}{layer}", "parents", axis=0)
                row = graph.add("Transpose", rows, perm=[1, 0, 2])  # [B, H, W]
                row = graph.add("Unsqueeze", row, graph.integers(2))
                said.append(graph.add("Concat", mine, row, axis=2, result=f"now_{part}{layer}"))
                inputs[f"said_{part}{layer}"] = ["C", heads, "P", width]
                outputs[f"now_{part}{layer}"] = ["B", heads, "N", width]
                inputs[f"told_{part}{layer}"] = [heads, "T", width]
                inputs[f"heard_{part}{layer}"] = [heads, "S", width]
            # What was told is the same for all sentences: their queries are rows of one matrix.
            told = graph.add(
                "Transpose", self._scores(graph, query, f"told_k{layer}"), perm=[1, 0, 2]
            )
            own = graph.add(
                "Unsqueeze", graph.add("Transpose", query, perm=[1, 0, 2]), graph.integers(2)
            )
            own = graph.add("Squeeze", self._scores(graph, own, said[0]), graph.integers(2))
            weights = graph.add("Softmax", graph.add("Concat", told, own, axis=2), axis=-1)
            lengths = [
                graph.add("Gather", graph.add("Shape", scores), graph.integers(2), axis=0)
                for scores in (told, own)
            ]
            of_told, of_own = f"{weights}_told", f"{weights}_own"
            graph.nodes.append(
                helper.make_node(
                    "Split",
                    [weights, graph.add("Concat", *lengths, axis=0)],
                    [of_told, of_own],
                    axis=2,
                )
            )
            mixed = graph.add(
                "MatMul", graph.add("Transpose", of_told, perm=[1, 0, 2]), f"told_v{layer}"
            )
            of_own = graph.add("Unsqueeze", of_own, graph.integers(2))
            of_own = graph.add("Squeeze", graph.add("MatMul", of_own, said[1]), graph.integers(2))
            mixed = graph.add("Add", mixed, graph.add("Transpose", of_own, perm=[1, 0, 2]))
            x = self._after_self(graph, x, mixed, layer)
            x = self._after_hearing(graph, x, layer, f"heard_k{layer}", f"heard_v{layer}")
        self._logits(graph, x)
        return graph.model(inputs, outputs)

    def _linear(self, graph: _Graph, x: str, name: str) -> str:
        of = f"decoder/{name}"
        return graph.linear(x, self._weights[f"{of}/weight"], self._weights[f"{of}/bias"])

    def _as_heads(self, graph: _Graph, rows: str) -> str:
        return graph.heads(rows, self._heads, self._width)

    def _embedded(self, graph: _Graph) -> str:
        places = self._weights["decoder/position_encodings/encodings"].astype(np.float32)
        x = graph.add("Gather", graph.constant(self._embeddings), "tokens")
        return graph.add("Add", x, graph.add("Gather", graph.constant(places), "positions"))

    def _self_query(self, graph: _Graph, x: str, layer: int) -> list[str]:
        """Query, key and value of the tokens, [H, N, W] each."""
        name = f"layer_{layer}/self_attention"
        normed = graph.norm(x, self._weights, f"decoder/{name}/layer_norm")
        fused = self._linear(graph, normed, f"{name}/linear_0")
        return [self._as_heads(graph, part) for part in graph.split(fused, "qkv")]

    def _scores(self, graph: _Graph, query: str, key: str) -> str:
        return graph.contrib("FusedMatMul", query, key, transB=1, alpha=self._width**-0.5)

    def _after_self(self, graph: _Graph, x: str, mixed: str, layer: int) -> str:
        rows = graph.joined(mixed, self._size)
        return graph.add(
            "Add", x, self._linear(graph, rows, f"layer_{layer}/self_attention/linear_1")
        )

    def _after_hearing(self, graph: _Graph, x: str, layer: int, key: str, value: str) -> str:
        """Attention to the audio, then the feed-forward network."""
        name = f"layer_{layer}/attention"
        normed = graph.norm(x, self._weights, f"decoder/{name}/layer_norm")
        query = self._as_heads(graph, self._linear(graph, normed, f"{name}/linear_0"))
        weights = graph.add("Softmax", self._scores(graph, query, key), axis=-1)
        rows = graph.joined(graph.add("MatMul", weights, value), self._size)
        x = graph.add("Add", x, self._linear(graph, rows, f"{name}/linear_2"))
        name = f"layer_{layer}/ffn"
        normed = graph.norm(x, self._weights, f"decoder/{name}/layer_norm")
        hidden = graph.contrib("Gelu", self._linear(graph, normed, f"{name}/linear_0"))
        return graph.add("Add", x, self._linear(graph, hidden, f"{name}/linear_1"))

    def _logits(self, graph: _Graph, x: str) -> None:
        normed = graph.norm(x, self._weights, "decoder/layer_norm")
        graph.add("Identity", graph.linear(normed, self._embeddings, None), result="logits")
