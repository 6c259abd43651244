"""One answer of sequence model, trees, linear model and Pareto/NBD, weighed on a later window.

It deliberately ends in raw outputs of the sequence model's form, so that calibration, curves and
quantiles need not know how many experts there are.

    questions     what experts are asked, as columns
    experts       the experts beside the sequence model, as plain values
    weights       how much each one counts
    joined        the arithmetic
    blend         all of it, fitted
    fitting       fits it
    tree_arrays   trees as flat arrays
    layers        the experts as layers of the exported graph
    buying_layer  that of Pareto/NBD
    fixed         constants of the graph
"""
