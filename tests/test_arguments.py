"""Errors name arguments in the caller's words."""

from __future__ import annotations

import pytest

from adarts_ext.arguments import as_option, in_words, naming, suggestion


@pytest.mark.parametrize(
    ("message", "names", "expected"),
    [
        ("batch_size: got 3", ["batch_size"], "--batch-size: got 3"),
        ("a/seed/x: seed 3", ["seed"], "a/seed/x: --seed 3"),
        ("seed-1: begun with seed 3", ["seed"], "seed-1: begun with --seed 3"),
        ("my_seed, seed, seed", ["seed"], "my_seed, --seed, seed"),
        ("to resume, resume=True", ["resume=True"], "to resume, --resume"),
        ("data_dir must, image_size", ["image_size", "data_dir"], "--data-dir must, --image-size"),
        ("batch_size: got 3", [], "batch_size: got 3"),
        ("batch_size: got 3", ["seed"], "batch_size: got 3"),
    ],
)
def test_names_are_told_as_options(message, names, expected):
    for kind in (ValueError, FileNotFoundError):
        error = naming(kind(message), *names)
        assert str(error) == message
        assert in_words(error, as_option) == expected


def test_only_what_is_near_is_suggested():
    known = ["epochs", "seed", "layers"]
    assert suggestion("epoch", known) == "; did you mean epochs?"
    assert suggestion("nonsense", known) == ""
