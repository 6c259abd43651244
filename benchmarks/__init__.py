"""Benchmarks: each prints one table and keeps its figures with the machine that they were measured on.

It deliberately holds no part of the product, and nothing here is a timed test.

    results    the one form of every result: machine, versions, revision, figures with their goals
    measuring  interleaved repeats, and time and memory of a child process
    prepare    raw tables and simulated events to history store
    encoding   encoding of one request beside its inference
    serving    the server under load, beside the engine, an empty call and other servers
    training   the training loop beside another library, its arithmetic, its loader
"""

import os

# ONNX Runtime's wheels report to their maker, over the network, unless this is set before they are imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
