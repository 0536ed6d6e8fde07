from __future__ import annotations

import dataclasses

import pytest

from adarts_ext.nn import DerivedNetwork, SearchNetwork
from adarts_ext.retrain import RetrainConfig
from adarts_ext.runs.options import defaults_of
from adarts_ext.search import SearchConfig

CONFIGS = [(SearchConfig, SearchNetwork), (RetrainConfig, DerivedNetwork)]


@pytest.mark.parametrize(("config", "network"), CONFIGS)
def test_the_defaults_are_those_of_the_network(config, network):
    ours = dataclasses.asdict(config())
    by_data = {"num_classes", "in_channels"}
    by_strategy = {"weights", "skip_zeros", "skip_dropout"}
    given_otherwise = by_data | by_strategy | {"candidates"}  # the last by the space
    for name, value in defaults_of(network).items():
        assert name in given_otherwise or ours[name] == value


@pytest.mark.parametrize(("config", "network"), CONFIGS)
def test_options_cannot_be_changed_once_they_are_checked(config, network):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().epochs = 0


@pytest.mark.parametrize(("config", "network"), CONFIGS)
def test_a_run_may_go_on_elsewhere(config, network, tmp_path):
    config(dataset="cifar10", data_dir="here", device="cuda").save(tmp_path)
    moved = config(dataset="cifar10", data_dir="there", device="cpu", download=True)
    moved.check_continues(tmp_path)
    with pytest.raises(ValueError, match=r"begun with batch_size .*, cannot go on with 7"):
        dataclasses.replace(moved, batch_size=7).check_continues(tmp_path)
