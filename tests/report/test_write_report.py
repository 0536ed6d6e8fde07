"""Reports: what they say of every kind of folder, that they load nothing, and what they refuse."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from made_runs import EVIL, make_comparison, make_retrain, make_search

from adarts_ext.cli import main
from adarts_ext.draw.history import _warmup_end
from adarts_ext.files import read_json, write_json
from adarts_ext.report import write_report

pytestmark = pytest.mark.slow


class Report:
    """A page that was written, checked for what holds of all."""

    def __init__(self, folder, path):
        write_report(folder, path)
        self.html = path.read_text()
        self.root = ElementTree.fromstring(self.html)  # well-formed
        self.text = " ".join("".join(self.root.itertext()).split())
        self.check()

    def check(self):
        tags = {element.tag for element in self.root.iter()}
        assert not tags & {"script", "link", "iframe", "object", "embed", "form", "img"}
        assert not re.search(r"https?://|@import", self.html)
        names = [element.get("id") for element in self.root.iter() if element.get("id")]
        assert len(names) == len(set(names))
        for element in self.root.iter():
            for name, value in element.attrib.items():
                if name in ("href", "src"):
                    assert value.startswith("data:image/png;") or value[1:] in names
                for target in re.findall(r"url\((.*?)\)", value):
                    assert target[1:] in names
                assert not name.startswith("on")

    def section(self, title):
        (found,) = (one for one in self.root.iter("section") if one.find("h2").text == title)
        return found

    def sections(self):
        return [one.find("h2").text for one in self.root.iter("section")]

    def facts(self):
        groups = self.section("Result").iterfind("dl/div")
        return {group.find("dt").text: group.find("dd").text for group in groups}

    def captions(self, title):
        return [caption.text for caption in self.section(title).iter("figcaption")]

    def rows(self, title):
        found = self.section(title).iter("tr")
        return [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in found]

    def commands(self):
        return [code.text for code in self.section("What to do next").iterfind("dl/dd/code")]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return Report(make_search(folder / EVIL.replace("/", "")), folder / "report.html")


def test_a_search_shows_what_it_found_and_how_it_went(search):
    facts = search.facts()
    assert facts["epochs"] == "4 of 4"
    assert facts["supernet's validation accuracy"] == "76.25 %"
    assert facts["time"] == "8 s"
    assert {"derived network's parameters", "its MACs, an image"} <= facts.keys()
    cells = search.captions("Cells")
    assert cells[:4] == ["normal cell", "reduction cell"] + [
        f"epoch 2, {cell} cell" for cell in ("normal", "reduction")
    ]
    assert cells[-1] == "epoch 4, reduction cell"
    curves = search.captions("Curves")
    for caption in ("loss", "accuracy", "learning rate", "poolings of the derived cells"):
        assert caption in curves
    weights = search.captions("Weights of the reduction cell")
    assert weights[1:6] == [
        f"{source} to {node}"
        for node, sources in (("node 2", 2), ("node 3", 3))
        for source in ("input 0", "input 1", "node 2")[:sources]
    ]
    assert len(weights) == 1 + 5 + 2  # the scale, the edges and the nodes
    assert len(search.captions("Time and memory")) == 3
    assert search.commands()[0].startswith("adarts retrain ")


def test_a_search_says_where_its_stages_begin(tmp_path):
    folder = make_search(tmp_path / "search", steps=1)
    history = read_json(folder / "history.json")
    for entry in history:
        entry["stage"] = 1 + (entry["epoch"] > 2)
        if entry["epoch"] == 3:
            entry["arch_loss"] = None
    write_json(folder / "history.json", history)
    report = Report(folder, tmp_path / "report.html")
    assert report.facts()["stages"] == "from epoch 1, 3, each with a warm-up"
    assert "the warm-up, to epoch 1;" in report.text
    assert "stage" not in report.captions("Curves")
    assert _warmup_end(history) == 1  # of the pictures of `adarts draw`


def test_a_search_shows_its_options_the_changed_ones_first(search):
    rows = search.rows("Options and versions")
    assert rows[1:6] == [
        ["dataset", "folder", "digits"],
        ["data_dir", "images", "-"],
        ["steps", "2", "4"],
        ["epochs", "4", "80"],
        ["warmup_epochs", "1", "15"],
    ]
    assert ["layers", "8", ""] in rows[6:]
    assert ["begun on: torch", "2.14.1"] in rows


def test_names_are_escaped(search):
    """Those of classes and of the folder; a page with a tag of theirs fails in Report already."""
    assert search.html.count("&lt;script&gt;") >= 2
    assert EVIL in search.rows("Options and versions")[-1][1]


def test_what_the_records_have_more_is_shown(tmp_path):
    folder = make_retrain(tmp_path / "run")
    history = read_json(folder / "history.json")
    for entry in history:
        entry["margin_$normal"] = entry["margin_reduce"] = 0.1
        entry["margin_normal"] = 0.5 * entry["epoch"]
        entry["hessian_eigenvalue"] = None if entry["epoch"] < 3 else 4.0
        entry["collapse"] = ["many <b> skips"] if entry["epoch"] == 3 else []
    write_json(folder / "history.json", history)
    report = Report(folder, tmp_path / "report.html")
    captions = report.captions("Curves")
    assert captions.count("margin") == 1
    assert {"margin $normal", "hessian eigenvalue"} <= set(captions)
    assert report.rows("Curves")[1:] == [["3", "collapse", "many <b> skips"]]


def test_a_stopped_search_says_whose_genotype_it_has(tmp_path):
    folder = make_search(tmp_path / "run", steps=1)
    write_json(folder / "result.json", {"kind": "search", "epochs": 4, "genotype_epoch": 2})
    facts = Report(folder, tmp_path / "report.html").facts()
    assert facts["genotype"] == "after epoch 2, the last without signs of a collapse"


def test_what_to_do_next_has_the_same_data_and_network(tmp_path):
    folder = make_search(tmp_path / "run", 0, stem="imagenet", image_size=64)
    first, second, third = Report(folder, tmp_path / "report.html").commands()
    assert first == f"adarts retrain {folder}"
    assert second == f"adarts retrain random:0:{folder}"
    assert third == f"adarts profile {folder}"


def test_data_that_were_given_in_python_are_not_asked_of_the_command_line(tmp_path):
    given = {"dataset": "python", "data_dir": None}
    folder = make_search(tmp_path / "ended", 0, **given)
    ended = Report(folder, tmp_path / "ended.html")
    assert ended.commands() == [f"adarts profile {folder}"]
    folder = make_search(tmp_path / "begun", 0, ended=False, **given)
    begun = Report(folder, tmp_path / "begun.html")
    assert begun.commands() == ["search(..., resume=True, dataset=...)"]


def test_searches_that_have_not_ended(tmp_path):
    begun = Report(make_search(tmp_path / "begun", 0, ended=False), tmp_path / "begun.html")
    assert begun.facts() == {"epochs": "0 of 4"}
    assert begun.sections() == ["Result", "What to do next", "Options and versions"]
    folder = make_search(tmp_path / "half", 2, ended=False, steps=1)
    half = Report(folder, tmp_path / "half.html")
    assert half.facts()["epochs"] == "2 of 4"
    assert "not ended, 2 of 4 epochs" in half.text
    assert half.commands() == [f"adarts search --resume --out {folder}"]
    own = {"strategy": "my.py:Mine"}  # is not run
    folder = make_search(tmp_path / "own", 1, ended=False, steps=1, **own)
    own = Report(folder, tmp_path / "own.html")
    assert own.commands() == [f"adarts search --strategy my.py:Mine --resume --out {folder}"]


def test_a_training(tmp_path):
    folder = make_retrain(tmp_path / "run")
    report = Report(folder, tmp_path / "report.html")
    facts = report.facts()
    assert facts["test accuracy, last"] == "75.00 %"
    assert facts["test accuracy, best"] == "87.50 %, epoch 2"
    assert {"parameters", "MACs, an image"} <= facts.keys()
    assert report.captions("Cells") == ["normal cell", "reduction cell"]
    assert report.captions("Curves") == ["loss", "accuracy", "learning rate"]
    assert f"adarts evaluate {folder}" in report.commands()
    first = Report(make_retrain(tmp_path / "first", 1, ended=False), tmp_path / "first.html")
    assert "test accuracy, last" not in first.facts()


def test_searches_from_several_seeds(tmp_path):
    for seed in (0, 1):
        make_search(tmp_path / f"seed-{seed}", seed=seed, steps=1)
    write_json(tmp_path / "seeds.json", [0, 1, 2])
    report = Report(tmp_path, tmp_path / "report.html")
    facts = report.facts()
    assert facts["runs that have ended"] == "2 of 3"
    assert facts["validation accuracy, %"] == "76.25 ± 0.00"
    assert re.fullmatch(r"\d+ %", facts["edges that two genotypes share"])
    links = [link.get("href") for link in report.section("Result").iter("a")]
    assert links == ["#seed-0", "#seed-1"]
    rows = report.rows("Result")
    assert [row[0] for row in rows] == ["run", "Seed 0", "Seed 1", "Seed 2, not begun"]
    assert report.captions("Seed 1")[-1] == "reduction cell"
    assert f"adarts search --resume --out {tmp_path}" in report.commands()


def test_trainings_from_several_seeds(tmp_path):
    for seed in (0, 1):
        make_retrain(tmp_path / f"seed-{seed}", seed=seed)
    write_json(tmp_path / "seeds.json", [0, 1])
    report = Report(tmp_path, tmp_path / "report.html")
    assert report.facts()["test accuracy, %"] == "68.75 ± 8.84"
    assert report.captions("Cells") == ["normal cell", "reduction cell"]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    return Report(make_comparison(folder / "<i>"), folder / "report.html")


def test_a_comparison(comparison):
    rows = comparison.rows("Result")
    arms = ["attention", "a, b", "random genotypes"]
    assert [row[0] for row in rows] == ["arm", *arms, "arm", *arms]
    assert rows[1][1:3] == ["2", "14.00 ± 5.66"]
    assert comparison.captions("Result") == ["test error against the size of the derived network"]
    headings = [one.text for one in comparison.section("Cells that were found").iter("h3")]
    assert headings == ["attention", "a, b"]
    assert len(comparison.captions("Cells that were found")) == 2 * 2 * 2
    options = comparison.rows("Options")
    assert options[:3] == [
        ["option", "attention", "a, b", "default"],
        ["steps", "2", "2", "4"],
        ["selection", "attention", "first", "attention"],
    ]
    assert ["epochs", "20", "600"] in options


def test_a_comparison_that_has_not_ended(tmp_path):
    none = Report(make_comparison(tmp_path / "none", 0), tmp_path / "none.html")
    assert "No run has ended yet." in none.text
    assert none.commands() == [f"adarts compare --resume --out {tmp_path / 'none'}"]
    some = Report(make_comparison(tmp_path / "some", 2), tmp_path / "some.html")
    assert "2 of 8 runs made" in some.text


def test_the_command_writes_into_the_folder_or_where_it_is_told(tmp_path, capsys):
    folder = make_retrain(tmp_path / "run", 0, ended=False)
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_bytes() == (folder / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[", r"config\.json: damaged, or not JSON"),
        ("config.json", '{"kind": "search", "epohcs": 3}', r"unknown option 'epohcs'"),
        ("config.json", '{"kind": "dance"}', "expected the run of a search, got something else"),
        ("history.json", "{}", r"history\.json: damaged, expected a list"),
        ("history.json", '[{"epoch": 2}]', r"history\.json: damaged, expected a record an epoch"),
        ("history.json", '[{"epoch": 1}]', "damaged, or of another version: KeyError"),
        ("machine.json", "3", r"machine\.json: damaged, expected an object"),
        ("genotypes/epoch-0002.json", "{}", r"epoch-0002\.json"),
        ("genotypes/epoch-x.json", "{}", r"epoch-x\.json"),
        ("genotype.json", "null", r"genotype\.json"),
    ],
)
def test_damaged_files_are_named_in_one_line(name, content, message, tmp_path, capsys):
    folder = make_search(tmp_path / "run")
    (folder / name).write_text(content)
    assert main(["report", str(folder)]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert str(folder) in error
    assert not (folder / "report.html").exists()


def test_records_of_no_sense_are_one_line(tmp_path, capsys):
    folder = make_search(tmp_path / "run")
    history = read_json(folder / "history.json")
    history[1]["train_loss"] = "low"
    (folder / "history.json").write_text(json.dumps(history))
    assert main(["report", str(folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_files_that_are_missing_leave_out_what_they_say(tmp_path):
    folder = make_search(tmp_path / "run", steps=1)
    for name in ("machine.json", "dataset.json", "genotype.json"):
        (folder / name).unlink()
    report = Report(folder, tmp_path / "report.html")
    assert "derived network's parameters" not in report.facts()
    assert "begun on" not in report.text
    assert report.captions("Cells")[0] == "normal cell"  # that of the last epoch


def test_a_folder_of_nothing_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "expected the folder of a run, with config.json" in error
    assert error.count("\n") == 1


def test_a_damaged_comparison_is_named(tmp_path):
    folder = make_comparison(tmp_path / "run")
    with (folder / "runs.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match=r"runs\.jsonl: line 9 is not the run of a comparison"):
        write_report(folder, tmp_path / "report.html")
    (folder / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match=r"plan\.json: damaged"):
        write_report(folder, tmp_path / "report.html")
