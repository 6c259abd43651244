"""Comparing as a command: everything over seeds and origins, taken up again, kept in the documented form."""

import json
from contextlib import chdir
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from commands import run_command
from data_set_builder import purchases, write_shop
from forms import check_form
from omegaconf import DictConfig
from report_pages import comparison_of
from rich.console import Console
from shop_run import fill_disk

from holdfast.errors import RunError
from training.compare import OWN_KEYS, keep
from training.comparison.record import FORM as RECORD_FORM
from training.comparison.record import Facts, Record
from training.comparison.result import (
    Block,
    ComparisonResult,
    CutoffBlock,
    Difference,
    Figure,
    HorizonComparison,
    OriginFacts,
    TargetComparison,
)
from training.comparison.runs import Runs, source_digest
from training.outcomes import Outcomes, Predictions

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")

DOCUMENT = Path(__file__).parents[2] / "docs" / "comparison.md"
SMALL = (
    "model=tiny",
    "optimiser.num_steps=2",
    "optimiser.warmup_steps=1",
    "evaluation.baselines=[recency,btyd]",
    "num_replicates=20",
)


def run(folder: Path, command: str, *overrides: str) -> dict:
    """Run a command in a folder and return the newest result that it left."""
    with chdir(folder):
        searched = f"hydra.searchpath=[file://{folder / 'conf'}]"
        run_command(command, "data=shop", *SMALL, *overrides, searched)
    newest = max(folder.glob("outputs/*/shop/*/comparison.json"), key=lambda path: path.stat().st_mtime_ns)
    result = json.loads(newest.read_text())
    check_form(result, ComparisonResult)
    return result


@pytest.mark.long
def test_a_comparison_is_made_once_and_taken_up_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two seeds at two origins; a third seed trains only its own runs, and the rest stays as it was."""
    days = {"validation": ["2024-09-27T12:00:00Z"], "test": ["2024-12-06T12:00:00Z"]}
    write_shop(tmp_path, purchases(), cutoffs={"train": {}, **days})
    first = run(tmp_path, "training.compare", "seeds=[1,2]", "num_origins=2", "step_days=10")
    assert "there already" not in capsys.readouterr().out
    assert (first["seeds"], len(first["origins"]), first["split"]) == ([1, 2], 2, "test")
    churn = next(target for target in first["targets"] if target["name"] == "churn")
    asked = churn["horizons"][-1]
    assert {"recency", "btyd", "sequence"} <= set(asked["overall"]["models"])
    assert asked["overall"]["models"]["sequence"]["auroc"]["spread"] is not None
    assert [block["origin"] for block in asked["cutoffs"]] == [0, 1]
    assert {"recency", "btyd"} <= set(asked["overall"]["differences"][first["judged"][0]])

    again = run(tmp_path, "training.compare", "seeds=[1,2,3]", "num_origins=2", "step_days=10")
    shown = capsys.readouterr().out
    assert shown.count("there already") == 4
    assert shown.count("seed 3") == 2
    recency = [
        next(target for target in result["targets"] if target["name"] == "churn")["horizons"][-1]["overall"][
            "models"
        ]["recency"]["auroc"]["value"]
        for result in (first, again)
    ]
    assert recency[0] == pytest.approx(recency[1])
    assert not list(tmp_path.glob("outputs/compare/shop/runs/*/checkpoints"))
    text = max(tmp_path.glob("outputs/*/shop/*/comparison.txt")).read_text()
    for part in ("paired differences", "cutoff by cutoff", "±", "btyd"):
        assert part in text


@pytest.mark.parametrize("silent_at", ["2024-09-17", "2024-09-27"], ids=["older origin", "newest origin"])
def test_a_baseline_without_an_answer_at_one_origin_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, silent_at: str
) -> None:
    """Whichever origin that is, it is named, and the others are compared as they were."""
    rng = np.random.default_rng(0)
    happened = rng.integers(0, 2, (40, 2)).astype(np.float32)

    def made(self: Runs, settings: DictConfig, **_: object) -> Record:
        is_silent = settings.data.cutoffs.validation[0].startswith(silent_at)
        models = ("sequence", "recency") if is_silent else ("sequence", "btyd", "recency")
        said = Predictions(probability={"churn": rng.random((40, 2))}, expected={}, median={})
        return Record(
            facts=Facts(
                form=RECORD_FORM, split="test", main="sequence", models=models, seconds=1.0, source=""
            ),
            customer=np.arange(40),
            cutoff_us=np.zeros(40, dtype=np.int64),
            outcomes=Outcomes(happened={"churn": happened}, values={"spend": np.full(40, np.float32(1))}),
            predictions=dict.fromkeys(models, said),
        )

    monkeypatch.setattr(Runs, "record", made)
    days = {"validation": ["2024-09-27T12:00:00Z"], "test": ["2024-12-06T12:00:00Z"]}
    write_shop(tmp_path, purchases(), cutoffs={"train": {}, **days})
    baselines = "evaluation.baselines=[recency,btyd,pareto_nbd]"
    result = run(tmp_path, "training.compare", "seeds=[1,2]", "num_origins=2", "step_days=10", baselines)
    assert result["models"] == ["sequence", "recency"]
    assert result["unanswered"] == ["btyd", "pareto_nbd"]
    shown = capsys.readouterr().out
    assert f"btyd is left out: it has no answer with validation from {silent_at}" in shown
    assert "btyd does not answer these targets at every origin" in shown


def test_variants_are_judged_on_validation_against_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where weights would see that window, and whatever the variant changes; the test is not touched."""
    write_shop(
        tmp_path,
        purchases(),
        cutoffs={
            "train": {},
            "validation": ["2024-09-07T12:00:00Z"],
            "test": ["2024-11-16T12:00:00Z"],
            "fit_on": "refit",
        },
    )
    (tmp_path / "conf" / "ablation").mkdir()
    (tmp_path / "conf" / "ablation" / "pair.yaml").write_text(
        "variants:\n  no_sequence: [model=none]\n  longer: [optimiser.num_steps=3]\n"
    )
    result = run(tmp_path, "training.ablate", "ablation=pair", "seeds=[1]", "evaluation.baselines=[]")
    shown = capsys.readouterr().out
    assert "cutoffs.fit_on=train" in shown
    assert "no_sequence and longer: weighed and calibrated on this very window" in shown
    assert (result["split"], result["judged"]) == ("validation", ["no_sequence", "longer"])
    assert result["overrides"]["longer"] == ["optimiser.num_steps=3"]
    overall = result["targets"][0]["horizons"][-1]["overall"]
    assert set(overall["models"]) == {"default", "no_sequence", "longer"}
    assert {name: list(others) for name, others in overall["differences"].items()} == {
        "no_sequence": ["default"],
        "longer": ["default"],
    }
    run(tmp_path, "training.ablate", "ablation=pair", "seeds=[1]", "evaluation.baselines=[]")
    assert capsys.readouterr().out.count("there already") == 3


