"""A generator of customers' event streams that knows the truth about every customer.

It deliberately knows nothing of the rest of the product: what it writes are raw tables like
any other company's, to be mapped by a file of ``conf/data``. See :mod:`training.simulate.retailer`
and :mod:`training.simulate.subscription` for the two businesses and their causes.
"""

from training.simulate.config import SimulationConfig
from training.simulate.parameters import RetailerParameters, SubscriptionParameters, draw_parameters
from training.simulate.run import SimulationResult, simulate

__all__ = [
    "RetailerParameters",
    "SimulationConfig",
    "SimulationResult",
    "SubscriptionParameters",
    "draw_parameters",
    "simulate",
]
