"""Runs of several seeds on several GPUs and under Slurm; these are made up, the processes not."""

from __future__ import annotations

import builtins
import contextlib
import os
import pickletools
import signal
import threading
import time

import pytest
import torch
from fake_slurm import write_programs
from image_folder import write_images
from run_state import assert_same_run

from adarts_ext.cli import main
from adarts_ext.files import read_json
from adarts_ext.genotype import ADARTS_V1
from adarts_ext.retrain import RetrainConfig, retrain_seeds
from adarts_ext.runs import devices, slurm
from adarts_ext.runs.devices import open_devices
from adarts_ext.runs.share import describe_share
from adarts_ext.runs.slurm import parse_slurm
from adarts_ext.search import SearchConfig, search_seeds

pytestmark = pytest.mark.slow

SMALL = {"dataset": "folder", "init_channels": 4, "layers": 3, "batch_size": 8}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return str(write_images(tmp_path_factory.mktemp("images"), 8, 2))


@pytest.fixture
def config(images):
    options = {"steps": 2, "backend": "reference", "epochs": 1, "warmup_epochs": 0}
    return SearchConfig(data_dir=images, **options, **SMALL)


@pytest.fixture
def two_gpus(monkeypatch):
    """Let torch count two GPUs, which the processes on them do not find."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "SECONDS_BETWEEN_LOOKS", 0.01)


@pytest.fixture
def fake_slurm(monkeypatch, tmp_path):
    """Programs that stand for Slurm's; give their folder."""
    programs = tmp_path / "programs"
    write_programs(programs)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 0.05)
    yield programs
    processes = programs / "processes"
    for process in processes.read_text().split() if processes.is_file() else ():
        with contextlib.suppress(ProcessLookupError):  # as most have ended
            os.killpg(int(process), signal.SIGKILL)