@pytest.mark.parametrize(
    ("command", "overrides", "variants", "said"),
    [
        ("training.compare", ["seeds=[1,1]"], "", "seeds: got [1, 1]"),
        (
            "training.compare",
            ["seeds=[1]", "num_origins=40"],
            "",
            "num_origins: got 40, but with validation from",
        ),
        ("training.compare", ["num_replicates=-1"], "", "num_replicates: got -1, but it must be 0, or at"),
        ("training.compare", ["num_replicates=1"], "", "num_replicates: got 1, but it must be 0, or at"),
        ("training.ablate", ["ablation=bad", "judged=tress"], "other: [seed=3]", "judged: got 'tress'"),
        ("training.ablate", ["ablation=bad"], "default: []", "ablation.variants"),
        ("training.ablate", ["ablation=bad"], "other: [data.currency=USD]", "ablation.variants.other"),
        ("training.ablate", ["ablation=bad"], "other: [model.width=0]", "model.width"),
        ("training.ablate", ["ablation=bad", "judged=trees"], "other: [seed=3]", "judged"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    overrides: list[str],
    variants: str,
    said: str,
) -> None:
    """The key, the value and the limit are named."""
    write_shop(tmp_path, purchases())
    (tmp_path / "conf" / "ablation").mkdir()
    (tmp_path / "conf" / "ablation" / "bad.yaml").write_text(f"variants: {{{variants}}}\n")
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, command, *overrides)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_full_disk_leaves_the_comparison_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a file would be taken for one."""
    (tmp_path / "comparison.json").write_text("{}")
    fill_disk(monkeypatch)
    result: Any = comparison_of() | {"targets": [], "unanswered": []}
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        keep(result, tmp_path, Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.json"]
    assert (tmp_path / "comparison.json").read_text() == "{}"


def test_every_key_of_the_result_is_documented() -> None:
    """In the tables of the page, so that nobody has to read code to read the file."""
    text = DOCUMENT.read_text(encoding="utf-8")
    forms = (
        ComparisonResult,
        OriginFacts,
        TargetComparison,
        HorizonComparison,
        Block,
        CutoffBlock,
        Figure,
        Difference,
    )
    missing = {key for form in forms for key in get_type_hints(form) if f"`{key}`" not in text}
    assert not missing
    assert not [key for key in OWN_KEYS if f"`{key}`" not in text]


def test_the_digest_changes_with_code_that_predicts_only(tmp_path: Path) -> None:
    """A model's file counts, the report's does not."""
    (tmp_path / "holdfast").mkdir()
    for name in ("losses.py", "report/page.py"):
        path = tmp_path / "training" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a = 1\n")
    before = source_digest(tmp_path)
    (tmp_path / "training" / "report" / "page.py").write_text("a = 2\n")
    assert source_digest(tmp_path) == before
    (tmp_path / "training" / "losses.py").write_text("a = 2\n")
    assert source_digest(tmp_path) != before
