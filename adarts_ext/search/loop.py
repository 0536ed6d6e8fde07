"""The search: alphas and betas on one half of the training images, the weights on the other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from adarts_ext.data import BatchLoader, ImageDataset
from adarts_ext.genotype import Genotype
from adarts_ext.runs import processes
from adarts_ext.runs.clock import sum_up_times, time_record
from adarts_ext.runs.data import Given, config_of_given, run_data
from adarts_ext.runs.data_record import check_same_data
from adarts_ext.runs.device import peak_memory, resolve_device
from adarts_ext.runs.epochs import Epochs, begin_run, epochs_left
from adarts_ext.runs.folder import (
    GENOTYPE_FILE,
    GENOTYPES_FOLDER,
    check_run_folder,
    open_run_folder,
    sole_run,
)
from adarts_ext.runs.metrics import evaluate_network
from adarts_ext.runs.schedule import cosine_learning_rate, set_learning_rate
from adarts_ext.runs.training import TrainingEpoch
from adarts_ext.search.architecture import curves
from adarts_ext.search.build import make_hessian_loader, say_kernels
from adarts_ext.search.collapse import CollapseMonitor
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.hessian import largest_hessian_eigenvalue
from adarts_ext.search.passes import Passes
from adarts_ext.search.result import SearchResult
from adarts_ext.search.stage_state import next_stage, prepare, stage_of_checkpoint
from adarts_ext.search.stages import Stages, epoch_of
from adarts_ext.search.state import SearchState
from adarts_ext.strategies import Strategy


def search(
    config: SearchConfig,
    run_folder: str | Path,
    resume: bool = False,
    dataset: Given | None = None,
) -> SearchResult:
    """Search for the cells of a network.

    The training images are divided in two halves. Every step trains alphas and betas on a batch
    of the second half, and then the weights on a batch of the first (DARTS, arXiv 1806.09055,
    algorithm 1). After every epoch the supernet's accuracy on the second half is measured, and a
    :class:`CollapseMonitor` looks at alphas and betas; with ``config.stop_on_collapse`` it may end
    the search.

    The folder gets ``config.json``, TensorBoard's event files and, after every epoch,
    ``checkpoint.pt``, ``history.json`` and ``genotypes/epoch-0001.json`` and so on; at the end
    ``genotype.json`` and ``result.json``. Within an epoch there is a checkpoint every
    ``config.save_every`` minutes, and in the main thread Ctrl-C and SIGTERM let the step end and
    save one before they stop the search; a second one stops it at once. A run that was interrupted
    goes on from its last checkpoint, and on the CPU ends with the very same weights, alphas and
    betas. Several processes that torchrun starts make one search: see docs/processes.md. What does
    not fit the data is refused before the folder is made.

    Args:
        config: How to search.
        run_folder: The folder of the run.
        resume: Go on with the run that the folder holds, instead of starting one.
        dataset: Data of one's own, in place of those that ``config`` names: an
            :class:`~adarts_ext.data.ImageDataset`, or a map-style data set of (image, label) pairs
            (see :func:`adarts_ext.data.image_dataset`), or a tuple of two, to train and to test on,
            of which a search takes the first. To resume, give the same again.

    Returns:
        What ``result.json`` holds, and the ``genotype`` that was found.

    Raises:
        ValueError: If the options do not fit the data or the run in the folder, another run is at
            work in it, a file is damaged, or the search diverged.
        TypeError: If ``dataset`` is none of these.
        OSError: If the data are not there, a file cannot be written, or another process of the run
            has ended (ConnectionError).
        KeyboardInterrupt, SystemExit: After the save, on Ctrl-C and on SIGTERM (with status 143).
    """
    config = config_of_given(config, dataset)
    folder = check_run(config, run_folder, resume)
    with processes.joined(resolve_device(config.device)):
        return search_on(run_data(config, dataset), config, folder, resume)


def check_run(config: SearchConfig, run_folder: str | Path, resume: bool) -> Path:
    """Refuse a folder that is not for this search, before its data are loaded; return it.

    Raises:
        ValueError: If the folder holds another run, or with ``resume`` one of other options.
        OSError: If it holds no run to go on with, or cannot be written to.
    """
    folder = check_run_folder(run_folder, resume)
    if resume:
        config.check_continues(folder)
    return folder


def search_on(
    data: ImageDataset,
    config: SearchConfig,
    folder: Path,
    resume: bool,
    other_epochs: tuple[int, int] = (0, 0),
) -> SearchResult:
    """Do what :func:`search` does, on data that are loaded, in one of several searches perhaps.

    Args:
        data: What :func:`adarts_ext.runs.data.run_data` gave.
        config: How to search, as :func:`adarts_ext.runs.data.config_of_given` gave it.
        folder: The run's folder, which :func:`check_run` has passed.
        resume: Go on with the run that the folder holds.
        other_epochs: Epochs of the searches before this one and of those that follow it, which
            the progress shown includes.
    """
    if resume:
        check_same_data(folder, data)
    state, evaluation_loader = prepare(config, data)
    open_run_folder(folder, resume)
    with sole_run(folder):
        return _search(config, folder, resume, data, state, evaluation_loader, other_epochs)


def _search(
    config: SearchConfig,
    folder: Path,
    resume: bool,
    dataset: ImageDataset,
    state: SearchState,
    evaluation_loader: BatchLoader,
    other_epochs: tuple[int, int],
) -> SearchResult:
    strategy, device = state.strategy, evaluation_loader.device
    stages = Stages(config, strategy)
    if resume:
        state = stage_of_checkpoint(state, stages, folder, dataset)
    history, under_way = begin_run(config, folder, resume, dataset, device, state)
    if processes.is_first():
        (folder / GENOTYPES_FOLDER).mkdir(exist_ok=True)
        say_kernels(state.network)
    steps, passes = len(state.train_loader), Passes(state, config, device)
    stage = stages.of(epoch_of(history, under_way))
    hessian_loader = make_hessian_loader(config, dataset, device) if config.hessian_every else None
    monitor = CollapseMonitor(config.collapse_skips, config.warmup_epochs, history)
    with (
        ExitStack() as unchanging,
        epochs_left(state, config, folder, steps, history, under_way, other_epochs) as epochs,
    ):
        unchanging.enter_context(state.network.unchanging())
        for training in () if ended(config, monitor, strategy, history) else epochs:
            if stages.of(training.epoch) != stage:
                stage = stages.of(training.epoch)
                state = epochs.state = next_stage(state, stages, stage, dataset)
                passes = Passes(state, config, device)
                unchanging.close()
                unchanging.enter_context(state.network.unchanging())
            network = state.network
            schedule = stages.schedule(training.epoch)
            learning_rate = cosine_learning_rate(
                config.learning_rate, config.learning_rate_min, *schedule
            )
            set_learning_rate(state.weight_optimizer, learning_rate)
            strategy.begin_epoch(*schedule)
            warming_up = stages.warming_up(training.epoch)
            train_epoch(state, config, training, epochs, passes, warming_up)
            processes.check_same(network.arch_parameters(), "alphas and betas")
            processes.take_statistics_of_first(network)
            validation_loss, validation_accuracy = evaluate_network(
                network, epochs.watched(evaluation_loader, training), passes.forward
            )
            eigenvalue = None
            if measures_hessian(config, training.epoch):
                eigenvalue = largest_hessian_eigenvalue(network, hessian_loader.next())
            epochs.clock.lap("evaluation")
            strategy.after_epoch(network, training.epoch)
            genotype = strategy.genotype(network)
            if processes.is_first():
                genotype.save(epoch_genotype_file(folder, training.epoch))
            entry = {
                "epoch": training.epoch,
                **({"stage": stage + 1} if stages.count > 1 else {}),
                "learning_rate": learning_rate,
                **training.means(),
                "arch_loss": training.other_loss(),
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                **monitor.observe(network, eigenvalue, genotype, not warming_up),
                **time_record(epochs.clock.take(), steps, steps * config.batch_size),
                "peak_memory_bytes": peak_memory(device),
            }
            epochs.end(
                entry,
                curves(entry, network.columns),
                summary(entry, config),
                entry["collapse"] or (),
            )
            if ended(config, monitor, strategy, history):
                break

    network = state.network
    genotype, genotype_epoch = strategy.genotype(network), len(history)
    if must_stop(config, monitor):
        genotype_epoch = monitor.last_good_epoch
        file = epoch_genotype_file(folder, genotype_epoch)
        genotype = processes.from_first(lambda: Genotype.load(file))
    result = SearchResult(
        folder=folder,
        genotype=genotype,
        dataset=dataset.name,
        seed=config.seed,
        epochs=len(history),
        genotype_epoch=genotype_epoch,
        collapse=history[-1].get("collapse") or [],
        stopped=strategy.stop(history),
        parameters=sum(weight.numel() for weight in network.parameters()),
        validation_loss=history[-1]["validation_loss"],
        validation_accuracy=history[-1]["validation_accuracy"],
        **sum_up_times(history),
    )
    if processes.is_first():
        result.genotype.save(folder / GENOTYPE_FILE)
        result.save()
    return result


def epoch_genotype_file(folder: Path, epoch: int) -> Path:
    """Return the file with the genotype after an epoch, counted from 1."""
    return folder / GENOTYPES_FOLDER / f"epoch-{epoch:04d}.json"


def measures_hessian(config: SearchConfig, epoch: int) -> bool:
    """Return whether the Hessian is measured after an epoch: none of the warm-up."""
    every = config.hessian_every
    return every > 0 and epoch > config.warmup_epochs and epoch % every == 0


def must_stop(config: SearchConfig, monitor: CollapseMonitor) -> bool:
    """Return whether the search ends with the last good genotype; without one it goes on."""
    return config.stop_on_collapse and monitor.collapsed and monitor.last_good_epoch is not None


def ended(
    config: SearchConfig,
    monitor: CollapseMonitor,
    strategy: Strategy,
    history: list[dict[str, Any]],
) -> bool:
    """Return whether a search ends here, because it collapses or its strategy says so."""
    return must_stop(config, monitor) or bool(history and strategy.stop(history))


def train_epoch(
    state: SearchState,
    config: SearchConfig,
    training: TrainingEpoch,
    epochs: Epochs,
    passes: Passes,
    warming_up: bool,
) -> None:
    """Make the steps that are left of an epoch; of one that warms up the alphas stay as they are.

    Raises:
        ValueError: If a loss is not finite.
        KeyboardInterrupt, SystemExit, OSError: As :meth:`Epochs.pause` says.
    """
    clock = epochs.clock
    state.network.train()
    while training.steps_done < training.steps:
        images, labels = state.train_loader.next()
        arch_loss = None
        clock.lap("data")
        if not warming_up:
            validation_batch = state.validation_loader.next()
            clock.lap("data")
            train_batch = (images, labels) if config.unrolled else ()
            arch_loss = passes.train_architecture(*train_batch, *validation_batch)
            clock.lap("architecture step")
        loss, logits = passes.train_weights(images, labels)
        training.step(loss, logits, labels, arch_loss)
        clock.lap("weight step")
        epochs.pause(training)


def summary(entry: dict[str, Any], config: SearchConfig) -> str:
    """Describe an epoch in one line."""
    skips = f"{entry['skip_connections_normal']} + {entry['skip_connections_reduce']}"
    stage = f", stage {entry['stage']}" if "stage" in entry else ""
    return (
        f"seed {config.seed}, epoch {entry['epoch']}/{config.epochs}{stage}: "
        f"train loss {entry['train_loss']:.4f}, train accuracy {entry['train_accuracy']:.4f}, "
        f"validation accuracy {entry['validation_accuracy']:.4f}, "
        f"skip connections {skips}"
    )
