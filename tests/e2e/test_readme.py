"""README's own data set from its YAML block and commands to scores, and its client examples as they stand."""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from artifact_builder import running_server
from commands import run_command
from report_pages import comparison_of

from holdfast.client import ScoringClient
from holdfast.encoding import Cutoffs, encode
from holdfast.results import to_columns
from holdfast.schema import MICROSECONDS_PER_DAY
from serving.offline import main as score_offline
from training.data_config import DataConfig
from training.fitted import FittedModel
from training.judging import BLEND, model_predictions
from training.store import HistoryStore, canonical_tables
from training.task import Task

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
YAML_HEAD = "# conf/data/streaming.yaml\n"
AS_OF = datetime(2025, 6, 1, tzinfo=UTC)

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")


def blocks(language: str) -> list[str]:
    """Return README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def command(module: str) -> list[str]:
    """Return the arguments of the first command of README that runs a module on the example."""
    pattern = rf"^python -m {re.escape(module)} (.*(?:streaming|subscription).*)$"
    found = re.search(pattern, README, flags=re.MULTILINE)
    assert found is not None, f"README shows no command that runs {module} on the example"
    return shlex.split(found[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Business:
    """What README's commands left behind."""

    folder: Path
    run: Path
    store: HistoryStore
    task: Task

    @property
    def artifact(self) -> Path:
        """The artifact's folder."""
        return self.run / "artifact"

    def raw(self) -> pl.DataFrame:
        """Return the raw log, as the simulator wrote it."""
        return pl.read_parquet(self.folder / "data" / "streaming_raw" / "events" / "*.parquet")


@pytest.fixture(scope="module")
def business(tmp_path_factory: pytest.TempPathFactory) -> Business:
    """Do what README says in an empty folder: smaller tables, fewer steps, and nothing else is different."""
    folder = tmp_path_factory.mktemp("business")
    (block,) = [text for text in blocks("yaml") if text.startswith(YAML_HEAD)]
    (folder / "conf" / "data").mkdir(parents=True)
    (folder / "conf" / "data" / "streaming.yaml").write_text(block, encoding="utf-8")
    with chdir(folder):
        simulate = [*command("training.simulate"), "num_customers=300", "num_rollouts=2"]
        run_command("training.simulate.__main__", *simulate)
        smaller = ["optimiser.num_steps=4", "optimiser.warmup_steps=1", "batching.pool_customers=64"]
        fewer = ["evaluation.baselines=[recency]", "evaluation.num_bootstrap=5"]
        own = f"hydra.searchpath=[file://{folder / 'conf'}]"
        run_command("training.train", *command("training.train"), *smaller, *fewer, own)
        (run,) = (folder / "outputs" / "streaming").iterdir()
    store = HistoryStore.open(folder / "stores" / "streaming")
    config = DataConfig.from_plain(yaml.safe_load(block))
    return Business(folder=folder, run=run, store=store, task=Task.of(config, store))


@pytest.fixture(scope="module")
def port(business: Business) -> Iterator[int]:
    """Serve the artifact."""
    with running_server(business.artifact) as server:
        yield server.port


def test_the_block_uses_what_the_example_promises(business: Business) -> None:
    """Churn of form event, a count, several horizons, attributes with versions, and an end of life."""
    schema = business.store.schema
    churn, spend, contacts = schema.targets
    assert (churn.form, churn.event_types, len(churn.horizons_days)) == ("event", schema.ended_by, 3)
    assert (spend.kind, contacts.kind) == ("amount", "count")
    assert np.diff(business.store.histories.attributes.offsets).max() > 1
    result = json.loads((business.run / "result.json").read_text())
    judged = {target["name"]: [h["horizon_days"] for h in target["horizons"]] for target in result["targets"]}
    assert judged == {target.name: list(target.horizons_days) for target in schema.targets}


