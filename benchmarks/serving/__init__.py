"""Serving under load: ours beside the bare engine, a call that does nothing, and other servers.

It deliberately holds no part of the product: what ``python -m serving`` serves is measured from outside.

    load        calls at scheduled times, or by a fixed number of callers
    summary     what a load says, and the search for the highest rate that keeps a bound
    transports  calls over gRPC and HTTP with requests that are bytes already
    processes   servers and workers, each pinned to a core
    clients     loads as a process of its own runs them
    models      the models that are served, made once and kept outside the checkout
    workload    histories of the agreed lengths, as requests and as tensors
    engine      bare ONNX Runtime at its best batch
    noop        a server whose call does nothing
    goals       figures with and without a goal
    measures    the figures of our own server
    footprint   padding and memory
    bench       everything that is started for one model
    peers       other servers with the same ONNX file
    compare     the figures beside them
"""
