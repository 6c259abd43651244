"""Many runs of one command, and one table of what came of them.

It deliberately trains nothing in a way of its own, and never looks at the test window unless a
multirun was told to judge there.

    result     the form of the table, as plain values
    figures    the main figures of a run
    jobs       one job of a multirun: kept apart from the others, read back from its folder
    callback   where Hydra says that a multirun has ended
    space      what a search may choose from
    proposals  Optuna: what is tried next, and whether a trial is worth ending
    watching   the validation losses of a fit, told to Optuna
    trials     what has been tried, kept one file per trial
    search     the trials one after the other
    table      a result for the terminal, and as the files that are kept
"""
