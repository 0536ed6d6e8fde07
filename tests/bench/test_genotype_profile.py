from __future__ import annotations

import pytest

from adarts_ext.bench.genotype_profile import ProfileConfig, profile_genotype
from adarts_ext.cli import main
from adarts_ext.genotype import ADARTS_V1

TINY = {"init_channels": 4, "layers": 3, "image_size": 16, "batch_size": 2, "rounds": 2}


def test_it_measures_what_it_says():
    found = profile_genotype(ADARTS_V1, ProfileConfig(**TINY, device="cpu"))
    assert list(found["seconds"]) == ["one image", "a batch", "a training pass"]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found["seconds"].values())
    twice = profile_genotype(ADARTS_V1, ProfileConfig(**TINY | {"batch_size": 4}, device="cpu"))
    assert 1.9 < twice["kept_bytes"] / found["kept_bytes"] <= 2
    assert twice["macs"] == found["macs"]  # of one image


def test_the_size_is_that_of_the_published_network(capsys):
    options = ["--batch-size", "1", "--rounds", "1", "--image-size", "16", "--device", "cpu"]
    assert main(["profile", "PC_DARTS", *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3.635 M parameters; ")
    assert "a training pass: " in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "30"], "--image-size: expected a multiple of 4, at least 16, got 30"),
        (
            ["--stem", "imagenet"],
            "--image-size: expected a multiple of 32, at least 64 with stem imagenet, got 32",
        ),
        (["--num-classes", "1"], "--num-classes: expected at least 2, got 1"),
        (["--rounds", "0"], "--rounds: expected at least 1, got 0"),
    ],
)
def test_wrong_options_are_one_line(options, message, capsys):
    assert main(["profile", "ADARTS_V1", *options]) == 2
    assert capsys.readouterr().err == f"adarts profile: error: {message}\n"
