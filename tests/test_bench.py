"""Guards the arithmetic of the latency report: what p50 and p95 mean, and its JSON."""

import math

from assistant.bench import Distribution


def test_percentiles_by_nearest_rank() -> None:
    found = Distribution(tuple(float(ms) for ms in range(1, 21)))
    assert (found.n, found.p50_ms, found.p95_ms, found.worst_ms) == (20, 10.5, 19.0, 20.0)


def test_one_turn_and_none() -> None:
    assert Distribution((700.4,)).as_json() == {"p50_ms": 700, "p95_ms": 700, "n": 1}
    assert math.isnan(Distribution(()).p50_ms)
