"""Exported networks: what the files compute and say, without this package, and what is refused."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from conftest import run_program
from image_folder import write_images
from PIL import Image
from small_runs import small_retrain
from torch.nn import functional

import adarts_ext
from adarts_ext.cli import main
from adarts_ext.export import InputImages, export_network, export_run
from adarts_ext.export import torch_program as torch_program_module
from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import Genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.retrain import evaluate, retrain

pytestmark = pytest.mark.slow

MISSING = [
    name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None
]
FORMATS = [
    "torch-export",
    pytest.param("onnx", marks=pytest.mark.skipif(bool(MISSING), reason=f"without {MISSING}")),
]
KEYS = ("genotype", "image_size", "mean", "std", "class_names")
# Two nodes with every operation.
GENOTYPE = Genotype(
    normal=[("sep_conv_3x3", 0), ("sep_conv_5x5", 1), ("dil_conv_3x3", 0), ("dil_conv_5x5", 2)],
    normal_concat=[2, 3],
    reduce=[("max_pool_3x3", 0), ("avg_pool_3x3", 1), ("skip_connect", 0), ("skip_connect", 2)],
    reduce_concat=[2, 3],
)
RGB = InputImages((16, 16), mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 16, 8, channels=3)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """The folder of a training whose weights are averaged, with an auxiliary head."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    config = small_retrain(images, ema_decay=0.5, memory_format="channels_last")
    retrain(GENOTYPE, config, folder)
    return folder


