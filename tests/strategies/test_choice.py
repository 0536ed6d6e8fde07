"""Strategies by name, together, and out of a file."""

from __future__ import annotations

import pytest
import torch

from adarts_ext.genotype import PRIMITIVES, derive
from adarts_ext.nn import SearchNetwork
from adarts_ext.strategies import STRATEGIES, DrNas, FairDarts, Strategy, make_strategy
from adarts_ext.strategies.choice import parse_strategy
from adarts_ext.strategies.sdarts_rs import onto_simplex

MINE = """\
from adarts_ext.strategies import Strategy

class Mine(Strategy):
    def loss(self, network):
        return network.alphas_normal.square().sum()

class Halved(Strategy):
    def weights(self, alphas):
        return alphas.softmax(-1) / 2

class Other:
    pass
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return str(tmp_path / "mine.py")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SearchNetwork(4, 3, 3, proportion=2, steps=2)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_name_makes_its_strategy(name):
    assert type(make_strategy(name)) is STRATEGIES[name]


def test_one_of_ones_own_is_made_and_combined(mine, network):
    own = make_strategy(f"{mine}:Mine")
    assert isinstance(own, Strategy)
    both = make_strategy(f"adarts, {mine}:Mine,beta-darts")
    both.begin_epoch(3, 5)  # where lambda is 1
    alphas = torch.cat([network.alphas_normal, network.alphas_reduce])
    beta = alphas.exp().sum(1).log().mean()
    expected = own.loss(network) + beta
    torch.testing.assert_close(both.loss(network), expected)
    assert both.layer_weights(network, None, []) is None
    assert both.genotype(network) == network.genotype()


def test_strategies_together_do_what_each_does(mine, network):
    both = make_strategy(f"sdarts-rs,{mine}:Mine")
    normal, reduce = both.layer_weights(network, None, [])
    assert not torch.allclose(normal, network.operation_weights().normal)
    torch.testing.assert_close(reduce.sum(-1), torch.ones(5))
    torch.testing.assert_close(both.loss(network), network.alphas_normal.square().sum())
    halved = make_strategy(f"darts,{mine}:Halved,{mine}:Mine")
    alphas = network.alphas_normal
    torch.testing.assert_close(halved.weights(alphas), alphas.softmax(-1) / 2)
    assert make_strategy(f"gdas,{mine}:Mine").draws_weights
    assert not halved.draws_weights


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nas", "strategy: expected names of adarts, .*, or FILE.py:CLASS, got 'nas'"),
        ("fair-dart", r"got 'fair-dart'; did you mean fair-darts\?"),
        ("", "got ''"),
        ("gdas,", "got ''"),
        ("my.txt:Mine", "got 'my.txt:Mine'"),
        ("my.py:", "got 'my.py:'"),
        ("gdas,gdas", "expected every name once, got gdas twice"),
        ("adarts,pc-darts", "pc-darts is no more than settings, which are those of .*, adarts"),
        ("gdas,darts", "expected darts to be the first or not there"),
    ],
)
def test_a_wrong_name_is_one_clear_error(text, message):
    with pytest.raises(ValueError, match=message):
        parse_strategy(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gdas,drnas", "gdas and drnas both say what the candidates weigh"),
        ("darts,darts-minus,{}:Halved", "darts-minus and .*:Halved both say what the candidates"),
        ("fair-darts,sdarts-rs", "sdarts-rs is about softmaxed weights, and fair-darts has others"),
        ("beta-darts,gdas", "beta-darts is about softmaxed weights, and gdas has others"),
        ("gdas,oles", "oles compares the gradients of all candidates, and gdas leaves out some"),
        ("{}:Others", "expected a class made from .*Strategy, got nothing of that name"),
        ("{}:Other", "expected a class made from .*Strategy, got <class"),
        ("none.py:Mine", "none.py:Mine: no file none.py"),
    ],
)
def test_what_does_not_go_together_is_one_clear_error(text, message, mine):
    with pytest.raises(ValueError, match=f"^strategy: .*{message}") as caught:
        make_strategy(text.format(mine))
    assert caught.value.argument_names == ("strategy",)


def test_a_file_that_fails_says_how(tmp_path):
    (tmp_path / "mine.py").write_text("import nothing_of_that_name")
    with pytest.raises(ValueError, match=r"mine\.py: ModuleNotFoundError: No module named"):
        make_strategy(f"{tmp_path / 'mine.py'}:Mine")


def test_fair_darts_keeps_the_edges_of_the_largest_sigmoids(network):
    with torch.no_grad():
        network.alphas_normal.zero_()
        # By softmax node 3 keeps its first two edges, by sigmoid the last two.
        network.alphas_normal[2:4, PRIMITIVES.index("sep_conv_3x3")] = 2.0
        network.alphas_normal[2, 1:] -= 3.0
        network.alphas_normal[4] = 1.0
        network.betas_normal.zero_()
        network.alphas_normal[0, PRIMITIVES.index("skip_connect")] = 1.0
    assert [source for _, source in network.genotype().normal[2:]] == [1, 0]
    strategy = FairDarts()
    strategy.threshold = 0.7  # sigmoid(1) is 0.73, sigmoid(2) is 0.88
    genotype = strategy.genotype(network)
    assert genotype.normal[2:] == (("sep_conv_3x3", 1), ("max_pool_3x3", 2))
    assert genotype.normal[:2] == (("skip_connect", 0), ("none", 1))  # sigmoid(0) is 0.5
    assert genotype.normal_concat == (2, 3)
    parameters = [network.alphas_normal, network.alphas_reduce]
    parameters += [network.betas_normal, network.betas_reduce]
    assert genotype.reduce == derive(*parameters, activation="sigmoid").reduce  # it stays whole
    assert FairDarts().genotype(network).normal[2:] == (("sep_conv_3x3", 1), ("none", 2))


def test_drnas_ranks_edges_without_none(network):
    with torch.no_grad():
        network.alphas_normal.zero_()
        network.betas_normal.zero_()
        for edge, none in enumerate((0.0, 0.0, 5.0, 0.0, 0.0)):
            network.alphas_normal[edge, 0] = none
            network.alphas_normal[edge, 4] = 1.0 - edge / 10
    before = network.alphas_normal.clone()
    assert [source for _, source in network.genotype().normal[2:]] == [1, 2]
    assert [source for _, source in DrNas().genotype(network).normal[2:]] == [0, 1]
    assert torch.equal(network.alphas_normal, before)


def test_drawn_weights_have_the_means_that_their_distributions_have():
    torch.manual_seed(0)
    alphas = torch.tensor([[0.0, 1.0, -0.5, 0.0, 2.0, 0.3, -1.0, 0.1]]).expand(20_000, 8)
    concentration = torch.where(alphas > 0, alphas + 1, alphas.exp())[:1, 1:]
    drawn = make_strategy("drnas").weights(alphas).mean(0)
    assert drawn[0] == 0
    torch.testing.assert_close(
        drawn[1:], (concentration / concentration.sum())[0], atol=0.01, rtol=0
    )
    gdas = make_strategy("gdas")
    gdas.begin_epoch(5, 5)
    weights = gdas.weights(alphas)
    assert set(weights.flatten().tolist()) == {0.0, 1.0}  # to the bit
    torch.testing.assert_close(weights.mean(0), alphas[0].softmax(-1), atol=0.02, rtol=0)


def test_smoothed_weights_are_on_the_simplex_where_nothing_is_left_of_an_edge():
    weights = torch.tensor([[-0.2, -0.1, -0.3], [2.0, 0.5, -1.0]])
    expected = torch.tensor([[0.0, 1.0, 0.0], [2 / 3, 1 / 3, 0.0]])
    torch.testing.assert_close(onto_simplex(weights), expected)


def test_an_unknown_activation_is_one_clear_error():
    with pytest.raises(ValueError, match="activation must be one of softmax, sigmoid, got 'relu'"):
        derive(torch.zeros(2, 8), torch.zeros(2, 8), activation="relu")
    large = torch.full((2, 8), 800.0)
    assert derive(large, -large, activation="sigmoid").normal == (
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 1),
    )
