"""Training beside what people use today: the loader, the step, and another library on the same histories.

workload   a synthetic shop as tables, store and task
loops      the training loop as it runs, timed by a callback; the same model trained the naive way
arithmetic operations of a step, and the machine's best matrix product
beside     pytorch-lifestream in an environment of its own
"""
