"""The history store: what training reads, and the only thing it reads.

It deliberately does not know SQL, YAML or models.

    layout   names of files and the index
    columns  flat .npy columns, appended and memory-mapped
    coding   text as codes, numbered by the order of the strings at the end
    order    where a part's rows belong
    stream   events that come customer by customer, a chunk in memory at a time
    parts    a canonical table split by customer, one part in memory at a time
    rows     the rows of some customers to flat columns
    tally    rows that cannot be used, and when they are too many
    making   all tables to columns, by one pass or part by part
    place    one writer at a time, complete or not at all
    writer   canonical tables to a store, renamed into place when complete
    reader   HistoryStore: verified, memory-mapped
    tables   some customers as canonical tables again
"""

from training.store.layout import StoreIndex
from training.store.reader import HistoryStore, LabelTable
from training.store.tables import canonical_tables
from training.store.writer import write_store

__all__ = ["HistoryStore", "LabelTable", "StoreIndex", "canonical_tables", "write_store"]
