"""Each strategy against its equations, written out once more in plain torch, over three steps.

The search's own steps on the fused cells, in float64; beside them plain torch on the plain network,
which is given its weights.
"""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch.distributions import Dirichlet
from torch.distributions.kl import kl_divergence
from torch.nn.functional import cross_entropy, elu

from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.nn.candidates import EdgeCandidates
from adarts_ext.search import SearchConfig
from adarts_ext.search.build import make_optimizers
from adarts_ext.search.passes import Passes
from adarts_ext.search.state import SearchState
from adarts_ext.strategies import STRATEGIES, Strategy, make_strategy

EPOCH, EPOCHS = 3, 5  # at which the schedules are looked at
STEPS = 3
SKIP = 3


class Plain:
    """DARTS: the weights in all passes, in a step of the layers, and what is added to the loss."""

    skips = False  # candidates that weigh 0

    def begin(self, network):
        """Change the network."""

    def before_pass(self):
        """Draw what a pass needs."""

    def weights(self, alphas):
        return torch.exp(alphas) / torch.exp(alphas).sum(1, keepdim=True)

    def moved(self, network, weights, batch):
        return weights

    def loss(self, alphas):
        return 0.0

    def see(self, network):
        """Look at the layers' gradients of the validation loss."""

    def gradients(self, network, weights, batch):
        """What is added to the gradients of the layers."""
        return [0.0] * len(list(network.parameters()))

    def after_step(self, network):
        """Change the layers after their step."""


class DartsMinus(Plain):
    def weights(self, alphas):
        weights = super().weights(alphas)
        return torch.cat(
            [weights[:, :SKIP], weights[:, SKIP : SKIP + 1] + 3 / 5, weights[:, SKIP + 1 :]], 1
        )


class FairDarts(Plain):
    def weights(self, alphas):
        weights = 1 / (1 + torch.exp(-alphas))
        return weights  # none gives zeros, whatever it weighs

    def loss(self, alphas):
        weights = 1 / (1 + torch.exp(-torch.cat(alphas)[:, 1:]))
        return -10 * ((weights - 0.5) ** 2).sum() / weights.numel()


EPSILON = 0.03 + 0.27 * 2 / 5


def simplex(weights):
    clipped = [[min(max(value, 0.0), 1.0) for value in row] for row in weights.tolist()]
    return torch.tensor(
        [[value / math.fsum(row) for value in row] for row in clipped], dtype=weights.dtype
    )


class SdartsRs(Plain):
    def moved(self, network, weights, batch):
        return [simplex(one + EPSILON * torch.empty_like(one).uniform_(-1, 1)) for one in weights]


class SdartsAdv(SdartsRs):
    def moved(self, network, weights, batch):
        def loss(some):
            return cross_entropy(network(batch[0], OperationWeights(*some)), batch[1])

        network.eval()
        worst = super().moved(network, weights, batch)
        for _ in range(7):
            leaves = [one.requires_grad_() for one in worst]
            slopes = torch.autograd.grad(loss(leaves), leaves)
            worst = []
            for one, leaf, slope in zip(weights, leaves, slopes, strict=True):
                there = leaf.detach() + 2 * EPSILON / 7 * torch.sign(slope)
                lowest, highest = one - EPSILON, one + EPSILON
                worst.append(simplex(torch.minimum(torch.maximum(there, lowest), highest)))
        found = weights if loss(weights) > loss(worst) else worst
        network.train()
        return found


class Gdas(Plain):
    skips = True

    def weights(self, alphas):
        temperature = 10 - 9.9 * 2 / 4
        gumbel = -torch.log(torch.empty_like(alphas).exponential_())
        logits = (torch.log(super().weights(alphas)) + gumbel) / temperature
        chances = super().weights(logits)
        rows = []
        for row in chances:  # the code of GDAS computes nothing but the candidate that is drawn
            best = int(row.argmax())
            rows.append(
                torch.stack(
                    [
                        1 - value.detach() + value if place == best else torch.zeros_like(value)
                        for place, value in enumerate(row)
                    ]
                )
            )
        return torch.stack(rows)


class DrNas(Plain):
    def weights(self, alphas):
        drawn = Dirichlet(elu(alphas[:, 1:]) + 1).rsample()
        return torch.cat([torch.zeros(len(alphas), 1, dtype=drawn.dtype), drawn], 1)


class DrNasSecondStage(DrNas):
    """In its code what is taken out has the alpha 0, and the rest is divided by its sum."""

    def weights(self, alphas):
        here = (alphas[:, 1:] > -5000).double()
        drawn = Dirichlet(elu(alphas[:, 1:].clamp_min(-5000) * here) + 1).rsample() * here
        weights = drawn / drawn.sum(1, keepdim=True)
        return torch.cat([torch.zeros(len(alphas), 1, dtype=drawn.dtype), weights], 1)