def test_which_gpus_are_open(monkeypatch, two_gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert open_devices("auto") == open_devices("cuda") == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,9")  # of which torch finds two
    assert open_devices("auto") == ["5", "7"]
    assert open_devices("cpu") == open_devices("cuda:1") == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert open_devices("auto") == []


def test_each_gpu_makes_a_share(config, tmp_path, two_gpus, capfd, monkeypatch):
    summary = search_seeds(config, tmp_path / "shared", [0, 1, 2])
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("seed ")]
    assert sorted(line.partition(":")[0] for line in lines) == [
        f"seed {seed}, epoch 1/1" for seed in (0, 1, 2)
    ]
    assert summary.seeds == (0, 1, 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    alone = search_seeds(config, tmp_path / "alone", [0, 1, 2])
    assert [run.genotype for run in summary.runs] == [run.genotype for run in alone.runs]
    for seed in (0, 1, 2):
        name = f"seed-{seed}"
        assert_same_run(tmp_path / "shared" / name, tmp_path / "alone" / name)


def test_a_share_that_fails_is_told_and_the_others_end(images, tmp_path, two_gpus, capfd):
    config = RetrainConfig(data_dir=images, epochs=1, learning_rate=1e30, **SMALL)
    with pytest.raises(ValueError, match="2 of 2 processes failed, as they said; go on by resume"):
        retrain_seeds(ADARTS_V1, config, tmp_path / "runs", [0, 1, 2])
    said = capfd.readouterr().err
    for seed in (0, 1, 2):
        assert f"seed {seed}: the training diverged in epoch 1" in said
    assert "error: 2 of 2 runs diverged: seed 0; seed 2" in said


def signal_when(path, number):
    """Send this process a signal once a file is there."""

    def watch():
        while not path.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def options(config):
    names = ("dataset", "data_dir", "backend", "init_channels", "layers", "steps", "batch_size")
    return [f"--{name.replace('_', '-')}={getattr(config, name)}" for name in names]


def test_sigterm_ends_all_shares(config, tmp_path, two_gpus, capfd):
    out = tmp_path / "runs"
    arguments = [*options(config), "--epochs=10000", "--seeds=0..1", "--out", str(out)]
    signal_when(out / "seed-1" / "checkpoint.pt", signal.SIGTERM)
    assert main(["search", *arguments]) == 143
    error = capfd.readouterr().err
    assert f"{out}: go on from its last checkpoint by: adarts search" in error
    assert "Traceback" not in error


def test_seeds_are_an_array_of_jobs(config, tmp_path, fake_slurm):
    folder = tmp_path / "runs"
    asked = {"partition": "gpu", "time": 90}
    summary = search_seeds(config, folder, [0, 1], slurm=asked)
    assert summary.seeds == (0, 1)
    script = (fake_slurm / "submitted.sh").read_text()
    for line in ("partition=gpu", "time=90", "gpus-per-node=1", "job-name=adarts", "array=0-1%2"):
        assert f"#SBATCH --{line}\n" in script
    again = search_seeds(config, folder, [0, 1], resume=True, slurm=asked)
    assert again == summary
    assert len((fake_slurm / "processes").read_text().split()) == 2
    alone = search_seeds(config, tmp_path / "alone", [0, 1])
    assert [run.genotype for run in summary.runs] == [run.genotype for run in alone.runs]


def test_a_job_that_fails_is_told(images, tmp_path, fake_slurm):
    config = RetrainConfig(data_dir=images, device="cpu", epochs=1, learning_rate=1e30, **SMALL)
    with pytest.raises(ValueError, match=r"no result from seeds 3, 4; what their jobs said is in"):
        retrain_seeds(ADARTS_V1, config, tmp_path / "runs", [3, 4], slurm={})
    said = "".join(path.read_text() for path in (tmp_path / "runs" / "slurm").glob("*.err"))
    for seed in (3, 4):
        assert f"seed {seed}: the training diverged in epoch 1" in said
    assert "gpus-per-node" not in (fake_slurm / "submitted.sh").read_text()


def test_what_is_pickled_for_a_job_names_a_file_only(config, tmp_path, fake_slurm):
    """Options, genotype and all else that is ours are in that file, as JSON."""
    search_seeds(config, tmp_path / "runs", [0, 1], slurm={})
    pickles = sorted((tmp_path / "runs" / "slurm").glob("*_submitted.pkl"))
    assert len(pickles) == 2
    for seed, path in enumerate(pickles):
        ours = {
            text for _, text, _ in pickletools.genops(path.read_bytes()) if isinstance(text, str)
        }
        modules = {text for text in ours if text.startswith("adarts_ext")}
        assert modules == {"adarts_ext.runs.slurm"}
        assert str(tmp_path / "runs" / "slurm" / f"seed-{seed}.json") in ours
        assert config.data_dir not in ours


def test_ctrl_c_cancels_the_jobs(config, tmp_path, fake_slurm, capfd):
    out = tmp_path / "runs"
    arguments = [*options(config), "--epochs=10000", "--seeds=0..1", "--out", str(out)]
    signal_when(out / "seed-1" / "checkpoint.pt", signal.SIGINT)
    assert main(["search", *arguments, "--slurm", "partition=gpu"]) == 130
    assert f"{out}: go on from its last checkpoint by: adarts search" in capfd.readouterr().err
    assert (fake_slurm / "cancelled").read_text().split() == ["77_0", "77_1"]


def test_a_job_goes_on_where_its_time_was_up(config, tmp_path, fake_slurm):
    from adarts_ext.runs.experiment import SeedRun
    from adarts_ext.search import loop
    from adarts_ext.search.seeds import SEARCH

    share = tmp_path / "share.json"
    share.write_text(describe_share(SEARCH, [SeedRun(config, tmp_path / "run", resume=False)]))
    job = slurm.SeedJob(str(share))
    job()
    before = read_json(tmp_path / "run" / "history.json")
    called = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_epoch", lambda *_: called.append(1))
        job.checkpoint().function()
    assert not called
    assert read_json(tmp_path / "run" / "history.json") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slurm", "partition"], "--slurm: expected name=value set apart by commas, got 'part"),
        (["--slurm", "a=1", "--seeds", "3"], "--slurm: expected none with one seed"),
    ],
)
def test_what_is_wrong_with_slurm(arguments, message, capsys, tmp_path):
    status = main(["search", *arguments, "--out", str(tmp_path / "run")])
    assert status in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_jobs_that_slurm_does_not_take(config, tmp_path, fake_slurm, capsys):
    (fake_slurm / "sbatch").write_text(
        "#!/usr/bin/env bash\necho 'sbatch: error: invalid partition specified: tpu' >&2; exit 1\n"
    )
    arguments = ["search", *options(config), "--seeds", "0,1", "--out", str(tmp_path / "run")]
    arguments += ["--epochs", "1", "--warmup-epochs", "0"]
    assert main([*arguments, "--slurm", "partition=tpu"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("adarts search: error: --slurm: the jobs were not taken: ")
    assert "sbatch: error: invalid partition specified: tpu" in line


def test_slurm_that_is_not_there(config, tmp_path, fake_slurm, monkeypatch, capsys):
    arguments = ["search", *options(config), "--seeds", "0,1", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--slurm", "colour=red"]) == 1
    assert "--slurm: Unavailable parameter(s): ['colour']" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nowhere")
    assert main([*arguments, "--slurm", "partition=gpu"]) == 1
    assert '--slurm: Could not detect "srun"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_submitit_that_is_not_there(config, tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "submitit":
            raise ModuleNotFoundError("No module named 'submitit'", name="submitit")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    arguments = ["search", *options(config), "--seeds", "0,1", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--slurm", "partition=gpu"]) == 1
    message = "submitit is not installed; install it by: pip install submitit"
    assert message in capsys.readouterr().err


def test_numbers_are_numbers():
    assert parse_slurm("time=60, mem=8GB") == {"time": 60, "mem": "8GB"}
