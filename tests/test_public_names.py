"""The public names, stable from the first release: they are there, and are called as they were."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

# Parameters with their defaults, as far as they are promised; more may follow.
CALLS = {
    "adarts_ext.accelerate": "model, memory='store', verify=False",
    "adarts_ext.acceleration_report": "model",
    "adarts_ext.restore": "model",
    "adarts_ext.graphed": "function, pool=None",
    "adarts_ext.ops.channel_attention": "x, w1, w2",
    "adarts_ext.ops.select_channels": "scores, k",
    "adarts_ext.ops.gather_channels": "x, index, scale=None",
    "adarts_ext.ops.scatter_channels": "x, index, update, scale=None, stride=1",
    "adarts_ext.ops.mixed_sum": "inputs, weights",
    "adarts_ext.ops.search_cell": "states, weights, alphas, betas, layout, index=None, norms=None",
    "adarts_ext.ops.preprocess_cell": "x, weights, batch, stride, norms=None, eps=1e-05",
    "adarts_ext.ops.CellLayout": "batch, stride, selected, hidden, nodes, sources, targets",
    "adarts_ext.nn.ImageBlocks": "blocks, batch",
    "adarts_ext.nn.ChannelAttention": "channels, reduction=2",
    "adarts_ext.nn.PartialMixedOp": "channels, stride, proportion=4, selection='attention'",
    "adarts_ext.nn.SearchNetwork": "init_channels=16, num_classes=10, layers=8, proportion=4, "
    "selection='attention', edge_normalization=True, backend='fused', memory='store'",
    "adarts_ext.nn.OperationWeights": "normal, reduce",
    "adarts_ext.nn.EdgeCandidates": "normal, reduce",
    "adarts_ext.nn.register_candidate": "name, builder",
    "adarts_ext.nn.load_candidates": "path",
    "adarts_ext.strategies.make_strategy": "text",
    "adarts_ext.nn.DerivedNetwork": "genotype, init_channels=36, num_classes=10, layers=20, "
    "auxiliary=True",
    "adarts_ext.genotype.Genotype": "normal, normal_concat, reduce, reduce_concat",
    "adarts_ext.genotype.derive": "alphas_normal, alphas_reduce, betas_normal=None, "
    "betas_reduce=None",
    "adarts_ext.genotype.derive_from_scores": "scores_normal, scores_reduce",
    "adarts_ext.derivation.operation_strengths": "network, batches",
    "adarts_ext.derivation.exact_strengths": "network, batches",
    "adarts_ext.derivation.measure": "network, batches, weights=None",
    "adarts_ext.derivation.Perturbation": "network, seed=0",
    "adarts_ext.derivation.derive_run": "run_folder, criterion, seed=0, tuning_epochs=5",
    "adarts_ext.search.search": "config, run_folder, resume=False, dataset=None",
    "adarts_ext.retrain.retrain": "genotype, config, run_folder, resume=False, dataset=None",
    "adarts_ext.search.search_seeds": "config, run_folder, seeds, resume=False, dataset=None",
    "adarts_ext.retrain.retrain_seeds": "genotype, config, run_folder, seeds, resume=False",
    "adarts_ext.search.CollapseMonitor": "collapse_skips=3, warmup_epochs=0, history=()",
    "adarts_ext.search.largest_hessian_eigenvalue": "network, validation_batch",
    "adarts_ext.retrain.derive_within": "alphas_normal, alphas_reduce, betas_normal=None, "
    "betas_reduce=None",
    "adarts_ext.data.image_dataset": "train, test=None, flip=False",
    "adarts_ext.export.InputImages": "image_size, mean, std, class_names=()",
    "adarts_ext.export.export_network": "network, images, to, path",
    "adarts_ext.export.export_run": "run_folder, to, path",
    "adarts_ext.nasbench301.from_nasbench301": "config",
    "adarts_ext.nasbench301.to_nasbench301": "genotype",
}
REFERENCE = ("channel_attention", "select_channels", "gather_channels", "scatter_channels")
CALLS |= {
    f"adarts_ext.reference.{name}": CALLS[f"adarts_ext.ops.{name}"]
    for name in (*REFERENCE, "mixed_sum")
}
CALLS |= {
    f"adarts_ext.compat.{method}.{name}": first
    for method in ("darts", "pc_darts", "adarts")
    for name, first in {"MixedOp": "C, stride", "Cell": "steps, multiplier", "Network": "C"}.items()
}
HOOKS = {
    "weights": "alphas",
    "loss": "network",
    "layer_weights": "network, batch, parameters",
    "after_backward": "network, batch, parameters",
    "after_weight_step": "network",
    "begin": "network, parameters",
    "begin_epoch": "epoch, epochs",
    "after_architecture_backward": "network, parameters, gradients",
    "after_epoch": "network, epoch",
    "genotype": "network",
    "stop": "history",
}
NAMES = ("PRIMITIVES", "ADARTS_V1", "ADARTS_V2", "PC_DARTS")
COMMANDS = (
    *("search", "retrain", "evaluate", "compare", "export", "derive"),
    *("profile", "draw", "bench", "info"),
)


def get(path: str):
    module, name = path.rsplit(".", 1)
    return getattr(import_module(module), name)


@pytest.mark.parametrize("path", CALLS)
def test_it_is_called_as_it_was(path):
    expected = CALLS[path].split(", ")
    parameters = inspect.signature(get(path)).parameters.values()
    actual = [str(parameter.replace(annotation=parameter.empty)) for parameter in parameters]
    assert actual[: len(expected)] == expected


@pytest.mark.parametrize("hook", HOOKS)
def test_the_hooks_of_a_strategy(hook):
    parameters = inspect.signature(getattr(get("adarts_ext.strategies.Strategy"), hook)).parameters
    assert ", ".join(parameters) == f"self, {HOOKS[hook]}"


@pytest.mark.parametrize("name", NAMES)
def test_genotypes(name):
    assert get(f"adarts_ext.genotype.{name}")


@pytest.mark.parametrize("method", ["arch_parameters", "genotype", "forward"])
def test_what_a_supernet_is_asked_for(method):
    assert callable(getattr(get("adarts_ext.nn.SearchNetwork"), method))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, capsys):
    assert get("adarts_ext.cli.main")([command, "--help"]) == 0
    assert command in capsys.readouterr().out
