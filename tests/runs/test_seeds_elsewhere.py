"""Runs of several seeds on several GPUs and under Slurm, both of which are made up.

So are the processes where it is not what they make that is tested: a real one takes seconds.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickletools
import shutil
import signal
import sys
from dataclasses import replace

import pytest
import torch
from fake_slurm import write_programs
from image_folder import write_images
from programs import write_program
from run_state import assert_same_run, interrupted_at, signal_when
from small_runs import TWO_NODES
from submitit import SlurmJob

from adarts_ext.cli import main
from adarts_ext.files import read_json
from adarts_ext.retrain import RetrainConfig, retrain_seeds
from adarts_ext.retrain.seeds import training_of
from adarts_ext.runs import devices, share, slurm
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.devices import open_devices
from adarts_ext.runs.experiment import SeedRun
from adarts_ext.runs.share import describe_share
from adarts_ext.runs.slurm import parse_slurm
from adarts_ext.search import SearchConfig, loop, search_seeds
from adarts_ext.search.seeds import SEARCH

pytestmark = pytest.mark.slow

SMALL = {"dataset": "folder", "init_channels": 4, "layers": 3, "batch_size": 8}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return str(write_images(tmp_path_factory.mktemp("images"), 8, 2))


@pytest.fixture
def config(images):
    options = {"steps": 1, "epochs": 1, "warmup_epochs": 0}
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
    SlurmJob.watcher.clear()  # it knows jobs of this number from the test before
    yield programs
    processes = programs / "processes"
    for process in processes.read_text().split() if processes.is_file() else ():
        with contextlib.suppress(ProcessLookupError):  # as most have ended
            os.killpg(int(process), signal.SIGKILL)


@pytest.fixture
def python(monkeypatch, tmp_path):
    """Let processes run a program of bash in the place of Python."""

    def replace_by(text):
        monkeypatch.setattr(sys, "executable", str(write_program(tmp_path / "python", text)))

    return replace_by


def test_which_gpus_are_open(monkeypatch, two_gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert open_devices("auto") == open_devices("cuda") == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,9")  # of which torch finds two
    assert open_devices("auto") == ["5", "7"]
    assert open_devices("cpu") == open_devices("cuda:1") == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert open_devices("auto") == []


def test_a_process_makes_what_is_left(config, tmp_path, two_gpus, capfd):
    """One process, as there is one run for the two GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: 0)
        alone = search_seeds(config, tmp_path / "alone", [0, 1])
    shared = tmp_path / "shared"
    shutil.copytree(alone.runs[0].folder, shared / "seed-0")
    capfd.readouterr()
    summary = search_seeds(config, shared, [0, 1], resume=True)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("seed ")]
    assert [line.partition(":")[0] for line in lines] == ["seed 1, epoch 1/1"]
    assert summary.seeds == (0, 1)
    assert [run.genotype for run in summary.runs] == [run.genotype for run in alone.runs]
    assert_same_run(shared / "seed-1", alone.runs[1].folder)


def test_each_gpu_gets_a_share_and_one_that_fails_is_told(
    config, tmp_path, two_gpus, capfd, python
):
    """The other share is made to its end."""
    folder = tmp_path / "runs"
    python(f"""
        cat > "{tmp_path}/share-$CUDA_VISIBLE_DEVICES"
        [ "$CUDA_VISIBLE_DEVICES" = 0 ] && {{ echo "error: no memory" >&2; exit 1; }}
        sleep 0.2; echo "ended" >&2
    """)
    with pytest.raises(ValueError, match="1 of 2 processes failed, as they said; go on by resume"):
        search_seeds(config, folder, [0, 1, 2])
    assert capfd.readouterr().err.splitlines() == ["error: no memory", "ended"]
    for gpu, seeds in ((0, [0, 2]), (1, [1])):
        _, runs = share.read_share((tmp_path / f"share-{gpu}").read_text())
        assert [run.config for run in runs] == [replace(config, seed=seed) for seed in seeds]
        assert [run.folder for run in runs] == [folder / f"seed-{seed}" for seed in seeds]


def make_share(experiment, configs, folder, monkeypatch):
    """Make a share in this process; return the exit status."""
    runs = [SeedRun(config, folder / f"seed-{config.seed}", resume=False) for config in configs]
    monkeypatch.setattr(sys, "stdin", io.StringIO(describe_share(experiment, runs)))
    return share.main()


def test_a_share_tells_which_of_its_runs_diverge(images, tmp_path, monkeypatch, capfd):
    config = RetrainConfig(data_dir=images, epochs=1, learning_rate=1e30, **SMALL)
    configs = [replace(config, seed=seed) for seed in (0, 2)]
    assert make_share(training_of(TWO_NODES), configs, tmp_path, monkeypatch) == 1
    said = capfd.readouterr().err
    for seed in (0, 2):
        assert f"seed {seed}: the training diverged in epoch 1" in said
    assert "error: 2 of 2 runs diverged: seed 0; seed 2" in said


def test_a_share_that_is_to_stop_saves(config, tmp_path, monkeypatch):
    with interrupted_at(1, 1):
        assert make_share(SEARCH, [config], tmp_path, monkeypatch) == 130
    assert load_checkpoint(tmp_path / "seed-0" / "checkpoint.pt")["under_way"]["step"] == 1
    other = replace(config, seed=1)
    with interrupted_at(1, 1, signal.SIGTERM), pytest.raises(SystemExit, match="143"):
        make_share(SEARCH, [other], tmp_path, monkeypatch)
    assert load_checkpoint(tmp_path / "seed-1" / "checkpoint.pt")["under_way"]["step"] == 1


