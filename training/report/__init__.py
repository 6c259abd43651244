"""``report.html``: one page that says what a model is worth, for managers and engineers.

It deliberately computes no metric: every figure stands in the evaluation's result.

    context   what the page says beside the result: data, training, versions
    facts     the context's data part, counted from a store and its readouts
    wording   sentences and numbers for people
    svg       figures as inline SVG that follows the page's colours
    charts    the figures
    page      all of it in one file
"""

from training.report.context import DataFacts, ReportContext, SplitFacts
from training.report.facts import data_facts, split_facts
from training.report.page import write_report

__all__ = ["DataFacts", "ReportContext", "SplitFacts", "data_facts", "split_facts", "write_report"]
