"""Rules and dashboard ask for metrics that a real server shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from artifact_builder import build_artifact, running_server
from prometheus_client.parser import text_string_to_metric_families

from serving import exposition

DEPLOY = Path(__file__).parents[2] / "deploy"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# What Prometheus adds to every metric, and what the rules say of an alert.
ADDED = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of everything that a server shows."""
    folder = build_artifact(tmp_path_factory.mktemp("artifact") / "small")
    with running_server(folder, metrics_port=0) as server:
        address = f"http://127.0.0.1:{server.administration.port}/metrics"
        with urlopen(address, timeout=30) as response:
            text = response.read().decode()
    families = text_string_to_metric_families(text)
    return {f"{one.name}{suffix}" for one in families for suffix in SUFFIXES[one.type]}


def rules() -> Iterator[dict[str, str]]:
    """Yield all rules."""
    for group in yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text("utf-8"))["groups"]:
        yield from group["rules"]


def dashboard_queries() -> Iterator[str]:
    """Yield what the dashboard asks."""
    dashboard = json.loads((DEPLOY / "grafana/holdfast.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query")


def questions() -> list[str]:
    """Return every expression of rules and dashboard."""
    return [*(rule["expr"] for rule in rules()), *dashboard_queries()]


def test_every_metric_is_shown(shown: set[str]) -> None:
    """By the names that Prometheus sees: of counters and histograms with their suffixes."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for expr in questions() for name in re.findall(r"[a-z_:]*holdfast_[a-z0-9_:]+", expr)}
    assert asked
    assert asked <= shown | recorded
    assert recorded & asked, "recorded for nobody"


def test_every_label_is_one_of_ours() -> None:
    """In matchers and in what is grouped by."""
    forms = {**exposition._TOTALS, **exposition._STATES}
    known = {label for form in forms.values() for label in form.labels} | ADDED
    for expr in questions():
        grouped = ",".join(re.findall(r"\b(?:by|on|group_left) ?\(([\w, ]*)\)", expr))
        matched = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expr)
        asked = {label.strip() for label in [*grouped.split(","), *matched] if label.strip()}
        assert asked <= known, expr


def test_every_alert_has_a_test_and_says_what_is_the_matter() -> None:
    """One that nobody has seen fire may never do it."""
    tests = (DEPLOY / "prometheus/rules_test.yaml").read_text("utf-8")
    for rule in rules():
        if "alert" in rule:
            assert f'ALERTS{{alertname="{rule["alert"]}", alertstate="firing"' in tests
            assert rule["annotations"]["summary"]
            assert rule["labels"]["severity"] in {"page", "ticket"}