def test_the_report_is_written_anew(business: Business) -> None:
    """From the run alone, with the same figures; a comparison joins it, and what is none is refused."""
    page, compared = business.folder / "anew.html", business.folder / "comparison.json"
    compared.write_text(json.dumps(comparison_of() | {"data": business.task.name}), encoding="utf-8")
    arguments = [f"run={business.run}", f"out={page}"]
    with chdir(business.folder):
        run_command("training.report.__main__", *arguments, f"comparison={compared}")
        text = page.read_text(encoding="utf-8")
        assert "Over seeds and time" in text
        drawn = re.findall(r'aria-label="(ROC curves of [^"]*)"', text)
        assert drawn
        assert drawn == re.findall(
            r'aria-label="(ROC curves of [^"]*)"', (business.run / "report.html").read_text()
        )
        with pytest.raises(SystemExit):
            run_command("training.report.__main__", *arguments, f"comparison={business.run / 'result.json'}")
        with pytest.raises(SystemExit):
            run_command("training.report.__main__", f"run={business.folder}", f"out={page}")


def test_who_has_cancelled_is_not_asked_about(business: Business) -> None:
    """Eligible at the test cutoff: active within the lookback and never cancelled; from the raw log."""
    cancelled = pl.col("event_type") == "cancellation"
    is_short = (pl.col("event_type") == "usage") & (pl.col("quantity") < 5)
    lookback = pl.lit(AS_OF) - pl.duration(days=business.store.schema.lookback_days)
    log = business.raw().filter((pl.col("occurred_at") <= AS_OF) & ~is_short.fill_null(value=False))
    is_activity = pl.col("event_type").is_in(["signup", "payment", "usage"]) & (
        pl.col("occurred_at") > lookback
    )
    people = log.group_by("customer_id").agg(active=is_activity.any(), gone=cancelled.any())
    expected = people.filter("active", ~pl.col("gone"))["customer_id"]
    test = business.task.readouts(business.task.splits.test)
    asked = business.store.customer_ids.gather(test.customer)
    assert set(asked) == set(expected.cast(pl.String))
    assert people["gone"].sum() > 20


def test_labels_are_those_of_the_raw_log(business: Business) -> None:
    """Who cancels by each horizon, and how often support is contacted, told by plain counting."""
    test = business.task.readouts(business.task.splits.test)
    asked = pl.DataFrame({"customer_id": business.store.customer_ids.gather(test.customer)})
    log = business.raw().with_columns(pl.col("customer_id").cast(pl.String))
    days = (pl.col("occurred_at") - AS_OF).dt.total_microseconds() / MICROSECONDS_PER_DAY
    later = log.with_columns(days=days).filter((pl.col("days") > 0) & (pl.col("days") <= 90))
    is_contact = pl.col("event_type").is_in(["support_call", "complaint"])
    told = later.group_by("customer_id").agg(
        cancelled=pl.col("days").filter(pl.col("event_type") == "cancellation").min(),
        contacts=is_contact.sum(),
        paid=pl.col("amount").filter(pl.col("event_type") == "payment").sum(),
    )
    told = asked.join(told, on="customer_id", how="left", maintain_order="left")
    outcomes = business.task.outcomes(test, business.task.splits.test)
    for column, horizon in enumerate((30, 60, 90)):
        expected = (told["cancelled"] <= horizon).fill_null(value=False).to_numpy()
        np.testing.assert_array_equal(outcomes.happened["churn"][:, column], expected)
    np.testing.assert_array_equal(
        test.labels.values["support_contacts"], told["contacts"].fill_null(0).to_numpy()
    )
    np.testing.assert_allclose(test.labels.values["spend"], told["paid"].fill_null(0.0), rtol=1e-6)


