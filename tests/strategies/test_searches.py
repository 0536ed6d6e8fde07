"""Whole searches with every strategy: they end, go on to the same bits, and stop."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run, copied_in, interrupted_at, interrupted_in
from several import start
from small_runs import small_search
from torch import distributed

from adarts_ext.cli import main
from adarts_ext.files import read_json
from adarts_ext.genotype import PRIMITIVES, Genotype
from adarts_ext.nn.candidates import parse_space
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.search import PRESETS, SearchConfig, loop, search
from adarts_ext.strategies import STRATEGIES, Strategy

MINE = '''\
import torch
from adarts_ext.strategies import Strategy

class Mine(Strategy):
    """Counts the steps, moves alphas after every epoch, and has enough after two epochs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))

    def after_weight_step(self, network):
        self.steps += 1

    def after_epoch(self, network, epoch):
        with torch.no_grad():
            network.alphas_normal[:, 3 + epoch] += self.steps

    def stop(self, history):
        return f"{len(history)} epochs are enough" if len(history) >= 2 else None
'''


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 16, 2)


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path / 'mine.py'}:Mine"


def small(images, name, **changes) -> SearchConfig:
    """The published settings of a strategy, on a small network; of one node, if not otherwise."""
    tiny = dataclasses.asdict(small_search(images, learning_rate=0.05, arch_learning_rate=0.05))
    sizes = ("dataset", "data_dir", "device", "init_channels", "layers", "batch_size")
    times = ("epochs", "warmup_epochs", "learning_rate", "arch_learning_rate")
    kept = {one: tiny[one] for one in (*sizes, *times)} | {"steps": 1}
    kept["proportion"] = min(PRESETS[name].proportion, 2)
    if name.startswith("drnas"):  # whose second stage has a quarter of the channels
        kept |= {"proportion": 6, "init_channels": 12}
    if name == "p-darts":  # which has three stages
        kept["epochs"] = 3
    return dataclasses.replace(PRESETS[name], **(kept | changes))


@pytest.mark.parametrize("name", [*STRATEGIES][3:])  # after the three whose tests are elsewhere
def test_a_search_ends_and_goes_on_to_the_very_same_bits(name, images, tmp_path):
    config = small(images, name)
    with copied_in(2, loop, tmp_path / "whole", tmp_path / "again"):
        whole = search(config, tmp_path / "whole")
    torch.manual_seed(99)
    again = search(config, tmp_path / "again", resume=True)
    assert again.genotype == whole.genotype
    assert whole.epochs == config.epochs
    assert_same_run(tmp_path / "again", tmp_path / "whole")


@pytest.mark.parametrize("space", ["s2", "none, max_pool_3x3,dil_conv_5x5"])
def test_a_search_among_few_candidates(space, images, tmp_path):
    config = small(images, "darts", strategy="gdas", space=space)
    whole = search(config, tmp_path / "whole")
    candidates = parse_space(space)
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "again")
    search(config, tmp_path / "again", resume=True)
    assert_same_run(tmp_path / "again", tmp_path / "whole")
    edges = (*whole.genotype.normal, *whole.genotype.reduce)
    assert {operation for operation, _ in edges} <= set(candidates)
    for entry in read_history(tmp_path / "whole"):
        weights = torch.tensor(entry["alphas_normal"])
        assert (weights > 0).sum(-1).eq(len(candidates)).all()
        assert torch.allclose(weights.sum(-1), torch.ones(len(weights)))


@pytest.mark.parametrize("name", ["drnas", "fair-darts", "sdarts-rs,beta-darts"])
def test_strategies_about_all_candidates_refuse_a_space(name, images, tmp_path):
    config = small(images, "darts", strategy=name, space="s3")
    with pytest.raises(ValueError, match=f"space: expected darts with strategy {name}, .* got s3"):
        search(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_strategy_is_that_of_the_search(images, tmp_path):
    losses = {}
    for name in ("darts", "beta-darts", "sdarts-rs,beta-darts", "gdas"):
        config = small(images, "darts", strategy=name)
        search(config, tmp_path / name)
        losses[name] = [
            (entry["arch_loss"], entry["train_loss"])
            for entry in read_json(tmp_path / name / "history.json")
        ]
    assert losses["beta-darts"][0] == losses["darts"][0]  # where lambda is 0
    assert losses["beta-darts"][1][0] > losses["darts"][1][0] + 0.5  # half the mean, about log 8
    assert losses["sdarts-rs,beta-darts"][0] != losses["darts"][0]
    assert losses["gdas"][0] != losses["darts"][0]


def test_ones_own_keeps_what_it_has_and_stops_the_search(mine, images, tmp_path):
    config = small(images, "darts", strategy=mine, epochs=4)
    whole = search(config, tmp_path / "whole")
    assert whole.stopped == "2 epochs are enough"
    assert whole.epochs == whole.genotype_epoch == 2
    steps = load_checkpoint(tmp_path / "whole" / "checkpoint.pt")["strategy"]["steps"]
    assert steps == 2 * 2  # 32 images, half of them, in batches of 8
    alphas = [torch.tensor(entry["alphas_normal"]) for entry in read_history(tmp_path / "whole")]
    assert (alphas[0].argmax(-1) == 4).all()  # moved by 2
    assert (alphas[1].argmax(-1) == 5).all()  # moved by 4

    with interrupted_at(2, 1), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "again")
    under_way = load_checkpoint(tmp_path / "again" / "checkpoint.pt")["under_way"]
    assert (under_way["epoch"], under_way["step"]) == (2, 1)
    search(config, tmp_path / "again", resume=True)
    assert_same_run(tmp_path / "again", tmp_path / "whole")
    assert search(config, tmp_path / "again", resume=True).stopped == "2 epochs are enough"


def read_history(folder):
    return read_json(folder / "history.json")


def test_early_stop_stops_at_two_skip_connections(images, tmp_path, monkeypatch):
    config = small(images, "early-stop", epochs=3, steps=2, hessian_every=0)

    def collapsed(strategy, network, epoch):
        with torch.no_grad():
            network.alphas_normal[: 5 if epoch == 1 else 2, 5 - epoch] += 9 * epoch

    monkeypatch.setattr(Strategy, "after_epoch", collapsed)
    result = search(config, tmp_path / "run")
    assert (result.epochs, result.genotype_epoch, result.stopped) == (2, 1, None)
    assert result.collapse == ["2 of the normal cell's 4 operations are skip connections"]


def test_the_monitor_looks_at_the_genotype_of_the_strategy(images, tmp_path, monkeypatch):
    skips = Genotype(
        (("skip_connect", 0), ("skip_connect", 1)) * 2,
        (2, 3),
        *[(("sep_conv_3x3", 0), ("sep_conv_3x3", 1)) * 2, (2, 3)],
    )
    monkeypatch.setattr(STRATEGIES["fair-darts"], "genotype", lambda *_: skips)
    result = search(small(images, "fair-darts", epochs=1, steps=2), tmp_path / "run")
    assert result.genotype == skips
    assert read_history(tmp_path / "run")[0]["skip_connections_normal"] == 4


@pytest.mark.parametrize("option", [{"unrolled": True}, {"hessian_every": 1}])
@pytest.mark.parametrize("name", ["gdas", "drnas-kl", "p-darts"])
def test_passes_that_draw_are_not_compared(name, option, images, tmp_path):
    (option_name,) = option
    with pytest.raises(ValueError, match=f"{option_name}: expected another strategy than {name}"):
        search(small(images, name, **option), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, "precision: expected fp32 with strategy lambda-darts"),
        ({"selection": "random"}, "strategy: expected another selection than random with lambda"),
    ],
)
def test_passes_that_are_compared_must_be_comparable(options, message, images, tmp_path):
    with pytest.raises(ValueError, match=message):
        search(small(images, "lambda-darts", **options), tmp_path / "run")


def test_the_second_order_takes_the_loss_of_the_strategy_too(images, tmp_path):
    for name in ("darts", "fair-darts"):
        search(small(images, name, unrolled=True, epochs=1), tmp_path / name)
    first, second = (read_history(tmp_path / name)[0] for name in ("darts", "fair-darts"))
    assert first["arch_loss"] != second["arch_loss"]


def share(rank, folder, config):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", store, rank=rank, world_size=2)
    search(config, folder / "two")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_several_processes_draw_the_same_weights(images, tmp_path):
    config = small(images, "gdas", sync_batch_norm=True)
    start(share, (tmp_path, config), 2)
    search(config, tmp_path / "one")
    for two, one in zip(*(read_history(tmp_path / name) for name in ("two", "one")), strict=True):
        for name in ("train_loss", "arch_loss", "validation_loss"):
            assert two[name] == pytest.approx(one[name], rel=1e-3)


def options(images):
    config = small_search(images)
    names = ("init_channels", "layers", "steps", "batch_size", "epochs", "warmup_epochs")
    given = [part for one in names for part in (f"--{one.replace('_', '-')}", getattr(config, one))]
    return list(map(str, [*given, "--dataset", "folder", "--data-dir", images, "--device", "cpu"]))


def test_a_name_on_the_command_line_takes_its_settings(images, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["search", "--strategy", "fair-darts", *options(images), "--out", run]) == 0
    config = SearchConfig.load(tmp_path / "run")
    assert config.arch_beta1 == 0.9
    assert config.selection == "all"
    budget = ["--max-params", "3M"]
    assert main(["derive", run, *budget]) == 1
    error = capsys.readouterr().err
    assert "--max-params: expected none, as strategy fair-darts of" in error


@pytest.mark.parametrize("strategy", ["fair-darts", "drnas"])
def test_by_magnitude_the_genotype_is_the_strategys(strategy, images, tmp_path):
    """As in the authors' code: of sigmoids above a threshold, and of a softmax without none."""
    network = small(images, strategy, steps=2)
    search(network, tmp_path / "run")
    sizes = ["--init-channels", "4", "--layers", "3", "--image-size", "16"]
    for epoch in (1, 2):
        out = tmp_path / f"{epoch}.json"
        options = ["--epoch", str(epoch), "--out", str(out)]
        assert main(["derive", str(tmp_path / "run"), *options, *sizes]) == 0
        found = Genotype.load(tmp_path / "run" / "genotypes" / f"epoch-000{epoch}.json")
        assert Genotype.load(out) == found
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt", "search")["network"]
    for cell in ("normal", "reduce"):
        alphas = state[f"alphas_{cell}"][:, 1:].double()
        weights = alphas.sigmoid() if strategy == "fair-darts" else alphas.softmax(-1)
        best = weights.max(-1)
        edges = getattr(found, cell)
        for node in range(2):
            rows = best.values[2 * node : 2 * node + 2 + node]
            sources = rows.argsort(descending=True)[:2].tolist()
            kept = [source for op, source in edges[2 * node : 2 * node + 2]]
            assert kept == sources
            for op, source in edges[2 * node : 2 * node + 2]:
                assert op == PRIMITIVES[1 + int(best.indices[2 * node + source])]


def test_the_example_of_the_page_searches(images, tmp_path):
    page = Path(__file__, "../../../docs/strategies.md").resolve().read_text()
    (tmp_path / "sharp.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    strategy = f"darts,{tmp_path / 'sharp.py'}:Sharp"
    search(small(images, "darts", strategy=strategy), tmp_path / "run")
    search(small(images, "darts"), tmp_path / "darts")
    sharp, darts = (read_history(tmp_path / name)[0]["arch_loss"] for name in ("run", "darts"))
    assert darts + 0.1 < sharp < darts + 0.3  # 0.1 log 8, at first


def test_a_preset_beats_the_settings_of_a_strategy(images, tmp_path):
    given = ["--strategy", "gdas", "--preset", "pc-darts", "--proportion", "2"]
    assert main(["search", *given, *options(images), "--out", str(tmp_path / "run")]) == 0
    config = SearchConfig.load(tmp_path / "run")
    assert (config.strategy, config.selection) == ("gdas", "first")


def test_a_file_of_ones_own_is_run_only_if_the_command_line_names_it(
    mine, images, tmp_path, capsys
):
    run = str(tmp_path / "run")
    (tmp_path / "options.yaml").write_text(f"strategy: {mine}")
    fields = ["--proportion", "2", *options(images)]
    config = ["--config", str(tmp_path / "options.yaml")]
    refused = "is a program, which is run only if the command line names it"
    assert main(["search", *config, *fields, "--out", run]) == 2
    assert refused in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    given = ["--strategy", mine]
    assert main(["search", *given, *config, *fields, "--epochs", "1", "--out", run]) == 0
    capsys.readouterr()
    assert main(["search", "--resume", "--out", run]) == 2
    assert refused in capsys.readouterr().err
    assert main(["search", "--resume", "--out", run, *given]) == 0
