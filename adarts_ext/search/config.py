"""The options of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adarts_ext.arguments import naming
from adarts_ext.genotype import count_nodes
from adarts_ext.nn import EdgeCandidates, SearchNetwork
from adarts_ext.nn.attention import ATTENTIONS
from adarts_ext.nn.backend import BACKENDS
from adarts_ext.nn.candidates import parse_space
from adarts_ext.nn.recompute import MEMORY_MODES
from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.runs.options import RunConfig, check_range, defaults_of, one_of
from adarts_ext.strategies.choice import parse_strategy

NETWORK = defaults_of(SearchNetwork)


@dataclass(frozen=True)
class SearchConfig(RunConfig):
    """How a search is run: what :class:`RunConfig` says, and the following.

    The defaults are those of ADARTS.

    Args:
        strategy: what the search does beside training weights and alphas in turn: names of
            strategies set apart by commas, or FILE.py:CLASS for one of your own, a file that is
            run.
        space: which candidates an edge has: darts (all eight), s1, s2, s3 or s4 (those of R-DARTS),
            or names of candidates set apart by commas, those of your own too (darts,mine).
        init_channels: channels of the first cells, C.
        layers: number of cells, at least 3; those at a third and at two thirds are reduction cells.
            Where the strategy has stages, that of the first.
        steps: nodes of a cell.
        proportion: one of this many channels goes through the candidate operations, K; not used
            where the selection is of all channels. Where the strategy has stages, that of the
            first.
        selection: which channels go through them: attention (the most attended), first (and
            shuffled after it), random, all, first-unshuffled, and attention-random and
            attention-all, where the attention weighs the channels but does not choose them.
        attention: how the attention is made, where the selection has one: cbam (of averages and
            maxima, through a hidden layer, as in ADARTS) or eca (a convolution over the averages).
        edge_normalization: weigh the edges into a node by betas.
        backend: fused (the compiled operators) or reference (plain torch).
        memory: store what the backward pass needs, or recompute it, which is slower and takes
            less memory.
        epochs: passes over the first half of the training images, in all stages together.
        warmup_epochs: how many of the epochs, at the start (of each stage), leave alphas and betas
            as they are.
        batch_size: images in a batch, of either half.
        train_portion: part of the training images that trains the weights; the rest trains alphas
            and betas.
        learning_rate: learning rate of the weights at the start.
        learning_rate_min: learning rate of the weights at the end of the cosine.
        momentum: momentum of the weights' SGD.
        weight_decay: weight decay of the weights' SGD.
        grad_clip: largest norm of the gradient of all weights together.
        arch_learning_rate: learning rate of alphas and betas.
        arch_beta1: decay of the mean gradient in Adam on alphas and betas.
        arch_beta2: decay of the mean squared gradient in Adam on alphas and betas.
        arch_weight_decay: weight decay of Adam on alphas and betas.
        unrolled: take the gradient of alphas and betas at the weights one step ahead (second
            order), not at the present ones (first order); about four times the work.
        augment: shift, and mirror where the data set allows it, the images that train; with
            augmentation imagenet crop and mirror them.
        collapse_skips: how many skip connections in the normal cell are a sign that the search
            collapses, of which a warning tells (2 in DARTS+).
        hessian_every: epochs between two measurements of the largest eigenvalue of the validation
            loss's Hessian in alphas and betas, after the warm-up; 0 for none. Each takes as long as
            up to 40 passes in float64.
        stop_on_collapse: end the search at a sign of a collapse, with the genotype of the last good
            epoch, if there is one.

    Raises:
        ValueError: If a value is out of its range, or two do not go together.

    Example:
        >>> SearchConfig(batch_size=128).learning_rate
        0.025
        >>> SearchConfig(layers=0)
        Traceback (most recent call last):
        ...
        ValueError: layers: expected at least 3, got 0
    """

    kind: ClassVar[str] = "search"
    free_options: ClassVar[tuple[str, ...]] = (*RunConfig.free_options, "memory")

    strategy: str = "adarts"
    space: str = "darts"
    init_channels: int = NETWORK["init_channels"]
    layers: int = NETWORK["layers"]
    steps: int = NETWORK["steps"]
    proportion: int = NETWORK["proportion"]
    selection: str = one_of(NETWORK["selection"], SELECTIONS)
    attention: str = one_of(NETWORK["attention"], ATTENTIONS)
    edge_normalization: bool = NETWORK["edge_normalization"]
    backend: str = one_of(NETWORK["backend"], BACKENDS)
    memory: str = one_of(NETWORK["memory"], MEMORY_MODES)
    epochs: int = 80
    warmup_epochs: int = 15
    batch_size: int = 64
    train_portion: float = 0.5
    learning_rate: float = 0.025
    learning_rate_min: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    grad_clip: float = 5.0
    arch_learning_rate: float = 6e-4
    arch_beta1: float = 0.5
    arch_beta2: float = 0.999
    arch_weight_decay: float = 1e-3
    unrolled: bool = False
    augment: bool = True
    collapse_skips: int = 3
    hessian_every: int = 0
    stop_on_collapse: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_strategy(self.strategy)
        candidates = parse_space(self.space)
        selection = SELECTIONS[self.selection]
        # CBAM's attention has half as many channels within as it weighs.
        by_cbam = selection.attention and self.attention == "cbam"
        check_range("init_channels", self.init_channels, 2 if by_cbam else 1)
        for name in ("steps", "proportion", "epochs", "batch_size", "collapse_skips"):
            check_range(name, getattr(self, name), 1)
        check_range("layers", self.layers, 3)
        if isinstance(candidates, EdgeCandidates):
            nodes = count_nodes(len(candidates.normal))
            if self.steps != nodes:
                message = (
                    f"steps: expected {nodes} with space {self.space}, whose candidates differ "
                    f"from edge to edge, got {self.steps}"
                )
                raise naming(ValueError(message), "steps", "space")
        for name in ("learning_rate", "grad_clip", "arch_learning_rate"):
            check_range(name, getattr(self, name), 0, above=True)
        for name in ("weight_decay", "arch_weight_decay"):
            check_range(name, getattr(self, name), 0)
        check_range("momentum", self.momentum, 0, 1)
        check_range("learning_rate_min", self.learning_rate_min, 0, self.learning_rate)
        for name in ("warmup_epochs", "hessian_every"):
            check_range(name, getattr(self, name), 0)
        for name in ("train_portion", "arch_beta1", "arch_beta2"):
            value = getattr(self, name)
            check_range(name, value, 0, 1, above=name == "train_portion")
            if value == 1:
                raise naming(ValueError(f"{name}: expected less than 1, got {value}"), name)
        if selection.channels != "all" and self.init_channels % self.proportion:
            message = (
                f"proportion: expected a divisor of init_channels {self.init_channels}, got "
                f"{self.proportion}"
            )
            raise naming(ValueError(message), "proportion", "init_channels")
        if self.warmup_epochs >= self.epochs:
            message = (
                f"warmup_epochs: expected less than the {self.epochs} epochs, got "
                f"{self.warmup_epochs}; alphas and betas would never be trained"
            )
            raise naming(ValueError(message), "warmup_epochs")
        if self.unrolled and self.precision != "fp32":
            message = (
                f"precision: expected fp32 with unrolled, got {self.precision}, which cannot tell "
                "apart what is compared there"
            )
            raise naming(ValueError(message), "precision", "unrolled")
        for name in ("unrolled", "hessian_every"):
            if getattr(self, name) and selection.channels == "random":
                message = (
                    f"{name}: expected another selection than {self.selection}, which would give "
                    "each of the passes that are compared a network of its own"
                )
                raise naming(ValueError(message), name, "selection")

    def without_effect(self) -> dict[str, str]:
        """Return the options that others leave without an effect, each with the reason."""
        if SELECTIONS[self.selection].channels == "all" and self.proportion != 1:
            return {"proportion": f"selection {self.selection} takes all channels"}
        if self.attention != "cbam" and not SELECTIONS[self.selection].attention:
            return {"attention": f"selection {self.selection} has no attention"}
        return {}
