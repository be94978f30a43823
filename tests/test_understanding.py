"""Parts of the classifier, run by Rasa's own Python; what it understands: test_dialogue.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import rasa_python

MISHEAR = """
import json
from pypinyin import lazy_pinyin
from components.noise import Mishearing
from components.pinyin import syllables

said = "我的社会保险卡丢了怎么办"
heard = [Mishearing([said], seed)(said) for seed in range(40)]
sounds = [lazy_pinyin(list(each)) for each in (said, *heard)]
folded = [syllables(list(each)) for each in (said, *heard)]
print(json.dumps({"said": said, "heard": heard, "sounds": sounds, "folded": folded}))
"""

LEARN = """
import json
import numpy as np
from scipy.sparse import csr_matrix
from components.network import Network

# Eight kinds of sentence, each with runs of its own; in what was misheard half of them are others.
# Forty sentences have no run that is common enough to be known.
random = np.random.default_rng(1)
goals = np.arange(800) % 8
known = (np.arange(800) >= 40)[:, None]
rows = lambda shown: csr_matrix(((random.random((len(shown), 64)) < 0.1) | shown) & known)
own = np.arange(64) // 8 == goals[:, None]
meant = rows(own).astype(np.float32)
misheard = [rows(own & (random.random(own.shape) < 0.5)).astype(np.float32) for _ in range(2)]
senses = np.eye(8, 12, dtype=np.float32)[goals] + random.normal(0, 0.3, (800, 12)).astype("f4")
network = Network.fit([meant, *misheard], senses, goals, labels=8, seed=0)

def right(versions, senses):
    scores = np.stack([network.scores(row, sense) for row, sense in zip(versions, senses)])
    assert np.allclose(np.exp(scores).sum(axis=1), 1, atol=1e-4)
    return float(np.mean(scores.argmax(axis=1) == goals))

arrays = network.arrays("one")
again = Network.of(arrays, "one")
same = bool(np.array_equal(again.scores(meant[0], senses[0]), network.scores(meant[0], senses[0])))
new = rows(own & (random.random(own.shape) < 0.5)).astype(np.float32)
print(json.dumps({
    "all": right(meant, senses),
    "misheard": right(new, senses),
    "no_sense": right(meant, 0 * senses),
    "no_words": right(csr_matrix(meant.shape, dtype=np.float32), senses),
    "same": same,
}))
"""


EMBED = """
import json
import pathlib
import sys
import numpy as np
from components import embeddings

folder = pathlib.Path(sys.argv[1])
texts = ["我的社保卡丢了", "怎么办退休", "我的社保卡丢了", "养老金有多少"]
first = embeddings.embedded(texts)
(file,) = folder.iterdir()
counted = []
embed = embeddings._embed
embeddings._embed = lambda missing: counted.append(len(missing)) or embed(missing)
again = embeddings.embedded(texts)
more = embeddings.embedded([*texts, "失业金怎么领"])
file.write_bytes(file.read_bytes()[:1000])
mended = embeddings.embedded(texts)
folder.joinpath("file").touch()
embeddings.os.environ["HOTLINE_EMBEDDINGS"] = str(folder / "file")
unkept = embeddings.embedded(texts)
print(json.dumps({
    "same": [bool(np.array_equal(first, each)) for each in (again, more[:4], mended, unkept)],
    "by_text": bool(np.array_equal(first[0], first[2]) and not np.allclose(first[0], first[1])),
    "alone": bool(np.allclose(first[1], embed(["怎么办退休"])[0], atol=1e-5)),
    "embedded": counted,
}))
"""


@pytest.fixture(scope="module")
def misheard() -> Any:
    return json.loads(rasa_python.printed(MISHEAR))


def test_what_was_misheard_sounds_nearly_as_before(misheard: Any) -> None:
    said, *heard = misheard["folded"]

    assert all(each == said for each in heard)


def test_some_characters_are_misheard_and_most_are_not(misheard: Any) -> None:
    said, heard = misheard["said"], misheard["heard"]

    changed = [sum(a != b for a, b in zip(said, each, strict=True)) for each in heard]

    assert len(set(heard)) > 20
    assert 0.5 < sum(changed) / len(heard) < 4
    assert max(changed) < len(said)


def test_other_sounds_are_heard_than_were_said_but_seldom(misheard: Any) -> None:
    said, *heard = misheard["sounds"]

    other = sum(a != b for each in heard for a, b in zip(said, each, strict=True))

    assert 0 < other < len(heard)


def test_the_network_leans_neither_on_words_nor_on_sense_alone() -> None:
    right = json.loads(rasa_python.printed(LEARN))

    assert right["all"] > 0.97
    assert right["misheard"] > 0.85
    assert right["no_sense"] > 0.9
    assert right["no_words"] > 0.5
    assert right["same"]


def test_embeddings_are_kept_from_one_training_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTLINE_EMBEDDINGS", str(tmp_path))

    found = json.loads(rasa_python.printed(EMBED, str(tmp_path)))

    assert found["by_text"]
    assert found["alone"]
    assert found["same"] == [True] * 4
    # nothing anew, the further one, all after damage, all where the folder takes nothing
    assert found["embedded"] == [1, 3, 3]
