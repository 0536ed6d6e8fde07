"""Compares the bare launchers with numpy: ``python -m emulator.launcher_checks``.

Arguments are the path of the module and the operator. Needs no torch, so that it runs under the
sanitizers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product

import numpy as np

from emulator.faults import load_module
from emulator.launcher_arrays import LAYOUTS, SHAPES, Launchers, close, same


def mixed_sum(all_of: Launchers) -> None:
    for count, size, misaligned in product([1, 3, 4, 7, 16], [0, 1, 5, 1000, 4099], [0, 1]):
        inputs = [all_of.numbers(size + misaligned)[misaligned:] for _ in range(count)]
        weights, grad = all_of.numbers(count), all_of.numbers(size + misaligned)[misaligned:]
        rest = [None] * (16 - count)
        out = all_of.unset(size + misaligned)[misaligned:]
        all_of.run("mixed_sum", *inputs, *rest, weights, count, size, False, out)
        total = sum(w * x for w, x in zip(weights, inputs, strict=True))
        same("mixed_sum", out, total)
        all_of.run("mixed_sum", *inputs, *rest, weights, count, size, True, out)
        same("mixed_sum added", out, 2 * total)

        parts = all_of.run("mixed_sum_parts", size)
        needs = [i % 3 != 1 for i in range(count)]
        grads = [all_of.unset(size) if need else None for need in needs]
        grad_weights, partial = all_of.unset(count), all_of.unset(count, parts)
        fields = grad, *inputs, *rest, weights, count, size, *grads, *rest
        all_of.run("mixed_sum_backward", *fields, grad_weights, partial)
        for i, x in enumerate(inputs):
            same("mixed_sum weight", grad_weights[i], (grad * x).sum())
            if needs[i]:
                same("mixed_sum input", grads[i], weights[i] * grad)
        fields = grad, *[None] * 16, weights, count, size, *grads, *rest
        all_of.run("mixed_sum_backward", *fields, None, None)


def select_channels(all_of: Launchers) -> None:
    for batch, channels in [*product([0, 1, 5, 70], [1, 3, 33, 256, 300, 1100]), (2, 3000)]:
        scores = all_of.numbers(batch, channels)
        for k in {1, channels} if channels > 1000 else {0, 1, channels // 4, channels}:
            out = all_of.unset(k, dtype="int64")
            all_of.run("select_channels", scores, batch, channels, k, out)
            same("select_channels", out, np.argsort(-scores.sum(0), kind="stable")[:k])


def gather_channels(all_of: Launchers) -> None:
    for shape, layout, scaled in product(SHAPES, LAYOUTS, [False, True]):
        n, c, h, w = shape
        for k in (0, c // 2, c + 3):
            x, scale, index = all_of.map(shape, layout), all_of.numbers(n, c), all_of.index(c, k)
            factor = scale if scaled else np.ones_like(scale)
            given = scale if scaled else None
            grad = all_of.map((n, k, h, w), layout)
            out = all_of.unset_map((n, k, h, w), layout)
            all_of.run("gather_channels", x, given, index, n, c, k, h * w, out)
            same("gather_channels", out, (x * factor[:, :, None, None])[:, index])

            grad_x, grad_scale = all_of.unset_map(shape, layout), all_of.unset(n, c)
            needed = grad_x, grad_scale if scaled else None
            fields = grad, x if scaled else None, given, index, n, c, k, h * w, *needed
            parts = all_of.run("gather_channels_parts", *fields, None)
            partial = all_of.unset(n, c, parts) if scaled and parts > 1 else None
            all_of.run("gather_channels_backward", *fields, partial)
            spread = np.zeros(shape)
            np.add.at(spread, (slice(None), index), grad)
            same("gather_channels x", grad_x, spread * factor[:, :, None, None])
            if scaled:
                same("gather_channels scale", grad_scale, (spread * x).sum((2, 3)))


def scatter_channels(all_of: Launchers) -> None:
    for shape, layout, scaled, stride in product(SHAPES, LAYOUTS, [False, True], [1, 2]):
        n, c, h, w = shape
        large = n, c, h * stride, w * stride
        for k in (0, c // 2, c):
            x, scale = all_of.map(large, layout), all_of.numbers(n, c)
            index, update = all_of.index(c, k, distinct=True), all_of.map((n, k, h, w), layout)
            sizes = n, c, k, h, w, stride
            given = scale if scaled else None
            factor = (scale if scaled else np.ones_like(scale))[:, :, None, None]
            windows = x.reshape(n, c, h, stride, w, stride).transpose(0, 1, 2, 4, 3, 5)
            windows = windows.reshape(n, c, h, w, stride * stride)
            winner = (windows * factor[..., None]).argmax(4)[..., None]
            element = np.take_along_axis(windows, winner, 4)[..., 0]
            expected = element * factor
            expected[:, index] = update
            out = all_of.unset_map(shape, layout)
            all_of.run("scatter_channels", sizes, x, given, index, update, out)
            same("scatter_channels", out, expected)

            grad = all_of.map(shape, layout)
            passed = grad.copy()
            passed[:, index] = 0
            grad_x, grad_update = (
                all_of.unset_map(large, layout),
                all_of.unset_map((n, k, h, w), layout),
            )
            grad_scale = all_of.unset(n, c) if scaled else None
            fields = sizes, grad, x, given, index, grad_x, grad_update, grad_scale
            parts = all_of.run("scatter_channels_parts", *fields, None)
            partial = all_of.unset(n, c, parts) if scaled and parts > 1 else None
            all_of.run("scatter_channels_backward", *fields, partial)
            spread = np.zeros(windows.shape)
            np.put_along_axis(spread, winner, (passed * factor)[..., None], 4)
            spread = spread.reshape(n, c, h, w, stride, stride).transpose(0, 1, 2, 4, 3, 5)
            same("scatter_channels x", grad_x, spread.reshape(large))
            same("scatter_channels update", grad_update, grad[:, index])
            if scaled:
                same("scatter_channels scale", grad_scale, (passed * element).sum((2, 3)))


def channel_attention(all_of: Launchers) -> None:
    shapes = [*SHAPES, (1, 1, 64, 65), (3, 70, 2, 3), (40, 3, 2, 1)]
    for shape, layout in product(shapes, LAYOUTS):
        _, c, h, w = shape
        hidden = max(c // 2, 1)
        x = all_of.map(shape, layout)
        x *= h * w  # whole averages
        saved = attention_forward(all_of, x, all_of.numbers(hidden, c), all_of.numbers(c, hidden))
        for needs in ((True, True, True), (True, False, False), (False, False, True)):
            attention_backward(all_of, x, *saved, layout, needs)


def attention_forward(
    all_of: Launchers, x: np.ndarray, w1: np.ndarray, w2: np.ndarray
) -> list[np.ndarray]:
    n, c, h, w = x.shape
    hidden = len(w1)
    pool = x, n, c, h * w
    parts = all_of.run("pool_parts", *pool, None, None, None)
    sums, maxima = all_of.unset(n, c, parts), all_of.unset(n, c, parts)
    positions = all_of.unset(n, c, parts, dtype="int64")
    all_of.run("pool_planes", *pool, sums, maxima, positions)
    average, maximum = all_of.unset(n, c), all_of.unset(n, c)
    position = all_of.unset(n, c, dtype="int64")
    hidden_average, hidden_maximum = all_of.unset(n, hidden), all_of.unset(n, hidden)
    scores = all_of.unset(n, c)
    layers = w1, w2, c, hidden
    results = average, maximum, position, hidden_average, hidden_maximum, scores
    all_of.run("channel_attention", sums, maxima, positions, parts, n, h * w, *layers, *results)
    planes = x.reshape(n, c, h * w)
    same("average", average, planes.mean(2))
    same("maximum", maximum, planes.max(2, initial=-np.inf) if n else maximum)
    same("position", position, planes.argmax(2) if n else position)
    same("hidden_average", hidden_average, np.maximum(average @ w1.T, 0))
    same("hidden_maximum", hidden_maximum, np.maximum(maximum @ w1.T, 0))
    logits = (hidden_average + hidden_maximum).astype(np.float64) @ w2.T
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-logits))
    close("scores", scores, expected, expected, 1)
    return [w1, w2, *results]


def attention_backward(
    all_of: Launchers,
    x: np.ndarray,
    w1: np.ndarray,
    w2: np.ndarray,
    average: np.ndarray,
    maximum: np.ndarray,
    position: np.ndarray,
    hidden_average: np.ndarray,
    hidden_maximum: np.ndarray,
    scores: np.ndarray,
    layout: str,
    needs: tuple[bool, bool, bool],
) -> None:
    n, c, h, w = x.shape
    hidden = len(w1)
    needs_x, needs_w1, needs_w2 = needs
    scores = all_of.numbers(n, c) / 8 + 0.5  # any: its products are exact
    grad = all_of.numbers(n, c)
    logits = all_of.unset(n, c) if needs_w2 else None
    units = [all_of.unset(n, hidden) if needs_w1 else None for _ in range(2)]
    pooled = [all_of.unset(n, c) if needs_x else None for _ in range(2)]
    saved = n, c, hidden, hidden_average, hidden_maximum
    all_of.run("channel_attention_backward", grad, scores, w1, w2, *saved, logits, *units, *pooled)
    grad_w1 = all_of.unset(hidden, c) if needs_w1 else None
    grad_w2 = all_of.unset(c, hidden) if needs_w2 else None
    first = units[0], average, units[1], maximum, hidden, c, grad_w1
    second = logits, hidden_average, logits, hidden_maximum, c, hidden, grad_w2
    all_of.run("weight_gradients", first, second, n)

    expected_logits = (grad * scores * (1 - scores)).astype(np.float64)
    g = expected_logits @ w2
    expected_units = [g * (hidden_average > 0), g * (hidden_maximum > 0)]
    if needs_w2:
        same("grad_logits", logits, expected_logits)
        same("grad_w2", grad_w2, expected_logits.T @ (hidden_average + hidden_maximum))
    if needs_w1:
        same("grad_hidden_average", units[0], expected_units[0])
        same("grad_hidden_maximum", units[1], expected_units[1])
        expected = expected_units[0].T @ average + expected_units[1].T @ maximum
        same("grad_w1", grad_w1, expected)
    if needs_x:
        grad_x = all_of.unset_map(x.shape, layout)
        all_of.run("unpool_planes", *pooled, position, n, c, h * w, grad_x)
        expected = [unit @ w1 for unit in expected_units]
        same("grad_average", pooled[0], expected[0])
        same("grad_maximum", pooled[1], expected[1])
        share = np.arange(h * w) == position[:, :, None]
        spread = expected[0][:, :, None] / (h * w) + share * expected[1][:, :, None]
        size = np.abs(expected[0][:, :, None]) / (h * w) + share * np.abs(expected[1][:, :, None])
        close("grad_x", grad_x.reshape(n, c, h * w), spread, size, 2)


CHECKS: dict[str, Callable[[Launchers], None]] = {
    check.__name__: check
    for check in (mixed_sum, select_channels, gather_channels, scatter_channels, channel_attention)
}

if __name__ == "__main__":
    for dtype in ("float32", "float64"):
        CHECKS[sys.argv[2]](Launchers(load_module(sys.argv[1]), dtype))
