"""``report.html``: one page that says what a model is worth, for managers and engineers.

It deliberately computes no metric: every figure stands in the evaluation's result.

    context   what the page says beside the result: data, training, versions
    facts     the context's data part, counted from a store and its readouts
    wording   numbers, times and definitions in words
    summary   what a reader should take home
    card      the model card
    svg       figures as inline SVG that follows the page's colours
    charts/   the figures
    figures   which of them a target gets, and the question that each one answers
    tables    the tables as rows of text
    comparison  what training.compare wrote, on the page of a run
    looks     groups of customers, typical ones, cutoffs one by one
    page      all of it through templates/, in one file
"""

from training.report.context import DataFacts, ReportContext, SplitFacts
from training.report.facts import data_facts, eligibility_at, split_facts
from training.report.page import write_report

__all__ = [
    "DataFacts",
    "ReportContext",
    "SplitFacts",
    "data_facts",
    "eligibility_at",
    "split_facts",
    "write_report",
]