def load(path, to):
    """Load an exported file by the format's own library: a function, and the metadata."""
    if to == "torch-export":
        metadata = dict.fromkeys(KEYS, "")
        program = torch.export.load(path, extra_files=metadata)
        assert {op.namespace for op in operators(program)} == {"aten"}
        return program.module(), metadata
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape) == ("images", ["batch", 3, 16, 16])
    assert (logits.name, logits.shape) == ("logits", ["batch", 2])

    def run(batch):
        return torch.from_numpy(session.run(None, {"images": batch.numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map


def operators(program):
    nodes = program.graph.nodes
    return [node.target for node in nodes if isinstance(node.target, torch._ops.OpOverload)]


@pytest.fixture(scope="module")
def write(trained, tmp_path_factory):
    """What the command writes in a format: the file, written once."""

    @functools.cache
    def write_once(to):
        path = tmp_path_factory.mktemp("exported") / "net.pt2"
        assert main(["export", str(trained), "--to", to, "--out", str(path)]) == 0
        assert [file.name for file in path.parent.iterdir()] == ["net.pt2"]
        return path

    return write_once


@pytest.fixture(scope="module", params=FORMATS)
def exported(request, write):
    return load(write(request.param), request.param)


def test_the_file_alone_gives_the_accuracy_of_the_run(exported, trained, images):
    program, metadata = exported
    assert Genotype.from_json(metadata["genotype"]) == GENOTYPE
    values = {name: json.loads(metadata[name]) for name in KEYS}
    assert values["image_size"] == [16, 16]
    assert values["class_names"] == ["dark", "light"]
    mean, std = (torch.tensor(values[name])[:, None, None] for name in ("mean", "std"))
    batch, labels = [], []
    for label, name in enumerate(values["class_names"]):
        for path in (images / "test" / name).iterdir():
            pixels = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)
            batch.append((pixels / 255 - mean) / std)
            labels.append(label)
    logits, labels = program(torch.stack(batch)), torch.tensor(labels)
    expected = evaluate(trained, device="cpu")
    assert (logits.argmax(1) == labels).float().mean().item() == expected["test_accuracy"]
    loss = functional.cross_entropy(logits, labels).item()
    assert loss == pytest.approx(expected["test_loss"], rel=1e-5)


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_says_nothing_of_where_it_was_made(write, to):
    assert os.path.dirname(adarts_ext.__file__).encode() not in write(to).read_bytes()


def test_a_batch_has_any_number_of_images(exported):
    program, _ = exported
    batch = torch.randn(7, 3, 16, 16)
    one_by_one = torch.cat([program(image) for image in batch.split(1)])
    torch.testing.assert_close(program(batch), one_by_one, rtol=1e-4, atol=1e-5)
    assert not program(batch).requires_grad


def test_torch_runs_it_where_this_package_is_not(write, tmp_path):
    path = write("torch-export")
    batch = torch.randn(3, 3, 16, 16)
    torch.save((batch, torch.export.load(path).module()(batch)), tmp_path / "expected.pt")
    done = run_program(
        "import sys; sys.modules['adarts_ext'] = None; import torch; "
        f"batch, expected = torch.load({str(tmp_path / 'expected.pt')!r}); "
        f"logits = torch.export.load({str(path)!r}).module()(batch); "
        "torch.testing.assert_close(logits, expected)"
    )
    assert done.returncode == 0, done.stderr


def test_a_run_in_bfloat16_is_exported_in_float32(write, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    write_json(folder / "config.json", read_json(folder / "config.json") | {"precision": "bf16"})
    assert export_run(folder, "torch-export", tmp_path / "net.pt2") < 1e-6
    program, _ = load(tmp_path / "net.pt2", "torch-export")
    in_float32, _ = load(write("torch-export"), "torch-export")
    batch = torch.randn(3, 3, 16, 16)
    assert torch.equal(program(batch), in_float32(batch))


def test_a_network_stays_as_it_is(tmp_path):
    network = DerivedNetwork(GENOTYPE, init_channels=4, layers=1).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_network(network, RGB, "torch-export", tmp_path / "net.pt2")
    assert network.training
    assert network.auxiliary
    assert all(weight.requires_grad for weight in network.parameters())
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    program = torch.export.load(tmp_path / "net.pt2")
    assert not [name for name in program.state_dict if name.startswith("auxiliary_head")]


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_a_program_that_computes_something_else_is_an_error_and_leaves_no_file(
    wrong, tmp_path, monkeypatch
):
    right = torch_program_module.load

    def load_wrong(content):
        program = right(content)
        return lambda images: program(images) + wrong

    monkeypatch.setattr(torch_program_module, "load", load_wrong)
    network = DerivedNetwork(GENOTYPE, init_channels=4, layers=1)
    with pytest.raises(ValueError, match="the exported program differs from the network by up to"):
        export_network(network, RGB, "torch-export", tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_what_an_export_needs_is_named(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "adarts_ext.export.onnx_model", raising=False)
    command = ["export", str(trained), "--to", "onnx", "--out", str(tmp_path / "net.onnx")]
    assert main(command) == 1
    assert capsys.readouterr().err == (
        "adarts export: error: onnxruntime is not installed; install it by: "
        "pip install 'adarts_ext[export]'\n"
    )


def test_a_run_that_is_not_for_export_is_refused(trained, tmp_path, capsys):
    earlier, searched = tmp_path / "earlier", tmp_path / "searched"
    shutil.copytree(trained, earlier)
    record = read_json(earlier / "dataset.json")
    del record["mean"]
    write_json(earlier / "dataset.json", record)
    searched.mkdir()
    write_json(searched / "config.json", {"kind": "search"})
    for run, message in (
        (earlier, "dataset.json: expected image_size, mean, std, class_names; it is damaged, or"),
        (searched, "expected the run of a retrain, got one of a search"),
        (
            "ADARTS_V1",
            "ADARTS_V1: expected the folder of a run of adarts retrain; a genotype alone",
        ),
    ):
        out = tmp_path / "net.pt2"
        assert main(["export", str(run), "--to", "torch-export", "--out", str(out)]) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()
    out = tmp_path / "none" / "net.pt2"
    assert main(["export", str(trained), "--to", "torch-export", "--out", str(out)]) == 1
    assert f"{out.parent}: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "net.onnx"], "--to: expected one of onnx, torch-export, got nothing"),
        (["--to", "onnx"], "--out: expected a file, got nothing"),
        (["--to", "onnx", "--out", ""], "--out: expected a file, got nothing"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, capsys):
    assert main(["export", "run", *arguments]) == 2
    assert capsys.readouterr().err == f"adarts export: error: {message}\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (16,)}, r"image_size: expected height and width, got \(16,\)"),
        ({"std": [1.0]}, "mean and std: expected one of each for every channel"),
        ({"mean": [], "std": []}, "mean and std: expected one of each"),
        ({"std": [0.0] * 3}, "mean and std: .* the latter above 0"),
    ],
)
def test_impossible_images_are_refused(changes, message):
    arguments = {"image_size": (16, 16), "mean": [0.5] * 3, "std": [1.0] * 3}
    with pytest.raises(ValueError, match=message):
        InputImages(**arguments | changes)


def test_what_does_not_fit_the_network_is_refused(tmp_path):
    network = DerivedNetwork(GENOTYPE, init_channels=4, layers=1)
    names = InputImages((16, 16), RGB.mean, RGB.std, ["a", "b"])
    grey = InputImages((16, 16), [0.5], [0.5])
    for images, to, message in (
        (RGB, "tensorrt", "to: expected one of onnx, torch-export, got 'tensorrt'"),
        (names, "torch-export", "class_names: expected 10 as the network has logits, got 2"),
        (grey, "torch-export", "mean: expected 3 as the images have channels, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            export_network(network, images, to, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
