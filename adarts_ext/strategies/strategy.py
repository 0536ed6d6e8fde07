"""What a method of the DARTS family does beside training weights and alphas in turn: its hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adarts_ext.genotype import Genotype
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.nn.operation_weights import softmax_weights
from adarts_ext.strategies.stage import Stage


class Strategy(nn.Module):
    """A search strategy; this one, in which no hook does anything, is that of DARTS.

    A strategy overrides the hooks that it needs. It is a module, so that the tensors that it keeps
    (``register_buffer``) follow to the device, are saved in checkpoints and come back with them. On
    a GPU the hooks of a step are part of a CUDA graph: what changes from epoch to epoch is a tensor
    that is filled in place (:meth:`register_number`), random numbers are drawn on the alphas'
    device, and no value of a tensor is read.

    Attributes:
        draws_weights: Whether :meth:`weights` draws at random, so that two passes differ.
        compares_passes: Whether it takes differences of passes, which must not draw then and need
            the precision of float32.
        skips_zeros: Whether a candidate that weighs exactly 0 is left out of the pass, as
            ``skip_zeros`` of :class:`SearchNetwork`: not computed, without statistics or gradient.
            Values of the weights are then read in every pass, and no step is a CUDA graph.
        any_candidates: Whether it searches among any candidates; else the eight of DARTS have to be
            there.
        uses_validation_gradients: Whether :meth:`after_architecture_backward` is to be called, for
            which the step of the alphas computes the gradients of the layers' weights too.
        stages: The stages of a search, one after another, each with a part of its epochs and a
            network of its own.
        carries_over: Whether a stage goes on with the layers' weights, alphas and optimizers of the
            one before, and with its schedules; or begins all of them anew.
        needs_softmax: Whether it is about weights by softmax, and so does not go together with a
            strategy that has others.

    Example:
        >>> class Squared(Strategy):
        ...     def weights(self, alphas):
        ...         return alphas.softmax(-1) ** 2
        >>> strategy = Squared()
        >>> network = SearchNetwork(init_channels=4, layers=3, weights=strategy.weights)
        >>> bool((network.operation_weights().normal < 0.1).all())
        True
    """

    draws_weights: ClassVar[bool] = False
    compares_passes: ClassVar[bool] = False
    skips_zeros: ClassVar[bool] = False
    any_candidates: ClassVar[bool] = True
    uses_validation_gradients: ClassVar[bool] = False
    stages: ClassVar[tuple[Stage, ...]] = (Stage(),)
    carries_over: ClassVar[bool] = False
    needs_softmax: ClassVar[bool] = False

    def register_number(self, name: str, value: float) -> None:
        """Keep a number that :meth:`begin_epoch` sets, as ``self.<name>.fill_(...)``.

        It follows from the epoch, so checkpoints are without it.

        Args:
            name: The attribute, a float64 scalar.
            value: Its value until then.
        """
        self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)

    def weights(self, alphas: Tensor) -> Tensor:
        """Return the weights of the candidates, (edges, 8), in all passes: softmax by default.

        Args:
            alphas: Those of a kind of cell, (edges, 8), or wider by the candidates of one's own.
        """
        return softmax_weights(alphas)

    def keep(self, alphas: Tensor, count: int) -> Tensor:
        """Return which candidates a stage keeps, booleans (edges, 8): those of the largest alphas.

        Args:
            alphas: Those of a kind of cell at the end of the stage before, (edges, 8); those of
                candidates that it did not have are far below the others.
            count: How many an edge keeps, at most.
        """
        kept = torch.zeros_like(alphas, dtype=torch.bool)
        best = alphas.detach().topk(min(count, alphas.shape[-1])).indices
        return kept.scatter(-1, best, True)

    def begin_stage(self, stage: int, warmup_epochs: int) -> None:
        """Set what hangs on the stage, before its network is built.

        Args:
            stage: The place of the stage in :attr:`stages`.
            warmup_epochs: How many epochs, at the start of each stage, leave the alphas as they
                are.
        """

    def skip_dropout(self) -> Tensor | None:
        """Return the share of the values that skip connections drop in training; None for none.

        It is a scalar that :meth:`begin_epoch` fills in place, as those of :meth:`register_number`.
        """

    def begin(self, network: SearchNetwork, parameters: Sequence[Tensor]) -> None:
        """Make the tensors that are as large as something of the network (``register_buffer``).

        Called once a stage, before its first step and before a checkpoint is put back.

        Args:
            network: The supernet.
            parameters: The layers' weights, as the optimizer has them.
        """

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set what hangs on the epoch; called again when a run goes on in the middle of one.

        Args:
            epoch: The epoch that begins, from 1 on; where stages begin anew, in the present one.
            epochs: How many the search has, or the present stage.
        """

    def loss(self, network: SearchNetwork) -> Tensor | None:
        """Return what is added to the validation loss in the step of the alphas, a scalar.

        Args:
            network: The supernet; gradients go to its ``arch_parameters()``.
        """

    def after_architecture_backward(
        self, network: SearchNetwork, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Look at the validation loss's gradients in the layers' weights, before the alphas' step.

        Args:
            network: The supernet, in training mode.
            parameters: The layers' weights, as the optimizer has them.
            gradients: One for each of them.
        """

    def layer_weights(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> OperationWeights | None:
        """Return the candidates' weights for one step of the layers' weights; None for the usual.

        Args:
            network: The supernet, in training mode.
            batch: The images and labels of the step.
            parameters: The layers' weights, as the optimizer has them.
        """

    def after_backward(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> None:
        """Change the gradients of the layers' weights in a step of theirs, in place.

        Args:
            network: The supernet, in training mode; alphas and betas have no gradients here.
            batch: The images and labels of the step.
            parameters: The weights that the optimizer trains, with their gradients.
        """

    def after_weight_step(self, network: SearchNetwork) -> None:
        """Change something after a step of the layers' weights, in place."""

    def after_epoch(self, network: SearchNetwork, epoch: int) -> None:
        """Change something after an epoch, before its genotype is derived."""

    def genotype(self, network: SearchNetwork) -> Genotype:
        """Derive a genotype; by default that of the largest softmaxed alphas."""
        return network.genotype()

    def stop(self, history: Sequence[dict[str, Any]]) -> str | None:
        """Return why the search ends after the last epoch of a history, or None to go on.

        Args:
            history: The records of the epochs so far, as in ``history.json``; nothing but these
                may decide, so that a search that is resumed stops where it stopped.
        """


def overrides(strategy: Strategy | type[Strategy], hook: str) -> bool:
    """Return whether a strategy has a hook, or an attribute, of its own.

    Example:
        >>> overrides(Strategy(), "loss")
        False
    """
    owner = strategy if isinstance(strategy, type) else type(strategy)
    return getattr(owner, hook) is not getattr(Strategy, hook)