def test_the_plan_is_that_of_the_day(business: Business) -> None:
    """The model sees the version that held at the cutoff, not the first nor the last."""
    test = business.task.readouts(business.task.splits.test)
    spec = FittedModel.load(business.run).spec
    encoded = encode(business.store.histories, Cutoffs.one_each(test.customer, test.cutoff_us), spec)
    position = spec.schema.categorical_attributes.index("plan") - len(spec.schema.categorical_attributes)
    subscribers = pl.read_parquet(business.folder / "data" / "streaming_raw" / "customers.parquet")
    held = subscribers.filter(pl.col("valid_from").is_null() | (pl.col("valid_from") <= AS_OF))
    plans = held.sort("valid_from", nulls_last=False).group_by("customer_id").agg(pl.col("plan").last())
    asked = pl.DataFrame({"customer_id": business.store.customer_ids.gather(test.customer)})
    known = plans.with_columns(pl.col("customer_id").cast(pl.String))
    wanted = asked.join(known, on="customer_id", how="left", maintain_order="left")["plan"].to_list()
    assert len(set(wanted)) == 3
    ids = [spec.attribute_vocabularies["plan"].id_of(plan) for plan in wanted]
    np.testing.assert_array_equal(encoded.readout_ids[:, position], ids)


def test_offline_and_server_and_the_model_give_the_same_numbers(business: Business, port: int) -> None:
    """One table asked both ways, in other batches: equal to 1e-6; and to 1e-4 what training's model says."""
    test = business.task.readouts(business.task.splits.test)
    events, customers = canonical_tables(business.store, test.customer)
    paths = {name: business.folder / f"{name}.parquet" for name in ("events", "customers", "out")}
    events.write_parquet(paths["events"])
    customers.write_parquet(paths["customers"])
    flags = [f"--{name}={path}" for name, path in paths.items()]
    assert score_offline([f"--artifact={business.artifact}", f"--as-of={AS_OF.isoformat()}", *flags]) == 0
    offline = pl.read_parquet(paths["out"])
    with ScoringClient(f"127.0.0.1:{port}") as client:
        served = to_columns(client.score(events, customers=customers, as_of=AS_OF))
    assert offline.columns == list(served)
    for name, values in served.items():
        if offline[name].dtype.is_float():
            np.testing.assert_allclose(offline[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
        else:
            assert offline[name].to_list() == values, name
    assert offline["num_after"].sum() > 0
    ids = business.store.customer_ids.gather(test.customer).to_list()
    assert offline["customer_id"].to_list() == ids
    model = model_predictions(FittedModel.load(business.run), business.task, test)[BLEND]
    for column, horizon in enumerate((30, 60, 90)):
        found = offline[f"churn_probability_{horizon}d"].to_numpy()
        np.testing.assert_allclose(found, model.probability["churn"][:, column], atol=1e-4, rtol=0)
    for name in ("spend", "support_contacts"):
        np.testing.assert_allclose(offline[f"{name}_expected"], model.expected[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_python_example_runs(
    business: Business,
    port: int,
    number: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pasted as it stands, against a server of the example's artifact; only the port is another."""
    code = blocks("python")[number]
    assert "localhost:50051" in code
    monkeypatch.chdir(business.folder)
    exec(compile(code.replace("localhost:50051", f"localhost:{port}"), "README.md", "exec"), {})  # noqa: S102
    shown = capsys.readouterr().out
    if "ben" in code:
        said = next(re.finditer(r"`(fields\[paid\][^`]*)`", README))[1]
        assert f"ben: not scored: {said}" in shown
        assert re.search(r"^anna: \d+\.\d% within 30 days, \d+\.\d\d EUR in 90$", shown, flags=re.MULTILINE)
    else:
        assert shown.startswith("shape: (5, ")


def test_a_run_can_be_judged_again(business: Business, capsys: pytest.CaptureFixture[str]) -> None:
    """Its test window gives the same figures once more; its validation window has been learned from."""
    fewer = ["baselines=[recency]", "num_bootstrap=5"]
    with chdir(business.folder):
        run_command("training.evaluate", f"run={business.run}", "split=test", *fewer)
    first, again = (
        json.loads((business.run / name).read_text()) for name in ("result.json", "result_test.json")
    )
    assert again["targets"] == first["targets"]
    for arguments, message in (
        ([f"run={business.run}", "split=validation"], "fit_on=both have seen the validation window"),
        (["run=nowhere"], "settings.json"),
        ([f"run={business.run}", "split=train"], "must be one of"),
    ):
        with pytest.raises(SystemExit) as ended:
            run_command("training.evaluate", *arguments)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