def options(config):
    names = ("dataset", "data_dir", "init_channels", "layers", "steps", "batch_size")
    return [f"--{name.replace('_', '-')}={getattr(config, name)}" for name in names]


def stops_on_sigterm(variable, out):
    """A program that goes on until it gets SIGTERM, and writes a checkpoint once there are two."""
    return f'''
        sleep 60 > /dev/null 2>&1 &
        trap "kill $!; echo \\${variable} saves >&2; exit 143" TERM
        mkdir -p "{out}/seed-1"; touch "{out}/begun-${variable}"
        begun='until [ -e "{out}/begun-0" ] && [ -e "{out}/begun-1" ]; do sleep 0.01; done'
        timeout 60 bash -c "$begun"
        touch "{out}/seed-1/checkpoint.pt"
        wait
    '''


def test_sigterm_ends_all_shares(config, tmp_path, two_gpus, capfd, python):
    out = tmp_path / "runs"
    python(stops_on_sigterm("CUDA_VISIBLE_DEVICES", out))
    signal_when(out / "seed-1" / "checkpoint.pt", signal.SIGTERM)
    assert main(["search", *options(config), "--seeds=0..1", "--out", str(out)]) == 143
    error = capfd.readouterr().err
    assert {"0 saves", "1 saves"} < set(error.splitlines())
    assert f"{out}: go on from its last checkpoint by: adarts search" in error
    assert "Traceback" not in error


def assert_pickles_name_a_file_only(folder, config):
    """Options, genotype and all else that is ours are in that file, as JSON."""
    pickles = sorted(folder.glob("*_submitted.pkl"))
    assert len(pickles) == 2
    for seed, path in enumerate(pickles):
        ours = {
            text for _, text, _ in pickletools.genops(path.read_bytes()) if isinstance(text, str)
        }
        modules = {text for text in ours if text.startswith("adarts_ext")}
        assert modules == {"adarts_ext.runs.slurm"}
        assert str(folder / f"seed-{seed}.json") in ours
        assert config.data_dir not in ours


def test_seeds_are_an_array_of_jobs(config, tmp_path, fake_slurm):
    folder = tmp_path / "runs"
    asked = {"partition": "gpu", "time": 90}
    summary = search_seeds(config, folder, [0, 1], slurm=asked)
    assert summary.seeds == (0, 1)
    script = (fake_slurm / "submitted.sh").read_text()
    for line in ("partition=gpu", "time=90", "gpus-per-node=1", "job-name=adarts", "array=0-1%2"):
        assert f"#SBATCH --{line}\n" in script
    assert_pickles_name_a_file_only(folder / "slurm", config)
    again = search_seeds(config, folder, [0, 1], resume=True, slurm=asked)
    assert again == summary
    assert len((fake_slurm / "processes").read_text().split()) == 2
    alone = search_seeds(config, tmp_path / "alone", [0, 1])
    assert [run.genotype for run in summary.runs] == [run.genotype for run in alone.runs]


def in_the_place_of_jobs(fake_slurm, text):
    """Let the jobs run a program of bash."""
    program, srun = write_program(fake_slurm / "job", text), fake_slurm / "srun"
    srun.write_text(srun.read_text().replace('exec "$@"', f'exec "{program}"'))


def test_a_job_that_fails_is_told(images, tmp_path, fake_slurm):
    in_the_place_of_jobs(fake_slurm, 'echo "job $SLURM_ARRAY_TASK_ID has no memory" >&2; exit 1')
    config = RetrainConfig(data_dir=images, device="cpu", **SMALL)
    with pytest.raises(ValueError, match=r"no result from seeds 3, 4; what their jobs said is in"):
        retrain_seeds(TWO_NODES, config, tmp_path / "runs", [3, 4], slurm={})
    said = "".join(path.read_text() for path in (tmp_path / "runs" / "slurm").glob("*.err"))
    assert sorted(said.splitlines()) == [f"job {number} has no memory" for number in (0, 1)]
    assert "gpus-per-node" not in (fake_slurm / "submitted.sh").read_text()


def test_ctrl_c_cancels_the_jobs(config, tmp_path, fake_slurm, capfd):
    out = tmp_path / "runs"
    in_the_place_of_jobs(fake_slurm, stops_on_sigterm("SLURM_ARRAY_TASK_ID", out))
    signal_when(out / "seed-1" / "checkpoint.pt", signal.SIGINT)
    arguments = [*options(config), "--seeds=0..1", "--out", str(out)]
    assert main(["search", *arguments, "--slurm", "partition=gpu"]) == 130
    assert f"{out}: go on from its last checkpoint by: adarts search" in capfd.readouterr().err
    assert (fake_slurm / "cancelled").read_text().split() == ["77_0", "77_1"]


def job_of(experiment, config, folder):
    run = SeedRun(config, folder / "run", resume=False)
    (folder / "share.json").write_text(describe_share(experiment, [run]))
    return slurm.SeedJob(str(folder / "share.json"))


def test_a_job_says_that_its_training_diverged(images, tmp_path, capfd):
    config = RetrainConfig(data_dir=images, device="cpu", epochs=1, learning_rate=1e30, **SMALL)
    with pytest.raises(ValueError, match="1 of 1 runs diverged: seed 3"):
        job_of(training_of(TWO_NODES), replace(config, seed=3), tmp_path)()
    assert "seed 3: the training diverged in epoch 1" in capfd.readouterr().err


def test_a_job_goes_on_where_its_time_was_up(config, tmp_path, fake_slurm):
    job = job_of(SEARCH, config, tmp_path)
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