class DrNasKl(DrNas):
    def loss(self, alphas):
        both = [elu(one[:, 1:]) + 1 for one in alphas]
        return 1e-3 * sum(
            kl_divergence(Dirichlet(row), Dirichlet(torch.ones_like(row)))
            for one in both
            for row in one
        )


class PDarts(Plain):
    """In epoch 3 of 5, all of which train the alphas, of the first stage."""

    rate = round(0.1 * math.exp(-0.4) * 2**32) / 2**32

    def begin(self, network):
        """Put dropout behind the skip connections of stride 1, as the code of P-DARTS does."""
        self.skips = []
        for cell in network.cells:
            for edge in cell._ops:
                if edge.stride == 1:
                    edge._ops[SKIP] = Dropout(self.rate)
                self.skips.append(edge._ops[SKIP])

    def before_pass(self):
        drawn = torch.randint(-(2**63), 2**63 - 1, (len(self.skips),)).tolist()
        for skip, number in zip(self.skips, drawn, strict=True):
            skip.number = number


class Dropout(torch.nn.Module):
    """Divides by the share that is kept, and drops by the hash that the kernels have."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        images, channels, height, width = x.shape
        assert images <= 16  # one block
        low, high = self.number % 2**32, (self.number >> 32) % 2**32
        kept = [
            self.hash(((c * height + y) * width + k) * 16 + n, low, high) >= self.rate * 2**32
            for n in range(images)
            for c in range(channels)
            for y in range(height)
            for k in range(width)
        ]
        return x * torch.tensor(kept).view(x.shape) / (1 - self.rate)

    @staticmethod
    def hash(value, low, high):
        value ^= low
        value ^= value >> 16
        value = (value * 0x7FEB352D + high) % 2**32
        value ^= value >> 15
        value = value * 0x846CA68B % 2**32
        return value ^ (value >> 16)


class BetaDarts(Plain):
    def loss(self, alphas):
        rows = torch.cat(alphas)
        return (0.5 * 2) * torch.log(torch.exp(rows).sum(1)).sum() / len(rows)


class LambdaDarts(Plain):
    def gradients(self, network, weights, batch):
        normal, reduce = weights
        cells = normal.expand(2, -1, -1).clone().requires_grad_()
        slopes = torch.autograd.grad(self.train(network, cells, reduce, batch), cells)[0]
        slopes.requires_grad_()
        cosine = torch.cosine_similarity(slopes[0].flatten(), slopes[1].flatten(), dim=0)
        (along,) = torch.autograd.grad(cosine, slopes)
        shift = 1e-4 * along / along.norm()
        ahead, behind = (
            torch.autograd.grad(
                self.train(network, cells + sign * shift, reduce, batch), network.parameters()
            )
            for sign in (1, -1)
        )
        scale = 0.125 * 2 / 4 * along.norm() / 2e-4
        return [-scale * (a - b) for a, b in zip(ahead, behind, strict=True)]

    def train(self, network, normal, reduce, batch):
        return cross_entropy(network(batch[0], OperationWeights(normal, reduce)), batch[1])


class Oles(Plain):
    """With two steps for 20, and 0.03, which some of these cosines are above, for 0.4."""

    def __init__(self):
        self.cosines, self.frozen, self.step = {}, {}, 0

    def operations(self, network):
        """The weights of each candidate that is a convolution, by its place."""
        for c, cell in enumerate(network.cells):
            for e, edge in enumerate(cell._ops):
                for k in (4, 5, 6, 7):
                    yield (c, e, k), list(edge._ops[k].parameters())

    def vectors(self, network):
        return {
            place: torch.cat([one.grad.flatten() for one in weights])
            for place, weights in self.operations(network)
        }

    def see(self, network):
        self.validation = self.vectors(network)

    def gradients(self, network, weights, batch):
        self.step += 1
        for place, gradient in self.vectors(network).items():
            other = self.validation[place]
            cosine = (gradient @ other) / (gradient.norm() * other.norm())
            self.cosines.setdefault(place, []).append(cosine.item())
        for place, own in self.operations(network):
            if self.step % 2 == 0 and sum(self.cosines[place][-2:]) / 2 < 0.03:
                self.frozen.setdefault(place, [one.detach().clone() for one in own])
        stopped = {
            id(one)
            for place, own in self.operations(network)
            if place in self.frozen
            for one in own
        }
        return [-one.grad if id(one) in stopped else 0.0 for one in network.parameters()]

    def after_step(self, network):
        with torch.no_grad():
            for place, own in self.operations(network):
                for one, value in zip(own, self.frozen.get(place, own), strict=True):
                    one.copy_(value)


FORMULAS = {
    **dict.fromkeys(["adarts", "pc-darts", "darts", "early-stop"], Plain),
    "darts-minus": DartsMinus,
    "fair-darts": FairDarts,
    "sdarts-rs": SdartsRs,
    "sdarts-adv": SdartsAdv,
    "gdas": Gdas,
    "drnas": DrNas,
    "drnas-kl": DrNasKl,
    "p-darts": PDarts,
    "beta-darts": BetaDarts,
    "lambda-darts": LambdaDarts,
    "oles": Oles,
}


def make_network(**options) -> SearchNetwork:
    torch.manual_seed(0)
    network = SearchNetwork(
        4, 3, 4, selection="all", edge_normalization=False, in_channels=1, steps=1, **options
    )
    with torch.no_grad():  # so that the candidates differ
        for alphas in network.arch_parameters():
            alphas.mul_(500)
    return network.double()


def make_batches():
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        images = torch.randn(2, 8, 1, 16, 16, generator=generator, dtype=torch.float64)
        yield [(one, torch.arange(8) % 3) for one in images]


# Float32 holds these rates exactly.
CONFIG = SearchConfig(learning_rate=2**-4, arch_learning_rate=2**-7)


def ours(name: str, candidates=PRIMITIVES) -> list[float]:
    strategy = make_strategy(name)
    network = make_network(
        weights=strategy.weights,
        skip_zeros=strategy.skips_zeros,
        candidates=candidates,
        skip_dropout=strategy.skip_dropout(),
    )
    assert all(cell.is_fused for cell in network.cells)
    strategy.begin_epoch(EPOCH, EPOCHS)
    optimizers = make_optimizers(CONFIG, network.flat_parameters(), network.arch_parameters())
    passes = Passes(
        SearchState(network, *optimizers, None, None, strategy), CONFIG, torch.device("cpu")
    )
    losses = []
    for step, (train, validation) in enumerate(make_batches()):
        torch.manual_seed(step)
        losses.append(passes.train_architecture(*validation).item())
        losses.append(passes.train_weights(*train)[0].item())
    return [
        *losses,
        *(one for alphas in network.arch_parameters() for one in alphas.detach().flatten()),
    ]


@functools.cache
def plain(formula: type[Plain], candidates=PRIMITIVES) -> list[float]:
    formula = formula()
    network = make_network(backend="reference", candidates=candidates)
    formula.begin(network)
    alphas, weights = network.arch_parameters(), list(network.parameters())
    sgd = torch.optim.SGD(weights, lr=2**-4, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alphas, lr=2**-7, betas=(0.5, 0.999), weight_decay=1e-3)
    losses = []
    for step, (train, validation) in enumerate(make_batches()):
        torch.manual_seed(step)
        formula.before_pass()
        logits = network(validation[0], OperationWeights(*map(formula.weights, alphas)))
        loss = cross_entropy(logits, validation[1]) + formula.loss(alphas)
        adam.zero_grad()
        sgd.zero_grad()
        loss.backward()
        formula.see(network)
        adam.step()
        losses.append(loss.item())
        made = [formula.weights(one).detach() for one in alphas]
        made = formula.moved(network, made, train)
        formula.before_pass()
        loss = cross_entropy(network(train[0], OperationWeights(*made)), train[1])
        sgd.zero_grad()
        loss.backward()
        extras = formula.gradients(network, made, train)
        for (name, weight), extra in zip(network.named_parameters(), extras, strict=True):
            weight.grad += extra
            if formula.skips and "._ops." in name and not weight.grad.any():
                weight.grad = None  # of a candidate that is not computed
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        sgd.step()
        formula.after_step(network)
        losses.append(loss.item())
    return [*losses, *(one for part in alphas for one in part.detach().flatten())]


def test_there_is_a_formula_of_every_strategy():
    assert FORMULAS.keys() == STRATEGIES.keys()


@pytest.mark.parametrize("name", [name for name in STRATEGIES if STRATEGIES[name] is not Strategy])
def test_three_steps_are_those_of_the_equations(name, monkeypatch):
    monkeypatch.setattr(STRATEGIES["oles"], "steps", 2)
    monkeypatch.setattr(STRATEGIES["oles"], "threshold", 0.03)
    found, expected, darts = (
        torch.tensor(numbers, dtype=torch.float64)
        for numbers in (ours(name), plain(FORMULAS[name]), plain(Plain))
    )
    assert expected[: 2 * STEPS].isfinite().all()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(expected, darts, rtol=0, atol=1e-6)  # the formula matters


def test_the_second_stage_of_drnas_is_that_of_its_code():
    kept = [PRIMITIVES[1:5], PRIMITIVES[3:7]], [PRIMITIVES[4:], (*PRIMITIVES[1:4], PRIMITIVES[7])]
    candidates = EdgeCandidates(*(tuple(one) for one in kept))
    found, expected = ours("drnas", candidates), plain(DrNasSecondStage, candidates)
    there = torch.tensor(expected, dtype=torch.float64)
    there[there < -5000] = 0  # where nothing is; weight decay moves it
    found = torch.tensor(found, dtype=torch.float64)
    torch.testing.assert_close(found[found > -5000], there[there != 0], rtol=0, atol=1e-12)
